/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures: every algorithm with every key type, each against libcrypto's own signer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/rsa.h>
#include <string.h>

#include "issue.h"
#include "pki/signature.h"

static EVP_PKEY *keys[_KEY_TYPE_N];
static Bytes spkis[_KEY_TYPE_N];

static const struct {
        KeyType type;
        const char *name, *group;
        size_t bits;
} key_rows[] = {
        { KEY_TYPE_RSA_2048, "RSA", NULL, 2048 }, { KEY_TYPE_RSA_3072, "RSA", NULL, 3072 },
        { KEY_TYPE_RSA_4096, "RSA", NULL, 4096 }, { KEY_TYPE_EC_P256, "EC", "P-256", 0 },
        { KEY_TYPE_EC_P384, "EC", "P-384", 0 },   { KEY_TYPE_EC_P521, "EC", "P-521", 0 },
        { KEY_TYPE_ED25519, "ED25519", NULL, 0 },
};

static int setup(void **state)
{
        issue_setup(state);
        for (size_t i = 0; i < ELEMENTSOF(key_rows); i++) {
                keys[key_rows[i].type] =
                        key_rows[i].bits ? issue_rsa(key_rows[i].bits)
                                         : issue_key(key_rows[i].name, key_rows[i].group, 0);
                spkis[key_rows[i].type] = issue_spki(keys[key_rows[i].type]);
        }
        return 0;
}

static int teardown(void **state)
{
        for (size_t i = 0; i < _KEY_TYPE_N; i++) {
                EVP_PKEY_free(keys[i]);
                bytes_deinit(&spkis[i]);
        }
        return 0;
}

static const uint8_t message[] = "what is to be signed";

/* What the algorithm takes: the digest of the message, or the message. */
static Bytes input_for(Algorithm algorithm)
{
        Digest digest = algorithm_row(algorithm)->digest;
        Bytes input = { 0 };

        if (digest == DIGEST_NONE)
                assert_int_equal(bytes_set(&input, message, sizeof(message)), 0);
        else
                assert_int_equal(pki_hash(digest, message, sizeof(message), &input), 0);
        return input;
}

/* By the message, which libcrypto hashes itself: so a digest mixed up by us would show. */
static Bytes sign(EVP_PKEY *key, Algorithm algorithm)
{
        const AlgorithmRow *row = algorithm_row(algorithm);
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        EVP_PKEY_CTX *pctx;
        uint8_t signature[512];
        size_t n = sizeof(signature);
        Bytes bytes = { 0 };

        assert_int_equal(EVP_DigestSignInit_ex(ctx, &pctx,
                                               row->digest ? digest_name(row->digest) : NULL,
                                               pki_context(), NULL, key, NULL),
                         1);
        if (row->padding == PADDING_PSS) {
                assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
                assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST), 1);
        }
        assert_int_equal(EVP_DigestSign(ctx, signature, &n, message, sizeof(message)), 1);
        assert_int_equal(bytes_set(&bytes, signature, n), 0);
        EVP_MD_CTX_free(ctx);
        return bytes;
}

static void every_algorithm_verifies(void **state)
{
        unsigned n_tried = 0;

        for (KeyType type = 1; type < _KEY_TYPE_N; type++)
                for (Algorithm a = 1; a < _ALGORITHM_N; a++) {
                        CLEANUP(bytes_deinit) Bytes input = { 0 };
                        CLEANUP(bytes_deinit) Bytes signature = { 0 };

                        input = input_for(a);
                        if (!algorithm_fits_key(a, type)) {
                                uint8_t byte = 1;

                                assert_int_equal(
                                        pki_verify(&spkis[type], a, &input, &(Bytes){ &byte, 1 }),
                                        CB_NOT_SUPPORTED);
                                continue;
                        }
                        signature = sign(keys[type], a);
                        assert_int_equal(pki_verify(&spkis[type], a, &input, &signature), 0);
                        signature.data[signature.n / 2] ^= 1;
                        assert_int_equal(pki_verify(&spkis[type], a, &input, &signature),
                                         CB_KEY_MISMATCH);
                        signature.data[signature.n / 2] ^= 1;
                        input.data[0] ^= 1;
                        assert_int_equal(pki_verify(&spkis[type], a, &input, &signature),
                                         CB_KEY_MISMATCH);
                        n_tried++;
                }
        assert_int_equal(n_tried, 3 * 7 + 3 * 4 + 1);
}

