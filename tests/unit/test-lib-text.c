/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of a sentence that a broker sent, before gateways write it into their logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "text.h"

static void test_harmless(void **state)
{
        static const struct {
                const char *text, *harmless;
        } cases[] = {
                { "", "" },
                { "No certificate orders; ask for a grant.", "No certificate orders; ask for a grant." },
                { "CN=Ex\xc3\xa4mple \xe2\x82\xac \xf0\x9f\x98\x80", "CN=Ex\xc3\xa4mple \xe2\x82\xac \xf0\x9f\x98\x80" },
                { "a\x1b[2Jb\nc\td\x7f", "a?[2Jb?c?d?" },
                { "\xc2\x9b" "31m", "??31m" },        /* C1: CSI */
                { "a\xe2\x80\xae" "b", "a???b" },     /* right-to-left override */
                { "\xef\xbb\xbf", "???" },            /* a byte order mark */
                { "\xff\xc3", "??" },                 /* no UTF-8 */
        };
        char text[64];

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                (void)snprintf(text, sizeof(text), "%s", cases[i].text);
                text_make_harmless(text);
                assert_string_equal(text, cases[i].harmless);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_harmless) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
