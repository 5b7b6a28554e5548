/* SPDX-License-Identifier: Apache-2.0 */
/* Reading key files: what is there without a broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test-provider.h"

/* Run with a bus that is not there: see main(). */
void load_needs_no_broker(void **state)
{
        unsigned before;

        setenv("CERTBROKER_BUS", NOBODY, 1);
        EVP_PKEY_free(load("rsa"));
        before = count_descriptors();

        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);

                assert_string_equal(provider_of(key), "certbroker");
                assert_no_errors();
                EVP_PKEY_free(key);
        }
        assert_int_equal(count_descriptors(), before);
}

void parameters_are_answered_locally(void **state)
{
        setenv("CERTBROKER_BUS", NOBODY, 1);

        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);
                char group[64];
                size_t n;

                assert_int_equal(EVP_PKEY_get_base_id(key), keys[i].base_id);
                assert_true(EVP_PKEY_is_a(key, keys[i].type));
                assert_int_equal(EVP_PKEY_get_bits(key), keys[i].bits);
                assert_int_equal(EVP_PKEY_get_size(key), keys[i].size);
                assert_true(EVP_PKEY_get_security_bits(key) >= 112);
                if (keys[i].group) {
                        MUST(EVP_PKEY_get_group_name(key, group, sizeof(group), &n));
                        assert_string_equal(group, keys[i].group);
                }
                EVP_PKEY_free(key);
        }
}

void certificate_matches_its_key(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                X509 *certificate = load_certificate(keys[i].name);
                EVP_PKEY *key = load(keys[i].name), *twin = load(keys[i].name);

                MUST(X509_check_private_key(certificate, key) == 1);
                MUST(EVP_PKEY_eq(key, X509_get0_pubkey(certificate)) == 1);
                MUST(EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1);
                MUST(EVP_PKEY_eq(key, twin) == 1);
                assert_no_errors();
                for (size_t j = 0; j < N(keys); j++) {
                        EVP_PKEY *other = load(keys[j].name);

                        if (i != j)
                                assert_int_not_equal(X509_check_private_key(certificate, other), 1);
                        EVP_PKEY_free(other);
                }
                ERR_clear_error();
                EVP_PKEY_free(twin);
                EVP_PKEY_free(key);
                X509_free(certificate);
        }
}

void private_half_is_refused(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);
                OSSL_PARAM *params = NULL;
                BIGNUM *number = NULL;
                uint8_t *der = NULL;

                assert_false(EVP_PKEY_todata(key, EVP_PKEY_KEYPAIR, &params) > 0);
                assert_false(i2d_PrivateKey(key, &der) > 0);
                assert_false(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_D, &number));
                assert_false(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &number));
                ERR_clear_error();

                MUST(EVP_PKEY_todata(key, EVP_PKEY_PUBLIC_KEY, &params) > 0);
                assert_null(OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_PRIV_KEY));
                assert_null(OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_RSA_D));
                MUST(i2d_PUBKEY(key, &der) > 0);
                OPENSSL_free(der);
                OSSL_PARAM_free(params);
                EVP_PKEY_free(key);
        }
}

void copies_sign_like_the_first(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name), *copy = EVP_PKEY_dup(key);

                MUST(copy);
                EVP_PKEY_free(key);
                MUST(signs(copy, keys[i].name,
                           keys[i].base_id == EVP_PKEY_ED25519 ? NULL : "SHA256"));
                EVP_PKEY_free(copy);
        }
}

static char *slurp(const char *path)
{
        static char text[65536];
        FILE *f = fopen(path, "r");
        size_t n;

        assert_non_null(f);
        n = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        text[n] = '\0';
        return strdup(text);
}

static EVP_PKEY *parse(const char *pem)
{
        BIO *bio = BIO_new_mem_buf(pem, -1);
        EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

        BIO_free(bio);
        return key;
}

#define BLOCK(label) "-----BEGIN " label "-----\nMAA=\n-----END " label "-----\n"

/*
 * The first key counts, whatever stands before it. With an older error in its queue libcrypto shows a
 * decoder nothing behind the first block.
 */
