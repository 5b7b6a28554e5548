/* SPDX-License-Identifier: Apache-2.0 */
/* pkcs11: URIs as callers send them: what is not one is said to be none, whatever p11-kit calls it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "source/pkcs11/uri.h"

static void test_refused(void **state)
{
        static const char *const texts[] = {
                "",
                "pkcs11",
                "pkcs12:object=orders",
                "pkcs11:object=%zz",
                "pkcs11:object=a;id=%0\xe2",
                "pkcs11:a=b?;id=%01",
                "pkcs11:object",
                "pkcs11:object=a;object=b;x=c",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
                struct p11_kit_uri *uri = NULL;
                Failure failure = { 0 };

                assert_int_equal(uri_parse(texts[i], &uri, &failure), CB_INVALID_ARGUMENT);
                assert_non_null(strstr(failure.text, "URI"));
                assert_null(uri);
        }
}

/* Neither is a caller's to say, in whatever part of the URI, and the sentence does not repeat what may be a PIN. */
static void test_pin_and_module(void **state)
{
        static const char *const texts[] = {
                "pkcs11:object=a?pin-value=4711",
                "pkcs11:object=a;pin-value=4711",
                "pkcs11:object=a?pin-source=/etc/4711",
                "pkcs11:object=a?module-path=/tmp/4711.so",
                "pkcs11:object=a?x=b&module-name=4711",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
                struct p11_kit_uri *uri = NULL;
                Failure failure = { 0 };

                assert_int_equal(uri_parse(texts[i], &uri, &failure), CB_INVALID_ARGUMENT);
                assert_null(strstr(failure.text, "4711"));
                assert_null(uri);
        }
}

static void test_taken(void **state)
{
        struct p11_kit_uri *uri = NULL;
        Failure failure = { 0 };

        assert_int_equal(uri_parse("pkcs11:token=prod;object=orders;id=%01", &uri, &failure), 0);
        assert_true(uri_selects_object(uri));
        uri_freep(&uri);
        assert_int_equal(uri_parse("pkcs11:token=prod", &uri, &failure), 0);
        assert_false(uri_selects_object(uri));
        uri_freep(&uri);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_pin_and_module),
                cmocka_unit_test(test_taken),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
