/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of backends: what is accepted, and that each refusal says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "pki/url.h"

static void test_accepted(void **state)
{
        assert_null(pki_url_refuse("https://orders.example"));
        assert_null(pki_url_refuse("https://orders.example:8443/a/b?c=d"));
        assert_null(pki_url_refuse("https://127.0.0.1:1/"));
        assert_null(pki_url_refuse("https://[::1]:8443/"));
        assert_null(pki_url_refuse("HttpS://orders.example"));
}

static void test_normal(void **state)
{
        char url[] = "HTTPS://Orders.Example:8443/A?B=C";

        pki_url_normalise(url);
        assert_string_equal(url, "https://Orders.Example:8443/A?B=C");
}

static void test_refused(void **state)
{
        static const struct {
                const char *url, *reason;
        } rows[] = {
                { "", "scheme" },
                { "orders.example", "scheme" },
                { "http://orders.example/", "https" },
                { "ftp://orders.example/", "https" },
                { "https://user:secret@orders.example/", "user name" },
                { "https://", "host" },
                { "https://orders.example:99999/", "URL" },
                { "https://orders.example:0/", "port" },
                { "https://orders example/", "character" },
                { "https://orders.example/\n", "character" },
                { "https://orders.example/\xff", "character" },
                { "https://orders.example/#part", "fragment" },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const char *why = pki_url_refuse(rows[i].url);

                assert_non_null(why);
                assert_non_null(strstr(why, rows[i].reason));
        }
}

static void test_too_long(void **state)
{
        char url[4096] = "https://orders.example/";

        memset(url + strlen(url), 'a', sizeof(url) - strlen(url) - 1);
        url[sizeof(url) - 1] = '\0';
        assert_non_null(strstr(pki_url_refuse(url), "longer"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_accepted),
                cmocka_unit_test(test_normal),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_too_long),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
