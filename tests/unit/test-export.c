/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a key leaves in, read by our own reader of bundles; keys as tokens wrap them; and OAEP padding taken off
 * what libcrypto has put on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "issue.h"
#include "pki/bundle.h"
#include "pki/export.h"
#include "pki/oaep.h"
#include "pki/x509.h"

typedef struct Made {
        EVP_PKEY *key;
        X509 *leaf;
        BytesList chain; /* leaf, ca */
        Secret *pkcs8;
} Made;

static struct {
        EVP_PKEY *ca_key;
        X509 *ca;
        Made rsa, ec, ed;
} pki;

static void make(Made *made, EVP_PKEY *key)
{
        PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
        unsigned char *der = NULL;
        int n = i2d_PKCS8_PRIV_KEY_INFO(info, &der);

        assert_true(n > 0);
        made->key = key;
        made->leaf = issue_certificate(
                &(Issue){ .name = "leaf", .key = key, .issuer = pki.ca, .issuer_key = pki.ca_key });
        issue_append(&made->chain, made->leaf);
        issue_append(&made->chain, pki.ca);
        made->pkcs8 = issue_secret(der, (size_t)n);
        OPENSSL_clear_free(der, (size_t)n);
        PKCS8_PRIV_KEY_INFO_free(info);
}

static void unmake(Made *made)
{
        EVP_PKEY_free(made->key);
        X509_free(made->leaf);
        bytes_list_deinit(&made->chain);
        secret_free(made->pkcs8);
}

static int setup(void **state)
{
        issue_setup(state);
        pki.ca_key = issue_p256();
        pki.ca = issue_certificate(&(Issue){ .name = "ca", .key = pki.ca_key });
        make(&pki.rsa, issue_rsa(2048));
        make(&pki.ec, issue_key("EC", "P-384", 0));
        make(&pki.ed, issue_key("ED25519", NULL, 0));
        return 0;
}

static int teardown(void **state)
{
        unmake(&pki.rsa);
        unmake(&pki.ec);
        unmake(&pki.ed);
        X509_free(pki.ca);
        EVP_PKEY_free(pki.ca_key);
        return 0;
}

static int export(const Made *made, ExportFormat format, const char *passphrase, Secret **ret_file)
{
        CLEANUP(secret_freep) Secret *secret = issue_secret(passphrase, strlen(passphrase));
        PkiExport job = { format, made->pkcs8, &made->chain, secret, "a näme" };
        Failure failure = { 0 };
        int r = pki_export(&job, ret_file, &failure);

        assert_int_equal(r, failure.status);
        assert_int_equal(ERR_peek_error(), 0);
        return r;
}

static int read_back(const Made *made, Secret *file, const char *passphrase)
{
        CLEANUP(secret_freep) Secret *secret = issue_secret(passphrase, strlen(passphrase));
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        Failure failure = { 0 };
        int r = pki_bundle_parse(file, secret, (uint64_t)time(NULL), &bundle, &failure);

        if (r != 0)
                return r;
        assert_int_equal(EVP_PKEY_eq(bundle.key, made->key), 1);
        assert_true(bytes_list_equal(&bundle.chain, &made->chain));
        return 0;
}

/* A derivation of a key from a passphrase takes several times as long: there, not every key with every passphrase. */
#ifdef __SANITIZE_ADDRESS__
#define EACH_WITH_EACH false
#else
#define EACH_WITH_EACH true
#endif

static void what_is_written_is_read(void **state)
{
        static const char *const passphrases[] = { "secret", "", "Schlüssel 鍵" };
        const Made *const all[] = { &pki.rsa, &pki.ec, &pki.ed };

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                for (size_t k = 0; k < ELEMENTSOF(passphrases) && (k == 0 || i == 0 || EACH_WITH_EACH); k++)
                        for (ExportFormat f = EXPORT_NONE + 1; f < _EXPORT_FORMAT_N; f++) {
                                CLEANUP(secret_freep) Secret *file = NULL;

                                assert_int_equal(export(all[i], f, passphrases[k], &file), 0);
                                assert_int_equal(read_back(all[i], file, passphrases[k]), 0);
                                if (*passphrases[k])
                                        assert_int_equal(read_back(all[i], file, "wrong"),
                                                         CB_BAD_PASSPHRASE);
                        }
}

static bool contains(Secret *file, const void *what, size_t n)
{
        return memmem(secret_data(file), secret_length(file), what, n) != NULL;
}

