/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of a sentence that a broker sent, before gateways write it into their logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "characters.h"
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
                { "\xc2\x9b" "31m", "??31m" }, /* C1: CSI */
                { "\xff\xc3", "??" },          /* no UTF-8 */
        };
        char text[64], expected[32];

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                (void)snprintf(text, sizeof(text), "%s", cases[i].text);
                text_make_harmless(text);
                assert_string_equal(text, cases[i].harmless);
        }
        for (size_t i = 0; i < N_HIDDEN_CHARACTERS; i++) {
                (void)sprintf(text, "a%sb", hidden_characters[i]);
                write_questioned(hidden_characters[i], expected);
                text_make_harmless(text);
                assert_string_equal(text, expected);
        }
        for (size_t i = 0; i < N_SHOWN_CHARACTERS; i++) {
                (void)sprintf(text, "a%sb", shown_characters[i]);
                (void)strcpy(expected, text);
                text_make_harmless(text);
                assert_string_equal(text, expected);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_harmless) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
