/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much work a bundle may make us do, over all that is in it. A bundle here asks for hours, or for ever:
 * a case that fails does not end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "issue.h"
#include "pki/bundle.h"

#define ONE_MAX 2000000 /* what one part alone may ask for */

static EVP_PKEY *key;
static X509 *leaf;

static int setup(void **state)
{
        issue_setup(state);
        key = issue_rsa(2048);
        leaf = issue_certificate(&(Issue){ .name = "leaf", .key = key });
        return 0;
}

static int teardown(void **state)
{
        EVP_PKEY_free(key);
        X509_free(leaf);
        return 0;
}

static void expect(const Bytes *data, const char *text)
{
        PkiBundle bundle = { 0 };
        Failure failure = { 0 };
        Secret *secret = NULL, *passphrase = NULL;

        assert_int_equal(secret_new(data->n, &secret), 0);
        memcpy(secret_data(secret), data->data, data->n);
        secret_set_length(secret, data->n);
        assert_int_equal(secret_new(7, &passphrase), 0);
        memcpy(secret_data(passphrase), "correct", 7);
        secret_set_length(passphrase, 7);
        assert_int_equal(
                pki_bundle_parse(secret, passphrase, (uint64_t)time(NULL), &bundle, &failure),
                CB_BAD_BUNDLE);
        if (!strstr(failure.text, text))
                print_error("'%s' and not '%s'\n", failure.text, text);
        assert_non_null(strstr(failure.text, text));
        secret_free(secret);
        secret_free(passphrase);
}

/* PBES2 with PBKDF2, and AES-256. */
static X509_ALGOR *work_of(int iterations)
{
        X509_ALGOR *algorithm = X509_ALGOR_new();
        PBE2PARAM *pbe2 = PBE2PARAM_new();
        ASN1_OCTET_STRING *iv = ASN1_OCTET_STRING_new();

        X509_ALGOR_free(pbe2->keyfunc);
        pbe2->keyfunc = PKCS5_pbkdf2_set_ex(iterations, (uint8_t *)(uintptr_t) "saltsalt", 8,
                                            NID_hmacWithSHA512, -1, pki_context());
        assert_true(pbe2->keyfunc &&
                    ASN1_OCTET_STRING_set(iv, (const uint8_t *)"0123456789abcdef", 16));
        assert_true(X509_ALGOR_set0(pbe2->encryption, OBJ_nid2obj(NID_aes_256_cbc),
                                    V_ASN1_OCTET_STRING, iv));
        algorithm->algorithm = OBJ_nid2obj(NID_pbes2);
        assert_non_null(
                ASN1_TYPE_pack_sequence(ASN1_ITEM_rptr(PBE2PARAM), pbe2, &algorithm->parameter));
        PBE2PARAM_free(pbe2);
        return algorithm;
}

/* Its content is no ciphertext of anything: whoever has done the work finds nothing. */
static PKCS7 *safe_of(int iterations)
{
        PKCS7 *safe = PKCS7_new();
        PKCS7_ENC_CONTENT *content;

        assert_true(safe && PKCS7_set_type(safe, NID_pkcs7_encrypted));
        content = safe->d.encrypted->enc_data;
        assert_true(ASN1_INTEGER_set(safe->d.encrypted->version, 0));
        content->content_type = OBJ_nid2obj(NID_pkcs7_data);
        X509_ALGOR_free(content->algorithm);
        content->algorithm = work_of(iterations);
        content->enc_data = ASN1_OCTET_STRING_new();
        assert_true(
                ASN1_OCTET_STRING_set(content->enc_data, (const uint8_t *)"0123456789abcdef", 16));
        return safe;
}

/* In the clear: one bag of a shrouded key in it; none: nonsense. */
static PKCS7 *clear_safe_of(int iterations)
{
        STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
        PKCS7 *safe;

        if (iterations > 0) {
                X509_SIG *sig = X509_SIG_new();
                X509_ALGOR *algorithm = work_of(iterations), *place;
                ASN1_OCTET_STRING *content;

                X509_SIG_getm(sig, &place, &content);
                assert_true(
                        X509_ALGOR_copy(place, algorithm) &&
                        ASN1_OCTET_STRING_set(content, (const uint8_t *)"0123456789abcdef", 16));
                X509_ALGOR_free(algorithm);
                sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create0_pkcs8(sig));
        }
        safe = PKCS12_pack_p7data(bags);
        if (iterations == 0)
                assert_true(ASN1_OCTET_STRING_set(safe->d.data, (const uint8_t *)"\x30\x80", 2));
        sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
        return safe;
}

