/* SPDX-License-Identifier: Apache-2.0 */
/* Signing and verifying through EVP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "test-provider.h"

void messages_are_signed(void **state)
{
        static const char *const digests[] = { "SHA256", "SHA384", "SHA512", "SHA1", "SHA2-256" };

        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);

                if (keys[i].base_id == EVP_PKEY_ED25519) {
                        MUST(signs(key, keys[i].name, NULL));
                } else {
                        for (size_t j = 0; j < N(digests); j++)
                                MUST(signs(key, keys[i].name, digests[j]));
                }
                assert_no_errors();
                EVP_PKEY_free(key);
        }
}

void messages_come_in_parts(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                EVP_MD_CTX *context = EVP_MD_CTX_new();
                EVP_PKEY *key = load(keys[i].name);
                uint8_t out[1024];
                size_t n = 0;

                if (keys[i].base_id != EVP_PKEY_ED25519) {
                        MUST(EVP_DigestSignInit_ex(context, NULL, "SHA384", NULL, NULL, key, NULL));
                        MUST(EVP_DigestSignUpdate(context, message, 10));
                        MUST(EVP_DigestSignUpdate(context, message + 10, sizeof(message) - 10));
                        /* The probe leaves the hash alone. */
                        MUST(EVP_DigestSignFinal(context, NULL, &n));
                        assert_int_equal(n, keys[i].size);
                        n = sizeof(out);
                        MUST(EVP_DigestSignFinal(context, out, &n));
                        MUST(is_right(keys[i].name, "SHA384", NULL, out, n));
                }
                EVP_PKEY_free(key);
                EVP_MD_CTX_free(context);
        }
}

void size_is_told_locally(void **state)
{
        setenv("CERTBROKER_BUS", NOBODY, 1);

        for (size_t i = 0; i < N(keys); i++) {
                bool ed25519 = keys[i].base_id == EVP_PKEY_ED25519;
                EVP_MD_CTX *context = EVP_MD_CTX_new();
                EVP_PKEY *key = load(keys[i].name);
                uint8_t out[1024];
                size_t n = 0;

                MUST(EVP_DigestSignInit_ex(context, NULL, ed25519 ? NULL : "SHA256", NULL, NULL,
                                           key, NULL));
                MUST(EVP_DigestSign(context, NULL, &n, message, sizeof(message)));
                assert_int_equal(n, keys[i].size);
                n--;
                assert_false(EVP_DigestSign(context, out, &n, message, sizeof(message)) > 0);
                EVP_MD_CTX_free(context);

                if (!ed25519) {
                        EVP_PKEY_CTX *raw = EVP_PKEY_CTX_new(key, NULL);

                        n = 0;
                        MUST(EVP_PKEY_sign_init(raw) > 0);
                        MUST(EVP_PKEY_sign(raw, NULL, &n, message, 32) > 0);
                        assert_int_equal(n, keys[i].size);
                        EVP_PKEY_CTX_free(raw);
                }
                ERR_clear_error();
                EVP_PKEY_free(key);
        }
}

void pss_takes_numbers_and_words(void **state)
{
        EVP_PKEY *key = load("rsa");
        int six = RSA_PKCS1_PSS_PADDING, minus_one = -1, exact = 32, minus_two = -2;
        char word[] = "pss", digest[] = "digest", auto_[] = "auto", number[] = "32",
             mgf1[] = "SHA256";
        OSSL_PARAM judged[] = {
                OSSL_PARAM_construct_utf8_string("pad-mode", word, 0),
                OSSL_PARAM_construct_int("saltlen", &exact),
                OSSL_PARAM_construct_end(),
        };
        OSSL_PARAM pads[] = {
                OSSL_PARAM_construct_int("pad-mode", &six),
                OSSL_PARAM_construct_utf8_string("pad-mode", word, 0),
        };
        OSSL_PARAM salts[] = {
                OSSL_PARAM_construct_int("saltlen", &minus_one),
                OSSL_PARAM_construct_int("saltlen", &minus_two),
                OSSL_PARAM_construct_int("saltlen", &exact),
                OSSL_PARAM_construct_utf8_string("saltlen", digest, 0),
                OSSL_PARAM_construct_utf8_string("saltlen", auto_, 0),
                OSSL_PARAM_construct_utf8_string("saltlen", number, 0),
                OSSL_PARAM_construct_utf8_string("mgf1-digest", mgf1, 0),
        };
        uint8_t out[1024];

        for (size_t i = 0; i < N(pads); i++)
                for (size_t j = 0; j < N(salts); j++) {
                        OSSL_PARAM params[] = { pads[i], salts[j], OSSL_PARAM_construct_end() };
                        size_t n = sizeof(out);

                        MUST(sign_with(key, "SHA256", params, out, &n));
                        MUST(is_right("rsa", "SHA256", judged, out, n));
                }
        EVP_PKEY_free(key);
}

