/* SPDX-License-Identifier: Apache-2.0 */
/* The key file: its DER byte by byte, its label, its words; and that it holds no private half. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "keyfile.h"

#define URI "certbroker:certificate/orders?generation=3"

static X509 *leaf;
static EVP_PKEY *key;

static int make_leaf(void **state)
{
        key = EVP_EC_gen("P-256");
        leaf = X509_new();
        if (!key || !leaf || !X509_set_pubkey(leaf, key) || !X509_sign(leaf, key, EVP_sha256()))
                return -1;
        return 0;
}

static int free_leaf(void **state)
{
        X509_free(leaf);
        EVP_PKEY_free(key);
        return 0;
}

static unsigned char *read_pem(const char *text, size_t n, char **ret_label, long *ret_n)
{
        BIO *bio = BIO_new_mem_buf(text, (int)n);
        unsigned char *der = NULL;
        char *header = NULL;

        assert_int_equal(PEM_read_bio(bio, ret_label, &header, &der, ret_n), 1);
        assert_string_equal(header, "");
        OPENSSL_free(header);
        BIO_free(bio);
        return der;
}

static void test_der(void **state)
{
        static const char version[] = "certbroker key reference v1";
        unsigned char *spki = NULL, *der, *p;
        int n_spki = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &spki);
        char *text, *label = NULL;
        size_t n_text, n_content;
        long n;

        assert_int_equal(keyfile_encode(URI, leaf, NULL, &text, &n_text), 0);
        assert_int_equal(strlen(text), n_text);
        der = read_pem(text, n_text, &label, &n);
        assert_string_equal(label, "CERTBROKER KEY REFERENCE");

        /* SEQUENCE, VisibleString (26), UTF8String (12), the SubjectPublicKeyInfo as it is */
        n_content = 2 + strlen(version) + 2 + strlen(URI) + (size_t)n_spki;
        assert_true(n_content > 127 && n_content < 256);
        assert_int_equal(n, 3 + n_content);
        p = der;
        assert_int_equal(*p++, 0x30);
        assert_int_equal(*p++, 0x81);
        assert_int_equal(*p++, n_content);
        assert_int_equal(*p++, 26);
        assert_int_equal(*p++, strlen(version));
        assert_memory_equal(p, version, strlen(version));
        p += strlen(version);
        assert_int_equal(*p++, 12);
        assert_int_equal(*p++, strlen(URI));
        assert_memory_equal(p, URI, strlen(URI));
        p += strlen(URI);
        assert_memory_equal(p, spki, (size_t)n_spki);

        OPENSSL_free(label);
        OPENSSL_free(der);
        OPENSSL_free(spki);
        free(text);
}

static void test_words(void **state)
{
        char *comment, *text, *label = NULL, *begin;
        unsigned char *der;
        size_t n_text;
        long n;

        assert_int_equal(keyfile_comment("orders", URI, &comment), 0);
        assert_int_equal(keyfile_encode(URI, leaf, comment, &text, &n_text), 0);
        begin = strstr(text, "-----BEGIN CERTBROKER KEY REFERENCE-----\n");
        assert_non_null(begin);
        assert_true(begin - text == (ptrdiff_t)strlen(comment));
        assert_non_null(strstr(comment, "package certbroker"));
        assert_non_null(strstr(comment, "orders"));
        assert_non_null(strstr(comment, "openssl.cnf"));
        der = read_pem(text, n_text, &label, &n); /* the words do not disturb */
        OPENSSL_free(label);
        OPENSSL_free(der);
        free(comment);
        free(text);
}

/* An id that was received, and would be a block of PEM, or end the line, is not written. */
static void test_words_of_others(void **state)
{
        static const char *const evil[] = { "x\n-----BEGIN PRIVATE KEY-----\n", "x\n", "", "x y", "\xff" };
        char *comment;

        for (size_t i = 0; i < sizeof(evil) / sizeof(evil[0]); i++) {
                assert_int_equal(keyfile_comment(evil[i], URI, &comment), -EBADMSG);
                assert_int_equal(keyfile_comment("orders", evil[i], &comment), -EBADMSG);
        }
}

static void test_nothing_secret(void **state)
{
        BIGNUM *secret = NULL;
        unsigned char bytes[32], *der;
        char *text, *label = NULL;
        size_t n_text;
        long n;

        assert_int_equal(EVP_PKEY_get_bn_param(key, "priv", &secret), 1);
        assert_int_equal(BN_bn2binpad(secret, bytes, sizeof(bytes)), sizeof(bytes));
        assert_int_equal(keyfile_encode(URI, leaf, NULL, &text, &n_text), 0);
        der = read_pem(text, n_text, &label, &n);
        assert_null(memmem(der, (size_t)n, bytes, sizeof(bytes)));
        BN_free(secret);
        OPENSSL_free(label);
        OPENSSL_free(der);
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_der),
                cmocka_unit_test(test_words),
                cmocka_unit_test(test_words_of_others),
                cmocka_unit_test(test_nothing_secret),
        };

        return cmocka_run_group_tests(tests, make_leaf, free_leaf);
}