static void secrets_are_encrypted(void **state)
{
        static const char clear[] = "BEGIN PRIVATE KEY",
                          encrypted[] = "BEGIN ENCRYPTED PRIVATE KEY";
        CLEANUP(secret_freep) Secret *open = NULL;
        CLEANUP(secret_freep) Secret *pem = NULL;
        CLEANUP(secret_freep) Secret *p12 = NULL;
        uint8_t seed[32];
        size_t n = sizeof(seed);

        assert_int_equal(EVP_PKEY_get_raw_private_key(pki.ed.key, seed, &n), 1);
        assert_int_equal(export(&pki.ed, EXPORT_PEM, "", &open), 0);
        assert_true(contains(open, clear, sizeof(clear) - 1));
        assert_int_equal(export(&pki.ed, EXPORT_PEM, "x", &pem), 0);
        assert_true(contains(pem, encrypted, sizeof(encrypted) - 1));
        assert_false(contains(pem, clear, sizeof(clear) - 1));
        assert_int_equal(export(&pki.ed, EXPORT_PKCS12, "", &p12), 0);
        assert_false(contains(p12, seed, sizeof(seed)));
}

static void mac_is_modern(void **state)
{
        CLEANUP(secret_freep) Secret *file = NULL;
        const unsigned char *p;
        const X509_ALGOR *algorithm = NULL;
        const ASN1_INTEGER *iterations = NULL;
        const ASN1_OBJECT *digest = NULL;
        PKCS12 *p12;

        assert_int_equal(export(&pki.ec, EXPORT_PKCS12, "secret", &file), 0);
        p = secret_data(file);
        p12 = d2i_PKCS12(NULL, &p, (long)secret_length(file));
        assert_non_null(p12);
        PKCS12_get0_mac(NULL, &algorithm, NULL, &iterations, p12);
        X509_ALGOR_get0(&digest, NULL, NULL, algorithm);
        assert_int_equal(OBJ_obj2nid(digest), NID_sha256);
        assert_int_equal(ASN1_INTEGER_get(iterations), PKI_EXPORT_ITERATIONS);
        PKCS12_free(p12);
}

static int export_with(Secret *pkcs8, const BytesList *chain, const void *passphrase, size_t n)
{
        CLEANUP(secret_freep) Secret *secret = issue_secret(passphrase, n);
        CLEANUP(secret_freep) Secret *file = NULL;
        PkiExport job = { EXPORT_PEM, pkcs8, chain, secret, NULL };
        Failure failure = { 0 };
        int r = pki_export(&job, &file, &failure);

        assert_true(r == 0 || (failure.text[0] && !file));
        return r;
}

static void wrong_parts_are_refused(void **state)
{
        static const uint8_t zeros[8], garbage[] = "no certificate";
        CLEANUP(secret_freep) Secret *filled = issue_secret(NULL, 0);
        CLEANUP(secret_freep) Secret *nothing = issue_secret(NULL, 0);
        CLEANUP(bytes_list_deinit) BytesList broken = { 0 };
        BytesList none = { 0 };
        char longest[PKI_EXPORT_PASSPHRASE_MAX + 1];

        memset(longest, 'x', sizeof(longest));
        assert_int_equal(export_with(pki.ec.pkcs8, &pki.ec.chain, longest, sizeof(longest) - 1), 0);
        assert_int_equal(export_with(pki.ec.pkcs8, &pki.ec.chain, longest, sizeof(longest)),
                         CB_INVALID_ARGUMENT);
        assert_int_equal(export_with(pki.ec.pkcs8, &pki.ec.chain, "a\0b", 3), CB_INVALID_ARGUMENT);
        assert_int_equal(export_with(pki.ec.pkcs8, &pki.ec.chain, "\xff", 1), CB_INVALID_ARGUMENT);

        assert_int_equal(export_with(pki.ec.pkcs8, &pki.rsa.chain, "", 0), CB_KEY_MISMATCH);
        assert_int_equal(export_with(pki.ec.pkcs8, &none, "", 0), CB_BAD_BUNDLE);
        assert_int_equal(bytes_list_append(&broken, garbage, sizeof(garbage)), 0);
        assert_int_equal(export_with(pki.ec.pkcs8, &broken, "", 0), CB_BAD_BUNDLE);
        assert_int_equal(export_with(nothing, &pki.ec.chain, "", 0), CB_BAD_BUNDLE);

        /* Zeros to a whole block follow what SoftHSM wraps; more, or something else, is no such thing. */
        for (size_t n = 0; n <= sizeof(zeros); n++) {
                secret_free(filled);
                assert_int_equal(secret_new(secret_length(pki.ec.pkcs8) + n, &filled), 0);
                memcpy(secret_data(filled), secret_data(pki.ec.pkcs8), secret_length(pki.ec.pkcs8));
                memcpy(secret_data(filled) + secret_length(pki.ec.pkcs8), zeros, n);
                secret_set_length(filled, secret_length(pki.ec.pkcs8) + n);
                assert_int_equal(export_with(filled, &pki.ec.chain, "", 0),
                                 n < 8 ? 0 : CB_BAD_BUNDLE);
        }
        secret_set_length(filled, secret_length(pki.ec.pkcs8) + 1);
        secret_data(filled)[secret_length(pki.ec.pkcs8)] = 1;
        assert_int_equal(export_with(filled, &pki.ec.chain, "", 0), CB_BAD_BUNDLE);
}