static void other_key_or_padding_is_refused(void **state)
{
        CLEANUP(bytes_deinit) Bytes input = input_for(ALGORITHM_RSA_PKCS1_SHA256);
        CLEANUP(bytes_deinit)
        Bytes pkcs1 = sign(keys[KEY_TYPE_RSA_2048], ALGORITHM_RSA_PKCS1_SHA256);
        EVP_PKEY *other = issue_key("RSA", NULL, 2048);
        CLEANUP(bytes_deinit) Bytes spki = issue_spki(other);

        assert_int_equal(
                pki_verify(&spkis[KEY_TYPE_RSA_2048], ALGORITHM_RSA_PSS_SHA256, &input, &pkcs1),
                CB_KEY_MISMATCH);
        assert_int_equal(pki_verify(&spki, ALGORITHM_RSA_PKCS1_SHA256, &input, &pkcs1),
                         CB_KEY_MISMATCH);
        EVP_PKEY_free(other);
}

static void pss_with_another_salt_is_refused(void **state)
{
        CLEANUP(bytes_deinit) Bytes input = input_for(ALGORITHM_RSA_PSS_SHA256);
        EVP_PKEY_CTX *ctx =
                EVP_PKEY_CTX_new_from_pkey(pki_context(), keys[KEY_TYPE_RSA_2048], NULL);
        EVP_MD *md = EVP_MD_fetch(pki_context(), "SHA256", NULL);
        uint8_t signature[512];
        size_t n = sizeof(signature);

        assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, md), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 20), 1);
        assert_int_equal(EVP_PKEY_sign(ctx, signature, &n, input.data, input.n), 1);
        assert_int_equal(pki_verify(&spkis[KEY_TYPE_RSA_2048], ALGORITHM_RSA_PSS_SHA256, &input,
                                    &(Bytes){ signature, n }),
                         CB_KEY_MISMATCH);
        EVP_PKEY_CTX_free(ctx);
        EVP_MD_free(md);
}

static uint8_t junk_data[] = "junk";

static void odd_arguments_are_refused(void **state)
{
        CLEANUP(bytes_deinit) Bytes input = input_for(ALGORITHM_ECDSA_SHA256);
        CLEANUP(bytes_deinit)
        Bytes signature = sign(keys[KEY_TYPE_EC_P256], ALGORITHM_ECDSA_SHA256);
        const Bytes *spki = &spkis[KEY_TYPE_EC_P256];
        const Bytes none = { 0 }, cut = { input.data, 31 }, junk = { junk_data, 4 };
        static uint8_t zeros[1024];

        assert_int_equal(pki_verify(spki, ALGORITHM_ECDSA_SHA256, &cut, &signature),
                         CB_INVALID_ARGUMENT);
        assert_int_equal(pki_verify(spki, ALGORITHM_ECDSA_SHA256, &none, &signature),
                         CB_INVALID_ARGUMENT);
        assert_int_equal(pki_verify(spki, ALGORITHM_ECDSA_SHA256, &input, &none), CB_KEY_MISMATCH);
        assert_int_equal(pki_verify(spki, ALGORITHM_ECDSA_SHA256, &input, &junk), CB_KEY_MISMATCH);
        assert_int_equal(
                pki_verify(spki, ALGORITHM_ECDSA_SHA256, &input, &(Bytes){ zeros, sizeof(zeros) }),
                CB_KEY_MISMATCH);
        assert_int_equal(pki_verify(&junk, ALGORITHM_ECDSA_SHA256, &input, &signature), CB_FAILED);
        assert_int_equal(pki_verify(&none, ALGORITHM_ECDSA_SHA256, &input, &signature), CB_FAILED);
        assert_int_equal(pki_verify(spki, ALGORITHM_NONE, &input, &signature), CB_NOT_SUPPORTED);
        assert_int_equal(pki_verify(spki, _ALGORITHM_N, &input, &signature), CB_NOT_SUPPORTED);
        assert_int_equal(ERR_peek_error(), 0);
}