/* Takes the safes. mac: its iterations; 0: none. */
static Bytes p12_of(PKCS7 *const *safes, size_t n, int mac)
{
        STACK_OF(PKCS7) *stack = sk_PKCS7_new_null();
        BIO *bio = BIO_new(BIO_s_mem());
        PKCS12 *p12;

        for (size_t i = 0; i < n; i++)
                sk_PKCS7_push(stack, safes[i]);
        p12 = PKCS12_add_safes_ex(stack, 0, pki_context(), NULL);
        assert_non_null(p12);
        if (mac > 0)
                assert_true(PKCS12_set_mac(p12, "correct", 7, NULL, 0, mac, EVP_sha256()));
        assert_true(i2d_PKCS12_bio(bio, p12));
        sk_PKCS7_pop_free(stack, PKCS7_free);
        PKCS12_free(p12);
        return issue_take_bio(bio);
}

static void sum_over_all_parts(void **state)
{
        PKCS7 *safes[16];
        Bytes data;

        for (size_t i = 0; i < ELEMENTSOF(safes); i++)
                safes[i] = safe_of(ONE_MAX - 1);
        data = p12_of(safes, ELEMENTSOF(safes), 0);
        expect(&data, "together");
        bytes_deinit(&data);

        for (size_t i = 0; i < ELEMENTSOF(safes); i++)
                safes[i] = clear_safe_of(ONE_MAX - 1);
        data = p12_of(safes, ELEMENTSOF(safes), 0);
        expect(&data, "together");
        bytes_deinit(&data);
}

/* MAC, certificates and key of as much as each may: so much is read, until it turns out to be nonsense. */
static void three_of_the_most_are_read(void **state)
{
        PKCS7 *fits[] = { clear_safe_of(0), safe_of(ONE_MAX), safe_of(ONE_MAX),
                          clear_safe_of(ONE_MAX) };
        PKCS7 *one_more[] = { clear_safe_of(0), safe_of(ONE_MAX), safe_of(ONE_MAX),
                              clear_safe_of(ONE_MAX), safe_of(1) };
        Bytes data = p12_of(fits, ELEMENTSOF(fits), 0);

        expect(&data, "damaged");
        bytes_deinit(&data);
        data = p12_of(one_more, ELEMENTSOF(one_more), 0);
        expect(&data, "together");
        bytes_deinit(&data);
}

static Bytes pem_of_work(size_t n)
{
        BIO *bio = BIO_new(BIO_s_mem());
        X509_SIG *sig = X509_SIG_new();
        X509_ALGOR *algorithm = work_of(ONE_MAX - 1), *place;
        ASN1_OCTET_STRING *content;

        X509_SIG_getm(sig, &place, &content);
        assert_true(X509_ALGOR_copy(place, algorithm) &&
                    ASN1_OCTET_STRING_set(content, (const uint8_t *)"0123456789abcdef", 16));
        for (size_t i = 0; i < n; i++)
                assert_true(PEM_write_bio_PKCS8(bio, sig));
        X509_ALGOR_free(algorithm);
        X509_SIG_free(sig);
        return issue_take_bio(bio);
}

static void sum_over_all_keys_of_pem(void **state)
{
        Bytes data = pem_of_work(2000);

        expect(&data, "together");
        bytes_deinit(&data);
}

static Bytes pkcs8_of(const char *label, PKCS8_PRIV_KEY_INFO *info)
{
        BIO *bio = BIO_new(BIO_s_mem());
        unsigned char *der = NULL;
        int n = i2d_PKCS8_PRIV_KEY_INFO(info, &der);

        assert_true(n > 0 && PEM_write_bio(bio, label, "", der, n) > 0);
        assert_true(PEM_write_bio_X509(bio, leaf));
        OPENSSL_free(der);
        PKCS8_PRIV_KEY_INFO_free(info);
        return issue_take_bio(bio);
}

static ASN1_TYPE *integer_of(size_t n_bits)
{
        BIGNUM *n = BN_new();
        ASN1_TYPE *type = ASN1_TYPE_new();

        assert_true(n && type && BN_set_bit(n, (int)n_bits - 1) && BN_set_bit(n, 0));
        ASN1_TYPE_set(type, V_ASN1_INTEGER, BN_to_ASN1_INTEGER(n, NULL));
        BN_free(n);
        return type;
}