static void formats_have_names(void **state)
{
        assert_int_equal(export_format_from_name("pkcs12"), EXPORT_PKCS12);
        assert_int_equal(export_format_from_name("pem"), EXPORT_PEM);
        assert_int_equal(export_format_from_name("PEM"), EXPORT_NONE);
        assert_int_equal(export_format_from_name(""), EXPORT_NONE);
        assert_int_equal(export_format_from_name(NULL), EXPORT_NONE);
}

/* Wrapping */

static Bytes wrap(const char *cipher_name, const uint8_t key[PKI_WRAPPING_KEY_LENGTH],
                  const uint8_t *data, size_t n)
{
        EVP_CIPHER *cipher = EVP_CIPHER_fetch(pki_context(), cipher_name, NULL);
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        uint8_t wrapped[512];
        Bytes bytes = { 0 };
        int n_wrapped = 0;

        EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
        assert_int_equal(EVP_EncryptInit_ex2(ctx, cipher, key, NULL, NULL), 1);
        assert_int_equal(EVP_EncryptUpdate(ctx, wrapped, &n_wrapped, data, (int)n), 1);
        assert_int_equal(bytes_set(&bytes, wrapped, (size_t)n_wrapped), 0);
        EVP_CIPHER_CTX_free(ctx);
        EVP_CIPHER_free(cipher);
        return bytes;
}

static int unwrap_is(const uint8_t key[PKI_WRAPPING_KEY_LENGTH], const Bytes *wrapped,
                     const uint8_t *data, size_t n)
{
        CLEANUP(secret_freep) Secret *wrapping_key = issue_secret(key, PKI_WRAPPING_KEY_LENGTH);
        CLEANUP(secret_freep) Secret *out = NULL;
        int r = pki_key_unwrap(wrapping_key, wrapped, &out);

        assert_int_equal(ERR_peek_error(), 0);
        if (r != 0)
                return r;
        assert_int_equal(secret_length(out), n);
        assert_memory_equal(secret_data(out), data, n);
        return 0;
}

static void both_forms_are_unwrapped(void **state)
{
        uint8_t key[PKI_WRAPPING_KEY_LENGTH] = { 1, 2, 3 }, data[128];

        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t)(i * 7 + 1);
        for (size_t n = 9; n < 100; n++) {
                CLEANUP(bytes_deinit) Bytes rfc5649 = wrap("AES-256-WRAP-PAD", key, data, n);
                CLEANUP(bytes_deinit) Bytes pkcs7 = { 0 };
                uint8_t padded[128];
                size_t n_pad = 8 - n % 8;

                assert_int_equal(unwrap_is(key, &rfc5649, data, n), 0);
                memcpy(padded, data, n);
                memset(padded + n, (int)n_pad, n_pad);
                pkcs7 = wrap("AES-256-WRAP", key, padded, n + n_pad);
                assert_int_equal(unwrap_is(key, &pkcs7, data, n), 0);

                rfc5649.data[n % rfc5649.n] ^= 1;
                assert_int_equal(unwrap_is(key, &rfc5649, data, n), CB_BAD_BUNDLE);
                rfc5649.data[n % rfc5649.n] ^= 1;
                key[31] ^= 1;
                assert_int_equal(unwrap_is(key, &rfc5649, data, n), CB_BAD_BUNDLE);
                key[31] ^= 1;
        }
}