static void empty_message_is_signed_by_ed25519(void **state)
{
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        uint8_t signature[64];
        size_t n = sizeof(signature);

        assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, NULL, pki_context(), NULL,
                                               keys[KEY_TYPE_ED25519], NULL),
                         1);
        assert_int_equal(EVP_DigestSign(ctx, signature, &n, message, 0), 1);
        EVP_MD_CTX_free(ctx);
        if (algorithm_takes_input(ALGORITHM_ED25519, 0))
                assert_int_equal(pki_verify(&spkis[KEY_TYPE_ED25519], ALGORITHM_ED25519,
                                            &(Bytes){ 0 }, &(Bytes){ signature, n }),
                                 0);
        else
                assert_int_equal(pki_verify(&spkis[KEY_TYPE_ED25519], ALGORITHM_ED25519,
                                            &(Bytes){ 0 }, &(Bytes){ signature, n }),
                                 CB_INVALID_ARGUMENT);
}

static void key_types_are_told_apart(void **state)
{
        static const struct {
                const char *name, *group;
                size_t bits;
        } others[] = {
                { "RSA", NULL, 1024 },    { "RSA", NULL, 2056 }, { "RSA-PSS", NULL, 2048 },
                { "EC", "secp256k1", 0 }, { "EC", "P-224", 0 },  { "EC", "brainpoolP256r1", 0 },
                { "X25519", NULL, 0 },    { "ED448", NULL, 0 },
        };
        Failure failure = { 0 };
        KeyType type = KEY_TYPE_NONE;

        for (KeyType t = 1; t < _KEY_TYPE_N; t++) {
                assert_int_equal(pki_key_type(&spkis[t], &type, &failure), 0);
                assert_int_equal(type, t);
        }
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                EVP_PKEY *key = issue_key(others[i].name, others[i].group, others[i].bits);
                CLEANUP(bytes_deinit) Bytes spki = issue_spki(key);

                type = KEY_TYPE_NONE;
                assert_int_equal(pki_key_type(&spki, &type, &failure), CB_NOT_SUPPORTED);
                assert_int_equal(type, KEY_TYPE_NONE);
                assert_non_null(strstr(failure.text, "P-256"));
                EVP_PKEY_free(key);
        }
        assert_int_equal(pki_key_type(&(Bytes){ junk_data, 1 }, &type, &failure), CB_BAD_BUNDLE);
}

static void explicit_curve_is_refused(void **state)
{
        EVP_PKEY *key = issue_p256();
        CLEANUP(bytes_deinit) Bytes spki = { 0 };
        Failure failure = { 0 };
        KeyType type;

        assert_true(EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING,
                                                   OSSL_PKEY_EC_ENCODING_EXPLICIT));
        spki = issue_spki(key);
        assert_true(spki.n > 100); /* really explicit */
        assert_int_equal(pki_key_type(&spki, &type, &failure), CB_NOT_SUPPORTED);
        EVP_PKEY_free(key);
}

/* The way for keys that are not written as everyone writes them. */
static void compressed_point_verifies(void **state)
{
        EVP_PKEY *key = EVP_PKEY_dup(keys[KEY_TYPE_EC_P384]);
        CLEANUP(bytes_deinit) Bytes input = input_for(ALGORITHM_ECDSA_SHA384);
        CLEANUP(bytes_deinit) Bytes signature = sign(key, ALGORITHM_ECDSA_SHA384);
        CLEANUP(bytes_deinit) Bytes spki = { 0 };

        assert_true(
                EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                               OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_COMPRESSED));
        spki = issue_spki(key);
        assert_true(spki.n < spkis[KEY_TYPE_EC_P384].n);
        assert_int_equal(pki_verify(&spki, ALGORITHM_ECDSA_SHA384, &input, &signature), 0);
        signature.data[20] ^= 1;
        assert_int_equal(pki_verify(&spki, ALGORITHM_ECDSA_SHA384, &input, &signature),
                         CB_KEY_MISMATCH);
        EVP_PKEY_free(key);
}

