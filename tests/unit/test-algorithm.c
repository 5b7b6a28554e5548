/* SPDX-License-Identifier: Apache-2.0 */
/* The tables: every row is there, named once, and its lengths are the standards'. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/macro.h"
#include "core/algorithm.h"

static void every_algorithm_has_a_name_of_its_own(void **state)
{
        for (Algorithm a = ALGORITHM_NONE + 1; a < _ALGORITHM_N; a++) {
                assert_non_null(algorithm_name(a));
                assert_int_equal(algorithm_from_name(algorithm_name(a)), a);
                assert_int_equal(algorithm_row(a)->decrypts,
                                 strncmp(algorithm_name(a), "rsa-oaep-", 9) == 0);
                assert_int_equal(algorithm_row(a)->legacy,
                                 !algorithm_row(a)->decrypts &&
                                         strstr(algorithm_name(a), "sha1") != NULL);
                assert_int_equal(algorithm_row(a)->padding == PADDING_PSS,
                                 strncmp(algorithm_name(a), "rsa-pss-", 8) == 0);
        }
        assert_int_equal(algorithm_from_name("none"), ALGORITHM_NONE);
        assert_int_equal(algorithm_from_name(""), ALGORITHM_NONE);
        assert_int_equal(algorithm_from_name("RSA-PSS-SHA256"), ALGORITHM_NONE);
        assert_int_equal(algorithm_from_name("rsa-pss-sha1"), ALGORITHM_NONE);
        assert_int_equal(algorithm_from_name("rsa-oaep-sha512"), ALGORITHM_NONE);
}

static void every_key_type_has_a_name_of_its_own(void **state)
{
        for (KeyType t = KEY_TYPE_NONE + 1; t < _KEY_TYPE_N; t++) {
                const KeyTypeRow *row = key_type_row(t);

                assert_int_equal(key_type_from_name(row->name), t);
                if (row->family == KEY_RSA)
                        assert_int_equal(row->n_signature_max, row->bits / 8);
        }
        assert_int_equal(key_type_from_name("none"), KEY_TYPE_NONE);
        assert_int_equal(key_type_from_name("rsa-1024"), KEY_TYPE_NONE);
        assert_int_equal(key_type_row(KEY_TYPE_EC_P384)->curve_digest, DIGEST_SHA384);
}

static void algorithms_fit_their_family_alone(void **state)
{
        assert_true(algorithm_fits_key(ALGORITHM_RSA_PSS_SHA512, KEY_TYPE_RSA_2048));
        assert_false(algorithm_fits_key(ALGORITHM_RSA_PSS_SHA512, KEY_TYPE_EC_P256));
        assert_true(algorithm_fits_key(ALGORITHM_ECDSA_SHA512,
                                       KEY_TYPE_EC_P256)); /* any of the curves */
        assert_false(algorithm_fits_key(ALGORITHM_ECDSA_SHA256, KEY_TYPE_ED25519));
        assert_true(algorithm_fits_key(ALGORITHM_ED25519, KEY_TYPE_ED25519));
        assert_false(algorithm_fits_key(ALGORITHM_NONE, KEY_TYPE_NONE));
        assert_false(algorithm_fits_key(ALGORITHM_NONE, KEY_TYPE_RSA_2048));
        assert_false(algorithm_fits_key(ALGORITHM_ED25519, KEY_TYPE_NONE));
        assert_false(algorithm_fits_key(ALGORITHM_RSA_OAEP_SHA256, KEY_TYPE_RSA_2048));

        assert_int_equal(algorithms_of_key(KEY_TYPE_ED25519), ALGORITHM_BIT(ALGORITHM_ED25519));
        assert_int_equal(algorithms_of_key(KEY_TYPE_NONE), 0);
        assert_int_equal(__builtin_popcount(algorithms_of_key(KEY_TYPE_RSA_3072)), 7);
        assert_int_equal(__builtin_popcount(algorithms_of_key(KEY_TYPE_EC_P521)), 4);
}

static void inputs_have_the_digests_length(void **state)
{
        static const struct {
                Algorithm algorithm;
                size_t n;
        } rows[] = {
                { ALGORITHM_RSA_PKCS1_SHA1, 20 },   { ALGORITHM_RSA_PKCS1_SHA256, 32 },
                { ALGORITHM_RSA_PSS_SHA384, 48 },   { ALGORITHM_RSA_PSS_SHA512, 64 },
                { ALGORITHM_ECDSA_SHA1, 20 },       { ALGORITHM_ECDSA_SHA256, 32 },
                { ALGORITHM_RSA_PKCS1_SHA384, 48 }, { ALGORITHM_ECDSA_SHA512, 64 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (size_t n = 0; n < 200; n++)
                        assert_int_equal(algorithm_takes_input(rows[i].algorithm, n),
                                         n == rows[i].n);
        assert_true(algorithm_takes_input(ALGORITHM_ED25519, 0));
        assert_true(algorithm_takes_input(ALGORITHM_ED25519, 65536));
        assert_false(algorithm_takes_input(ALGORITHM_ED25519, 65537));
        assert_false(algorithm_takes_input(ALGORITHM_NONE, 0));
        assert_string_equal(digest_name(DIGEST_SHA384), "SHA384");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_algorithm_has_a_name_of_its_own),
                cmocka_unit_test(every_key_type_has_a_name_of_its_own),
                cmocka_unit_test(algorithms_fit_their_family_alone),
                cmocka_unit_test(inputs_have_the_digests_length),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