/* Whose public half nobody can compute in a lifetime. */
static PKCS8_PRIV_KEY_INFO *endless_dsa(size_t n_bits)
{
        STACK_OF(ASN1_TYPE) *numbers = sk_ASN1_TYPE_new_null();
        PKCS8_PRIV_KEY_INFO *info = PKCS8_PRIV_KEY_INFO_new();
        ASN1_STRING *parameters = ASN1_STRING_type_new(V_ASN1_SEQUENCE);
        ASN1_TYPE *x = integer_of(n_bits);
        unsigned char *der = NULL;
        int n;

        sk_ASN1_TYPE_push(numbers, integer_of(n_bits));
        sk_ASN1_TYPE_push(numbers, integer_of(256));
        sk_ASN1_TYPE_push(numbers, integer_of(n_bits - 1));
        n = i2d_ASN1_SEQUENCE_ANY(numbers, &der);
        ASN1_STRING_set0(parameters, der, n);
        der = NULL;
        n = i2d_ASN1_INTEGER(x->value.integer, &der);
        assert_true(PKCS8_pkey_set0(info, OBJ_nid2obj(NID_dsa), 0, V_ASN1_SEQUENCE, parameters, der,
                                    n));
        ASN1_TYPE_free(x);
        sk_ASN1_TYPE_pop_free(numbers, ASN1_TYPE_free);
        return info;
}

static void endless_key_of_another_kind(void **state)
{
        static const char *const labels[] = { "RSA PRIVATE KEY", "EC PRIVATE KEY" };
        Bytes data = pkcs8_of("PRIVATE KEY", endless_dsa(100000));
        Failure failure = { 0 };
        PkiBundle bundle = { 0 };
        Secret *secret = NULL;

        assert_int_equal(secret_new(data.n, &secret), 0);
        memcpy(secret_data(secret), data.data, data.n);
        secret_set_length(secret, data.n);
        assert_int_equal(pki_bundle_parse(secret, NULL, (uint64_t)time(NULL), &bundle, &failure),
                         CB_NOT_SUPPORTED);
        secret_free(secret);
        bytes_deinit(&data);
        for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
                data = pkcs8_of(labels[i], endless_dsa(100000));
                expect(&data, "damaged");
                bytes_deinit(&data);
        }
}

/* It signs rightly, only never in time: its exponent goes round the group again and again. */
static void endless_exponent(void **state)
{
        static const char *const names[] = {
                OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
                OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
                OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
                OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1
        };
        STACK_OF(ASN1_TYPE) *numbers = sk_ASN1_TYPE_new_null();
        BIO *bio = BIO_new(BIO_s_mem());
        unsigned char *der = NULL;
        Bytes data;
        int n;

        sk_ASN1_TYPE_push(numbers, integer_of(1));
        ASN1_INTEGER_set(sk_ASN1_TYPE_value(numbers, 0)->value.integer, 0);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                ASN1_TYPE *type = ASN1_TYPE_new();
                BIGNUM *bn = NULL;

                assert_true(EVP_PKEY_get_bn_param(key, names[i], &bn));
                if (i == 5 || i == 6) { /* + (p - 1) * 2^n */
                        BIGNUM *round = NULL;

                        assert_true(EVP_PKEY_get_bn_param(key, names[i - 2], &round));
                        assert_true(BN_sub_word(round, 1) && BN_lshift(round, round, 200000) &&
                                    BN_add(bn, bn, round));
                        BN_free(round);
                }
                ASN1_TYPE_set(type, V_ASN1_INTEGER, BN_to_ASN1_INTEGER(bn, NULL));
                sk_ASN1_TYPE_push(numbers, type);
                BN_free(bn);
        }
        n = i2d_ASN1_SEQUENCE_ANY(numbers, &der);
        assert_true(n > 0 && PEM_write_bio(bio, "RSA PRIVATE KEY", "", der, n) > 0);
        assert_true(PEM_write_bio_X509(bio, leaf));
        OPENSSL_free(der);
        sk_ASN1_TYPE_pop_free(numbers, ASN1_TYPE_free);
        data = issue_take_bio(bio);
        expect(&data, "damaged");
        bytes_deinit(&data);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sum_over_all_parts),
                cmocka_unit_test(three_of_the_most_are_read),
                cmocka_unit_test(sum_over_all_keys_of_pem),
                cmocka_unit_test(endless_key_of_another_kind),
                cmocka_unit_test(endless_exponent),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