static void point_off_the_curve_is_no_key(void **state)
{
        CLEANUP(bytes_deinit) Bytes spki = { 0 };
        Failure failure = { 0 };
        KeyType type;

        assert_int_equal(bytes_set(&spki, spkis[KEY_TYPE_EC_P256].data, spkis[KEY_TYPE_EC_P256].n),
                         0);
        spki.data[spki.n - 1] ^= 1;
        assert_int_equal(pki_key_type(&spki, &type, &failure), CB_BAD_BUNDLE);
}

/* No byte of a public key is read past its end, or taken for something else in silence. */
static void every_byte_of_a_key_changed(void **state)
{
        for (KeyType t = 1; t < _KEY_TYPE_N; t++)
                for (size_t i = 0; i < spkis[t].n && i < 60; i++) {
                        CLEANUP(bytes_deinit) Bytes spki = { 0 };
                        Failure failure = { 0 };
                        KeyType type;
                        int r;

                        assert_int_equal(bytes_set(&spki, spkis[t].data, spkis[t].n), 0);
                        spki.data[i] ^= 0x01;
                        r = pki_key_type(&spki, &type, &failure);
                        assert_true(r == 0 || r == CB_BAD_BUNDLE || r == CB_NOT_SUPPORTED);
                        assert_int_equal(bytes_set(&spki, spkis[t].data, i), 0);
                        assert_int_equal(pki_key_type(&spki, &type, &failure), CB_BAD_BUNDLE);
                }
}

static void trailing_bytes_are_no_key(void **state)
{
        CLEANUP(bytes_deinit) Bytes longer = { 0 };
        Failure failure = { 0 };
        KeyType type;
        uint8_t data[600] = { 0 };

        memcpy(data, spkis[KEY_TYPE_EC_P256].data, spkis[KEY_TYPE_EC_P256].n);
        assert_int_equal(bytes_set(&longer, data, spkis[KEY_TYPE_EC_P256].n + 1), 0);
        assert_int_equal(pki_key_type(&longer, &type, &failure), CB_BAD_BUNDLE);
}

/* RSA as a token does it that has nothing but the raw operation. */
static Bytes sign_raw(EVP_PKEY *key, int padding, const Bytes *input)
{
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(pki_context(), key, NULL);
        uint8_t signature[512];
        size_t n = sizeof(signature);
        Bytes bytes = { 0 };

        assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, padding), 1);
        assert_int_equal(EVP_PKEY_sign(ctx, signature, &n, input->data, input->n), 1);
        assert_int_equal(bytes_set(&bytes, signature, n), 0);
        EVP_PKEY_CTX_free(ctx);
        return bytes;
}

static void digest_info_makes_pkcs1(void **state)
{
        static const Algorithm algorithms[] = { ALGORITHM_RSA_PKCS1_SHA1,
                                                ALGORITHM_RSA_PKCS1_SHA256,
                                                ALGORITHM_RSA_PKCS1_SHA384,
                                                ALGORITHM_RSA_PKCS1_SHA512 };

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++) {
                CLEANUP(bytes_deinit) Bytes hash = input_for(algorithms[i]);
                CLEANUP(bytes_deinit) Bytes info = { 0 };
                CLEANUP(bytes_deinit) Bytes signature = { 0 };
                Digest digest = algorithm_row(algorithms[i])->digest;

                assert_int_equal(pki_digest_info(digest, &hash, &info), 0);
                signature = sign_raw(keys[KEY_TYPE_RSA_2048], RSA_PKCS1_PADDING, &info);
                assert_int_equal(
                        pki_verify(&spkis[KEY_TYPE_RSA_2048], algorithms[i], &hash, &signature), 0);
                hash.n--;
                assert_int_equal(pki_digest_info(digest, &hash, &info), CB_INVALID_ARGUMENT);
                hash.n++;
        }
        assert_int_equal(pki_digest_info(DIGEST_NONE, &(Bytes){ 0 }, NULL), CB_INVALID_ARGUMENT);
}