static void odd_lengths_are_no_wrapped_keys(void **state)
{
        static uint8_t key[PKI_WRAPPING_KEY_LENGTH], data[17 * 1024];
        const size_t lengths[] = { 0, 1, 8, 15, 17, 16 * 1024 + 8 };

        for (size_t i = 0; i < ELEMENTSOF(lengths); i++)
                assert_int_equal(unwrap_is(key, &(Bytes){ data, lengths[i] }, NULL, 0),
                                 CB_BAD_BUNDLE);
}

/* OAEP */

static Secret *encode(Digest digest, const char *message)
{
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(pki_context(), pki.rsa.key, NULL);
        const char *name = digest_name(digest);
        Secret *encoded = NULL;
        uint8_t ciphertext[256];
        size_t n = sizeof(ciphertext);

        assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, name, NULL), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, name, NULL), 1);
        assert_int_equal(
                EVP_PKEY_encrypt(ctx, ciphertext, &n, (const uint8_t *)message, strlen(message)),
                1);
        EVP_PKEY_CTX_free(ctx);

        ctx = EVP_PKEY_CTX_new_from_pkey(pki_context(), pki.rsa.key, NULL);
        assert_int_equal(secret_new(256, &encoded), 0);
        assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING), 1);
        assert_int_equal(EVP_PKEY_decrypt(ctx, secret_data(encoded), &n, ciphertext, 256), 1);
        assert_int_equal(n, 256);
        secret_set_length(encoded, n);
        EVP_PKEY_CTX_free(ctx);
        return encoded;
}

static int decode(Digest digest, Secret *encoded, const char *message)
{
        CLEANUP(secret_freep) Secret *out = NULL;
        int r = pki_oaep_decode(digest, encoded, 2048, &out);

        assert_int_equal(ERR_peek_error(), 0);
        if (r != 0)
                return r;
        assert_int_equal(secret_length(out), strlen(message));
        assert_memory_equal(secret_data(out), message, strlen(message));
        return 0;
}

static void padding_comes_off(void **state)
{
        static const Digest digests[] = { DIGEST_SHA1, DIGEST_SHA256, DIGEST_SHA512 };

        for (size_t i = 0; i < ELEMENTSOF(digests); i++) {
                CLEANUP(secret_freep) Secret *encoded = encode(digests[i], "a message");
                CLEANUP(secret_freep) Secret *empty = encode(digests[i], "");
                CLEANUP(secret_freep)
                Secret *stripped = issue_secret(secret_data(encoded) + 1, secret_length(encoded) - 1);

                assert_int_equal(decode(digests[i], encoded, "a message"), 0);
                assert_int_equal(decode(digests[i], empty, ""), 0);
                assert_int_equal(decode(digests[i], stripped, "a message"), 0);
                assert_int_equal(decode(DIGEST_SHA384, encoded, ""), CB_INVALID_ARGUMENT);
                for (size_t k = 0; k < 256; k++) {
                        secret_data(encoded)[k] ^= 0x40;
                        assert_int_equal(decode(digests[i], encoded, ""), CB_INVALID_ARGUMENT);
                        secret_data(encoded)[k] ^= 0x40;
                }
        }
}

static void no_encoding(void **state)
{
        CLEANUP(secret_freep) Secret *zeros = issue_secret((uint8_t[257]){ 0 }, 257);
        CLEANUP(secret_freep) Secret *nothing = issue_secret(NULL, 0);

        assert_int_equal(decode(DIGEST_SHA256, zeros, ""), CB_INVALID_ARGUMENT);
        secret_set_length(zeros, 256);
        assert_int_equal(decode(DIGEST_SHA256, zeros, ""), CB_INVALID_ARGUMENT);
        assert_int_equal(decode(DIGEST_SHA256, nothing, ""), CB_INVALID_ARGUMENT);
        assert_int_equal(decode(DIGEST_NONE, zeros, ""), CB_NOT_SUPPORTED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_written_is_read),
                cmocka_unit_test(secrets_are_encrypted),
                cmocka_unit_test(mac_is_modern),
                cmocka_unit_test(wrong_parts_are_refused),
                cmocka_unit_test(formats_have_names),
                cmocka_unit_test(both_forms_are_unwrapped),
                cmocka_unit_test(odd_lengths_are_no_wrapped_keys),
                cmocka_unit_test(padding_comes_off),
                cmocka_unit_test(no_encoding),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
