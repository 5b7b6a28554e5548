/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of keys as a token holds them, there and back; and digests of PINs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "pki/context.h"
#include "pki/pin-digest.h"
#include "pki/token-object.h"

static EVP_PKEY *make_key(KeyType type, Bytes *ret_spki)
{
        static const char *const groups[_KEY_TYPE_N] = { [KEY_TYPE_EC_P256] = "P-256",
                                                         [KEY_TYPE_EC_P384] = "P-384",
                                                         [KEY_TYPE_EC_P521] = "P-521" };
        unsigned char *der = NULL;
        EVP_PKEY *key;
        int n;

        if (groups[type])
                key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", groups[type]);
        else if (type == KEY_TYPE_ED25519)
                key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        else
                key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)key_type_row(type)->bits);
        assert_non_null(key);
        n = i2d_PUBKEY(key, &der);
        assert_true(n > 0);
        assert_int_equal(bytes_set(ret_spki, der, (size_t)n), 0);
        OPENSSL_free(der);
        return key;
}

static const KeyType types[] = { KEY_TYPE_RSA_2048, KEY_TYPE_EC_P256, KEY_TYPE_EC_P384,
                                 KEY_TYPE_EC_P521, KEY_TYPE_ED25519 };

static void expect_same(const PkiPublicParts *parts, const Bytes *spki)
{
        Bytes again = { 0 };
        Failure failure = { 0 };

        assert_int_equal(pki_public_key_from_parts(parts, &again, &failure), 0);
        assert_true(bytes_equal(&again, spki));
        bytes_deinit(&again);
}

static void test_public_there_and_back(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                Bytes spki = { 0 }, wrapped = { 0 };
                PkiPublicParts parts = { 0 };
                Failure failure = { 0 };
                EVP_PKEY *key = make_key(types[i], &spki);

                assert_int_equal(pki_public_parts(&spki, &parts, &failure), 0);
                assert_int_equal(parts.type, types[i]);
                expect_same(&parts, &spki);
                if (parts.point.n > 0) {
                        /* vendors differ: the point in an OCTET STRING, too */
                        assert_int_equal(pki_curve_type(&parts.params), types[i]);
                        assert_int_equal(pki_point_wrap(&parts.point, &wrapped), 0);
                        assert_true(wrapped.n > parts.point.n);
                        bytes_deinit(&parts.point);
                        parts.point = wrapped;
                        expect_same(&parts, &spki);
                }
                pki_public_parts_deinit(&parts);
                bytes_deinit(&spki);
                EVP_PKEY_free(key);
        }
}

static void test_modulus_with_leading_zeros(void **state)
{
        uint8_t padded[258] = { 0 };
        Bytes spki = { 0 }, modulus = { padded, sizeof(padded) };
        PkiPublicParts parts = { 0 };
        EVP_PKEY *key = make_key(KEY_TYPE_RSA_2048, &spki);

        (void)state;
        assert_int_equal(pki_public_parts(&spki, &parts, NULL), 0);
        memcpy(padded + 2, parts.modulus.data, parts.modulus.n);
        assert_int_equal(pki_modulus_type(&modulus), KEY_TYPE_RSA_2048);
        padded[2] = 0x7f; /* 2047 bits */
        assert_int_equal(pki_modulus_type(&modulus), KEY_TYPE_NONE);
        memset(padded, 0, sizeof(padded));
        assert_int_equal(pki_modulus_type(&modulus), KEY_TYPE_NONE);
        modulus.n = 0;
        assert_int_equal(pki_modulus_type(&modulus), KEY_TYPE_NONE);
        pki_public_parts_deinit(&parts);
        bytes_deinit(&spki);
        EVP_PKEY_free(key);
}

static void expect_refused(PkiPublicParts *parts, int status)
{
        Failure failure = { 0 };
        Bytes spki = { 0 };

        assert_int_equal(pki_public_key_from_parts(parts, &spki, &failure), status);
        assert_int_equal(failure.status, status);
        assert_int_equal(spki.n, 0);
}