static void pss_encoding_verifies(void **state)
{
        static const Algorithm algorithms[] = { ALGORITHM_RSA_PSS_SHA256, ALGORITHM_RSA_PSS_SHA384,
                                                ALGORITHM_RSA_PSS_SHA512 };

        for (KeyType type = KEY_TYPE_RSA_2048; type <= KEY_TYPE_RSA_4096; type++)
                for (size_t i = 0; i < ELEMENTSOF(algorithms); i++) {
                        CLEANUP(bytes_deinit) Bytes hash = input_for(algorithms[i]);
                        CLEANUP(bytes_deinit) Bytes em = { 0 };
                        CLEANUP(bytes_deinit) Bytes again = { 0 };
                        CLEANUP(bytes_deinit) Bytes signature = { 0 };
                        unsigned bits = key_type_row(type)->bits;
                        Digest digest = algorithm_row(algorithms[i])->digest;

                        assert_int_equal(pki_pss_encode(digest, &hash, bits, &em), 0);
                        assert_int_equal(em.n, bits / 8);
                        assert_int_equal(pki_pss_encode(digest, &hash, bits, &again), 0);
                        assert_false(bytes_equal(&em, &again)); /* a salt of its own each time */
                        signature = sign_raw(keys[type], RSA_NO_PADDING, &em);
                        assert_int_equal(pki_verify(&spkis[type], algorithms[i], &hash, &signature),
                                         0);
                }
        assert_int_equal(pki_pss_encode(DIGEST_SHA256, &(Bytes){ junk_data, 1 }, 2048, NULL),
                         CB_INVALID_ARGUMENT);
}

static void pss_encoding_refuses_odd_sizes(void **state)
{
        CLEANUP(bytes_deinit) Bytes hash = input_for(ALGORITHM_RSA_PSS_SHA256);
        Bytes em = { 0 };

        assert_int_equal(pki_pss_encode(DIGEST_SHA256, &hash, 1024, &em), CB_INVALID_ARGUMENT);
        assert_int_equal(pki_pss_encode(DIGEST_SHA256, &hash, 2049, &em), CB_INVALID_ARGUMENT);
        assert_int_equal(pki_pss_encode(DIGEST_SHA256, &hash, 4104, &em), CB_INVALID_ARGUMENT);
        assert_null(em.data);
}