void other_pss_is_refused(void **state)
{
        EVP_PKEY *key = load("rsa");
        int six = RSA_PKCS1_PSS_PADDING, salt = 20, none = RSA_NO_PADDING;
        char max[] = "max", mgf1[] = "SHA512";
        OSSL_PARAM bad[] = {
                OSSL_PARAM_construct_int("saltlen", &salt),
                OSSL_PARAM_construct_utf8_string("saltlen", max, 0),
                OSSL_PARAM_construct_utf8_string("mgf1-digest", mgf1, 0),
                OSSL_PARAM_construct_int("pad-mode", &none),
        };
        uint8_t out[1024];

        for (size_t i = 0; i < N(bad); i++) {
                OSSL_PARAM params[] = { i < 3 ? OSSL_PARAM_construct_int("pad-mode", &six) : bad[i],
                                        bad[i], OSSL_PARAM_construct_end() };
                size_t n = sizeof(out);

                assert_false(sign_with(key, "SHA256", params, out, &n));
                assert_int_not_equal(ERR_peek_error(), 0);
                ERR_clear_error();
        }
        EVP_PKEY_free(key);
}

/* libssl sets these through controls. */
void pss_by_controls(void **state)
{
        EVP_PKEY *key = load("rsa");
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_PKEY_CTX *inner;
        int six = RSA_PKCS1_PSS_PADDING, salt = 48, mode;
        OSSL_PARAM judged[] = {
                OSSL_PARAM_construct_int("pad-mode", &six),
                OSSL_PARAM_construct_int("saltlen", &salt),
                OSSL_PARAM_construct_end(),
        };
        uint8_t out[256];
        size_t n = sizeof(out);

        MUST(EVP_DigestSignInit_ex(context, &inner, "SHA384", NULL, NULL, key, NULL));
        MUST(EVP_PKEY_CTX_set_rsa_padding(inner, RSA_PKCS1_PSS_PADDING) > 0);
        MUST(EVP_PKEY_CTX_set_rsa_pss_saltlen(inner, RSA_PSS_SALTLEN_DIGEST) > 0);
        MUST(EVP_PKEY_CTX_get_rsa_padding(inner, &mode) > 0);
        assert_int_equal(mode, RSA_PKCS1_PSS_PADDING);
        MUST(EVP_DigestSign(context, out, &n, message, sizeof(message)) > 0);
        MUST(is_right("rsa", "SHA384", judged, out, n));
        EVP_MD_CTX_free(context);
        EVP_PKEY_free(key);
}

static int raw_sign(EVP_PKEY *key, const EVP_MD *md, int padding, const uint8_t *input,
                    size_t n_input, uint8_t *out, size_t *n)
{
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
        int ok;

        ok = EVP_PKEY_sign_init(context) > 0 &&
             (!padding || EVP_PKEY_CTX_set_rsa_padding(context, padding) > 0) &&
             (!md || EVP_PKEY_CTX_set_signature_md(context, md) > 0) &&
             EVP_PKEY_sign(context, out, n, input, n_input) > 0;
        EVP_PKEY_CTX_free(context);
        return ok;
}

void digests_are_signed(void **state)
{
        static const struct {
                const char *key, *digest;
                int padding;
                bool set;
        } cases[] = {
                { "rsa", "SHA256", RSA_PKCS1_PADDING, true },
                { "rsa", "SHA512", RSA_PKCS1_PSS_PADDING, true },
                { "rsa", "SHA1", RSA_PKCS1_PADDING, true },
                { "rsa", "SHA384", RSA_PKCS1_PSS_PADDING, false },
                { "ec", "SHA256", 0, true },
                { "ec", "SHA512", 0, true },
                { "ec", "SHA256", 0, false },
                { "ec384", "SHA384", 0, false },
                { "ec521", "SHA512", 0, false },
                { "ec", "SHA1", 0, false },
        };

        for (size_t i = 0; i < N(cases); i++) {
                EVP_PKEY *key = load(cases[i].key);
                const EVP_MD *md = EVP_get_digestbyname(cases[i].digest);
                OSSL_PARAM judged[] = { OSSL_PARAM_construct_end(), OSSL_PARAM_construct_end() };
                int six = RSA_PKCS1_PSS_PADDING;
                uint8_t digest[64], out[1024];
                size_t n = sizeof(out);
                unsigned n_digest;

                if (cases[i].padding == six)
                        judged[0] = OSSL_PARAM_construct_int("pad-mode", &six);
                EVP_Digest(message, sizeof(message), digest, &n_digest, md, NULL);
                MUST(raw_sign(key, cases[i].set ? md : NULL, cases[i].padding, digest, n_digest,
                              out, &n));
                MUST(is_right(cases[i].key, cases[i].digest, judged, out, n));

                n = sizeof(out);
                assert_false(raw_sign(key, cases[i].set ? md : NULL, cases[i].padding, digest,
                                      n_digest - 1, out, &n));
                ERR_clear_error();
                EVP_PKEY_free(key);
        }
}