static void test_bad_public_parts(void **state)
{
        static uint8_t secp256k1[] = { 0x06, 5, 0x2b, 0x81, 0x04, 0, 0x0a };
        PkiPublicParts parts = { 0 };
        Bytes spki = { 0 };
        EVP_PKEY *key = make_key(KEY_TYPE_EC_P256, &spki);

        (void)state;
        expect_refused(&parts, CB_NOT_SUPPORTED); /* nothing at all */
        assert_int_equal(pki_public_parts(&spki, &parts, NULL), 0);
        parts.point.data[parts.point.n - 1] ^= 1; /* not on the curve */
        expect_refused(&parts, CB_BAD_BUNDLE);
        parts.point.data[parts.point.n - 1] ^= 1;
        parts.point.n--;
        expect_refused(&parts, CB_BAD_BUNDLE);
        parts.point.n = 1;
        expect_refused(&parts, CB_BAD_BUNDLE);
        assert_int_equal(bytes_set(&parts.params, secp256k1, sizeof(secp256k1)), 0);
        expect_refused(&parts, CB_NOT_SUPPORTED);
        pki_public_parts_deinit(&parts);
        bytes_deinit(&spki);
        EVP_PKEY_free(key);
}

static void test_private_parts(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                const KeyTypeRow *row = key_type_row(types[i]);
                PkiPrivateParts parts = { 0 };
                Bytes spki = { 0 };
                EVP_PKEY *key = make_key(types[i], &spki);

                assert_int_equal(pki_private_parts(key, types[i], &parts, NULL), 0);
                if (row->family == KEY_RSA) {
                        assert_int_equal(parts.prime1.n, row->bits / 16);
                        assert_int_equal(parts.prime2.n, row->bits / 16);
                        assert_true(parts.coefficient.n > 0 && parts.exponent1.n > 0 &&
                                    parts.exponent2.n > 0);
                } else {
                        assert_int_equal(parts.value.n, (row->bits + 7) / 8);
                        assert_int_equal(parts.prime1.n, 0);
                }
                assert_true(parts.value.data >= secret_data(parts.store));
                assert_true(parts.value.data + parts.value.n <=
                            secret_data(parts.store) + secret_length(parts.store));
                pki_private_parts_deinit(&parts);
                bytes_deinit(&spki);
                EVP_PKEY_free(key);
        }
}

static void test_certificate_names_of_no_certificate(void **state)
{
        PkiCertificateNames names = { 0 };
        Bytes junk = { (uint8_t[]){ 0x30, 0x03, 1, 2, 3 }, 5 };
        Failure failure = { 0 };

        (void)state;
        assert_int_equal(pki_certificate_names(&junk, &names, &failure), CB_BAD_BUNDLE);
        junk.n = 0;
        assert_int_equal(pki_certificate_names(&junk, &names, &failure), CB_BAD_BUNDLE);
        assert_int_equal(names.subject.n, 0);
}

static void digest(const char *pin, uint8_t salt_byte, const char *context,
                   uint8_t ret_digest[PIN_DIGEST_LENGTH])
{
        uint8_t salt[PIN_DIGEST_SALT_LENGTH] = { salt_byte };
        Bytes belongs = { (uint8_t *)(uintptr_t)context, strlen(context) };
        Secret *secret;

        assert_int_equal(secret_new(32, &secret), 0);
        memcpy(secret_data(secret), pin, strlen(pin));
        secret_set_length(secret, strlen(pin));
        assert_int_equal(pin_digest(secret, salt, &belongs, ret_digest), 0);
        secret_free(secret);
}

static void test_pin_digest(void **state)
{
        uint8_t first[PIN_DIGEST_LENGTH], other[PIN_DIGEST_LENGTH];

        (void)state;
        digest("1234", 1, "token", first);
        digest("1234", 1, "token", other);
        assert_true(pin_digest_equal(first, other));
        digest("1235", 1, "token", other);
        assert_false(pin_digest_equal(first, other));
        digest("1234", 2, "token", other);
        assert_false(pin_digest_equal(first, other));
        digest("1234", 1, "taken", other);
        assert_false(pin_digest_equal(first, other));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_public_there_and_back),
                cmocka_unit_test(test_modulus_with_leading_zeros),
                cmocka_unit_test(test_bad_public_parts),
                cmocka_unit_test(test_private_parts),
                cmocka_unit_test(test_certificate_names_of_no_certificate),
                cmocka_unit_test(test_pin_digest),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