static void ecdsa_forms_round_trip(void **state)
{
        static const struct {
                KeyType type;
                size_t n_half;
        } rows[] = { { KEY_TYPE_EC_P256, 32 }, { KEY_TYPE_EC_P384, 48 }, { KEY_TYPE_EC_P521, 66 } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (int k = 0; k < 20; k++) { /* leading zeros come and go */
                        CLEANUP(bytes_deinit)
                        Bytes der = sign(keys[rows[i].type], ALGORITHM_ECDSA_SHA256);
                        CLEANUP(bytes_deinit) Bytes raw = { 0 };
                        CLEANUP(bytes_deinit) Bytes again = { 0 };

                        assert_int_equal(pki_ecdsa_from_der(&der, rows[i].n_half, &raw), 0);
                        assert_int_equal(raw.n, 2 * rows[i].n_half);
                        assert_int_equal(pki_ecdsa_to_der(&raw, &again), 0);
                        assert_true(bytes_equal(&der, &again));
                        assert_true(der.n <= key_type_row(rows[i].type)->n_signature_max);
                }
}

static void ecdsa_forms_known(void **state)
{
        const uint8_t raw[] = { 0, 0x80, 0, 0x01 }, der[] = { 0x30, 7, 2, 2, 0, 0x80, 2, 1, 1 };
        const uint8_t ber[] = { 0x30, 8, 2, 2, 0, 0x80, 2, 2, 0, 1 };
        const uint8_t negative[] = { 0x30, 6, 2, 1, 0x80, 2, 1, 1 };
        CLEANUP(bytes_deinit) Bytes out = { 0 };
        CLEANUP(bytes_deinit) Bytes back = { 0 };
#define BYTES(array) (&(Bytes){ (uint8_t *)(uintptr_t)(array), sizeof(array) })

        assert_int_equal(pki_ecdsa_to_der(BYTES(raw), &out), 0);
        assert_true(bytes_equal(&out, BYTES(der)));
        assert_int_equal(pki_ecdsa_from_der(BYTES(der), 2, &back), 0);
        assert_true(bytes_equal(&back, BYTES(raw)));
        assert_int_equal(pki_ecdsa_from_der(BYTES(ber), 2, &back), CB_INVALID_ARGUMENT);
        assert_int_equal(pki_ecdsa_from_der(BYTES(negative), 2, &back), CB_INVALID_ARGUMENT);
        assert_int_equal(pki_ecdsa_from_der(&(Bytes){ out.data, out.n - 1 }, 2, &back),
                         CB_INVALID_ARGUMENT);
        assert_int_equal(pki_ecdsa_from_der(&(Bytes){ 0 }, 2, &back), CB_INVALID_ARGUMENT);
        assert_int_equal(pki_ecdsa_from_der(BYTES(der), 0, &back), CB_INVALID_ARGUMENT);
        assert_int_equal(pki_ecdsa_from_der(BYTES(der), 67, &back), CB_INVALID_ARGUMENT);
        assert_int_equal(pki_ecdsa_to_der(&(Bytes){ out.data, 3 }, &back), CB_INVALID_ARGUMENT);
        assert_int_equal(pki_ecdsa_to_der(&(Bytes){ 0 }, &back), CB_INVALID_ARGUMENT);
#undef BYTES
}

static void ecdsa_half_too_large_is_refused(void **state)
{
        CLEANUP(bytes_deinit) Bytes der = sign(keys[KEY_TYPE_EC_P521], ALGORITHM_ECDSA_SHA256);
        CLEANUP(bytes_deinit) Bytes raw = { 0 };

        assert_int_equal(pki_ecdsa_from_der(&der, 32, &raw), CB_INVALID_ARGUMENT);
        assert_null(raw.data);
}

static void hash_of_known_input(void **state)
{
        static const uint8_t sha256_abc[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea };
        CLEANUP(bytes_deinit) Bytes hash = { 0 };

        assert_int_equal(pki_hash(DIGEST_SHA256, "abc", 3, &hash), 0);
        assert_int_equal(hash.n, 32);
        assert_memory_equal(hash.data, sha256_abc, sizeof(sha256_abc));
        assert_int_equal(pki_hash(DIGEST_SHA1, NULL, 0, &hash), 0);
        assert_int_equal(hash.n, 20);
        assert_int_equal(pki_hash(DIGEST_NONE, "abc", 3, &hash), CB_INVALID_ARGUMENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_algorithm_verifies),
                cmocka_unit_test(other_key_or_padding_is_refused),
                cmocka_unit_test(pss_with_another_salt_is_refused),
                cmocka_unit_test(odd_arguments_are_refused),
                cmocka_unit_test(empty_message_is_signed_by_ed25519),
                cmocka_unit_test(key_types_are_told_apart),
                cmocka_unit_test(explicit_curve_is_refused),
                cmocka_unit_test(compressed_point_verifies),
                cmocka_unit_test(point_off_the_curve_is_no_key),
                cmocka_unit_test(every_byte_of_a_key_changed),
                cmocka_unit_test(trailing_bytes_are_no_key),
                cmocka_unit_test(digest_info_makes_pkcs1),
                cmocka_unit_test(pss_encoding_verifies),
                cmocka_unit_test(pss_encoding_refuses_odd_sizes),
                cmocka_unit_test(ecdsa_forms_round_trip),
                cmocka_unit_test(ecdsa_forms_known),
                cmocka_unit_test(ecdsa_half_too_large_is_refused),
                cmocka_unit_test(hash_of_known_input),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