void a_digest_info_is_signed(void **state)
{
        static const uint8_t prefix[] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
                                          0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
                                          0x01, 0x05, 0x00, 0x04, 0x20 };
        EVP_PKEY *key = load("rsa");
        uint8_t info[sizeof(prefix) + 32], out[256];
        size_t n = sizeof(out);

        memcpy(info, prefix, sizeof(prefix));
        EVP_Digest(message, sizeof(message), info + sizeof(prefix), NULL, EVP_sha256(), NULL);
        MUST(raw_sign(key, NULL, 0, info, sizeof(info), out, &n));
        MUST(is_right("rsa", "SHA256", NULL, out, n));

        /* Whatever else a caller pads himself is not a digest that a grant could name. */
        n = sizeof(out);
        assert_false(raw_sign(key, NULL, 0, message, sizeof(message), out, &n));
        assert_false(raw_sign(key, NULL, 0, info + sizeof(prefix), 32, out, &n));
        info[14] ^= 1;
        assert_false(raw_sign(key, NULL, 0, info, sizeof(info), out, &n));
        ERR_clear_error();
        EVP_PKEY_free(key);
}

void other_digests_are_refused(void **state)
{
        static const char *const digests[] = { "MD5-SHA1", "MD5", "SHA224", "SHA3-256",
                                               "SHA512-256" };

        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);

                for (size_t j = 0; j < N(digests); j++) {
                        uint8_t out[1024];
                        size_t n = sizeof(out);

                        assert_false(sign_with(key, digests[j], NULL, out, &n));
                        assert_false(EVP_PKEY_digestsign_supports_digest(key, NULL, digests[j],
                                                                         NULL) == 1);
                        ERR_clear_error();
                }
                if (keys[i].base_id != EVP_PKEY_ED25519)
                        MUST(EVP_PKEY_digestsign_supports_digest(key, NULL, "SHA384", NULL) == 1);
                EVP_PKEY_free(key);
        }
}

void the_handle_verifies(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                const char *digest = keys[i].base_id == EVP_PKEY_ED25519 ? NULL : "SHA256";
                EVP_PKEY *key = load(keys[i].name);
                EVP_MD_CTX *context = EVP_MD_CTX_new();
                uint8_t out[1024];
                size_t n = sizeof(out);

                MUST(sign_with(key, digest, NULL, out, &n));
                MUST(EVP_DigestVerifyInit_ex(context, NULL, digest, NULL, NULL, key, NULL) > 0);
                MUST(EVP_DigestVerify(context, out, n, message, sizeof(message)) == 1);
                out[n - 1] ^= 1;
                MUST(EVP_DigestVerifyInit_ex(context, NULL, digest, NULL, NULL, key, NULL) > 0);
                assert_int_not_equal(EVP_DigestVerify(context, out, n, message, sizeof(message)),
                                     1);
                ERR_clear_error();
                EVP_MD_CTX_free(context);
                EVP_PKEY_free(key);
        }
}

void nobody_there_fails_fast(void **state)
{
        EVP_PKEY *key;
        uint8_t out[1024];
        size_t n = sizeof(out);
        const char *data;
        uint64_t begin;
        int flags;

        setenv("CERTBROKER_BUS", NOBODY, 1);
        key = load("ec");
        begin = now_msec();
        assert_false(sign_with(key, "SHA256", NULL, out, &n));
        assert_true(now_msec() - begin < 250);
        assert_string_equal(ERR_reason_error_string(ERR_peek_error_data(&data, &flags)),
                            "certbrokerd cannot be reached");
        assert_true(flags & ERR_TXT_STRING);
        assert_non_null(strstr(data, "/nonexistent/bus"));
        ERR_clear_error();
        EVP_PKEY_free(key);
}
