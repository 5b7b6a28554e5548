/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token says of a key, and what comes out of its operations: attributes of a public key, signatures, and what a
 * bare RSA operation made of a caller's ciphertext. The first byte says which. Holds: nothing crashes or leaks; parts
 * that are taken for a key make the same parts again; no signature of the input verifies; forms of signatures go both ways.
 */
#include "fuzz-text.h"

#include "base/codec.h"
#include "pki/context.h"
#include "pki/oaep.h"
#include "pki/signature.h"
#include "pki/token-object.h"

/* The P-256 key of corpus/certificate/p256.spki, whose private half nobody has. */
static const uint8_t public_key[] = {
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
        0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04, 0xd7,
        0x01, 0xe1, 0xbd, 0xab, 0xe0, 0xde, 0x9f, 0x98, 0x96, 0xa2, 0xcf, 0xa9, 0x14, 0x07,
        0xb0, 0xb3, 0x29, 0x63, 0xcf, 0xf7, 0x02, 0x6e, 0xbd, 0xe4, 0x95, 0xdd, 0xf8, 0xc8,
        0xa4, 0xc3, 0x6c, 0x32, 0x0e, 0x42, 0x8d, 0xde, 0xc3, 0xc8, 0x7f, 0x50, 0x28, 0x5b,
        0x4e, 0x39, 0x7c, 0xaa, 0xda, 0xf1, 0x1d, 0x8c, 0xd9, 0xcb, 0xcd, 0xd7, 0xf2, 0xb3,
        0x6f, 0x48, 0x4a, 0xe5, 0x5e, 0x5d, 0x64,
};

/* Four attributes, each with its length before it. */
static void try_parts(const uint8_t *data, size_t n)
{
        CLEANUP(pki_public_parts_deinit) PkiPublicParts parts = { 0 }, again = { 0 };
        CLEANUP(bytes_deinit) Bytes spki = { 0 };
        Failure failure = { 0 };
        KeyType type = KEY_TYPE_NONE;
        Reader reader;
        int r;

        reader_init(&reader, data, n);
        reader_bytes(&reader, 2048, &parts.modulus);
        reader_bytes(&reader, 64, &parts.exponent);
        reader_bytes(&reader, 256, &parts.params);
        reader_bytes(&reader, 256, &parts.point);
        if (reader.error)
                return;
        r = pki_public_key_from_parts(&parts, &spki, &failure);
        fuzz_check_outcome(r, &failure);
        FUZZ_CHECK((r == 0) == (spki.n > 0));
        if (r != 0)
                return;
        FUZZ_CHECK(pki_key_type(&spki, &type, &failure) == 0);
        FUZZ_CHECK(pki_public_parts(&spki, &again, &failure) == 0 && again.type == type);
}

static void try_signature(const uint8_t *data, size_t n)
{
        CLEANUP(bytes_deinit) Bytes spki = { 0 }, input = { 0 }, signature = { 0 };
        CLEANUP(bytes_deinit) Bytes der = { 0 }, raw = { 0 }, again = { 0 };
        static const uint8_t hash[32] = { 1 };

        FUZZ_CHECK(bytes_set(&spki, public_key, sizeof(public_key)) == 0);
        FUZZ_CHECK(bytes_set(&input, hash, sizeof(hash)) == 0 && bytes_set(&signature, data, n) == 0);
        FUZZ_CHECK(pki_verify(&spki, ALGORITHM_ECDSA_SHA256, &input, &signature) != 0);
        if (pki_ecdsa_to_der(&signature, &der) == 0) {
                FUZZ_CHECK(pki_ecdsa_from_der(&der, signature.n / 2, &raw) == 0);
                FUZZ_CHECK(bytes_equal(&raw, &signature));
        }
        bytes_deinit(&raw);
        bytes_deinit(&der);
        if (pki_ecdsa_from_der(&signature, 32, &raw) == 0)
                FUZZ_CHECK(pki_ecdsa_to_der(&raw, &again) == 0 && bytes_equal(&again, &signature));
}

static void try_plaintext(const uint8_t *data, size_t n)
{
        CLEANUP(secret_freep) Secret *encoded = NULL, *message = NULL;
        int r;

        if (n > 4096)
                return;
        FUZZ_CHECK(secret_new(n, &encoded) == 0);
        if (n > 0)
                memcpy(secret_data(encoded), data, n);
        secret_set_length(encoded, n);
        r = pki_oaep_decode(DIGEST_SHA256, encoded, 2048, &message);
        FUZZ_CHECK(r == 0 || r == CB_INVALID_ARGUMENT);
        FUZZ_CHECK((r == 0) == (message != NULL));
        if (message)
                FUZZ_CHECK(secret_length(message) <= 256 - 2 * 32 - 2);
}

static void try_certificate(const uint8_t *data, size_t n)
{
        CLEANUP(pki_certificate_names_deinit) PkiCertificateNames names = { 0 };
        CLEANUP(bytes_deinit) Bytes der = { 0 };
        Failure failure = { 0 };
        int r;

        FUZZ_CHECK(bytes_set(&der, data, n) == 0);
        r = pki_certificate_names(&der, &names, &failure);
        fuzz_check_outcome(r, &failure);
        FUZZ_CHECK((r == 0) == (names.serial_number.n > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static void (*const kinds[])(const uint8_t *data, size_t n) = {
                try_parts,
                try_signature,
                try_plaintext,
                try_certificate,
        };

        FUZZ_CHECK(pki_init() == 0);
        if (n > 0)
                kinds[data[0] % ELEMENTSOF(kinds)](data + 1, n - 1);
        return 0;
}