void files_may_hold_more(void **state)
{
        char *reference = slurp(file("ec", ".key")), *chain = slurp(file("ec", ".crt"));
        char *plain = slurp(file("rsa", ".private"));
        const struct {
                const char *parts[3], *provider;
        } mixes[] = {
                { { chain, reference, "" }, "certbroker" },
                { { reference, chain, "" }, "certbroker" },
                { { "some text\n\n", reference, chain }, "certbroker" },
                { { chain, "text\n", reference }, "certbroker" },
                { { reference, plain, "" }, "certbroker" },
                { { BLOCK("EC PARAMETERS"), chain, reference }, "certbroker" },
                { { BLOCK("DH PARAMETERS"), BLOCK("X509 CRL"), reference }, "certbroker" },
                { { BLOCK("TRUSTED CERTIFICATE"), BLOCK("PKCS7"), reference }, "certbroker" },
                { { BLOCK("PUBLIC KEY"), BLOCK("CERTIFICATE REQUEST"), reference }, "certbroker" },
                { { plain, reference, "" }, "default" },
                { { chain, plain, reference }, "default" },
                { { plain, chain, reference }, "default" },
        };
        char all[65536];

        for (size_t i = 0; i < 2 * N(mixes); i++) {
                const char *const *parts = mixes[i / 2].parts;
                EVP_PKEY *key;

                snprintf(all, sizeof(all), "%s%s%s", parts[0], parts[1], parts[2]);
                ERR_clear_error();
                if (i % 2)
                        ERR_raise_data(ERR_LIB_USER, 1, "older than this file");
                key = parse(all);
                MUST(key);
                /* What only the older reader of PEM finds has no provider. */
                assert_string_equal(EVP_PKEY_get0_provider(key) ? provider_of(key) : "default",
                                    mixes[i / 2].provider);
                EVP_PKEY_free(key);
        }
        ERR_clear_error();

        free(reference);
        free(chain);
        free(plain);
}

void broken_files_are_refused(void **state)
{
        char *reference = slurp(file("ec", ".key")), *body = strstr(reference, "-----\n") + 6;
        size_t n_body = (size_t)(strstr(body, "-----END") - body);
        static const char *const wholes[] = {
                "-----BEGIN CERTBROKER KEY REFERENCE-----\n",
                "-----BEGIN CERTBROKER KEY REFERENCE-----\n-----END CERTBROKER KEY "
                "REFERENCE-----\n",
                "-----BEGIN CERTBROKER KEY REFERENCE-----\n!!!!\n-----END CERTBROKER KEY "
                "REFERENCE-----\n",
                "-----BEGIN CERTBROKER KEY REFERENCE-----\nMAA=\n-----END CERTBROKER KEY "
                "REFERENCE-----\n",
                "",
        };

        for (size_t i = 0; i < N(wholes); i++)
                assert_null(parse(wholes[i]));

        /* Every byte of the body once changed: an error, or a key that still is one; never a crash. */
        for (size_t i = 0; i < n_body; i++) {
                char before = body[i];

                body[i] = before == 'A' ? 'B' : 'A';
                EVP_PKEY_free(parse(reference));
                body[i] = before;
        }
        ERR_clear_error();
        free(reference);
}

void der_is_read_too(void **state)
{
        char *reference = slurp(file("rsa", ".key"));
        BIO *bio = BIO_new_mem_buf(reference, -1);
        char *name, *header;
        uint8_t *der;
        long n_der;
        EVP_PKEY *key;

        MUST(PEM_read_bio(bio, &name, &header, &der, &n_der));
        assert_string_equal(name, "CERTBROKER KEY REFERENCE");
        BIO_free(bio);

        bio = BIO_new_mem_buf(der, (int)n_der);
        key = d2i_PrivateKey_bio(bio, NULL);
        MUST(key);
        assert_string_equal(provider_of(key), "certbroker");
        EVP_PKEY_free(key);
        BIO_free(bio);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
        free(reference);
}
