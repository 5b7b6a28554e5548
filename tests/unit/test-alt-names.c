/* SPDX-License-Identifier: Apache-2.0 */
/* Which names of one certificate another lacks: without case where names have none, and of however many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "core/alt-names.h"

static char **list_of(const char *one, const char *another)
{
        char **names = NULL;

        assert_int_equal(strv_append(&names, one), 0);
        assert_int_equal(strv_append(&names, another), 0);
        return names;
}

static void one_name_and_another(void **state)
{
        static const struct {
                const char *before, *after;
                bool is_there;
        } rows[] = {
                { "DNS:c.example", "DNS:c.example", true },
                { "DNS:C.Example", "DNS:c.eXAMPLE", true },
                { "DNS:c.example", "DNS:d.example", false },
                { "DNS:c.example", "URI:c.example", false },
                { "DNS:c.example", "DNS:c.example.", false },
                { "DNS:[.example", "DNS:{.example", false }, /* 0x5b and 0x7b differ by the bit of case */
                { "DNS:B\xc3\x84.example", "DNS:b\xc3\xa4.example", false }, /* ASCII alone */
                { "email:Joe@Example.com", "email:Joe@eXample.com", true },
                { "email:joe@example.com", "email:Joe@example.com", false },
                { "URI:SPIFFE://Example.com/A", "URI:spiffe://example.COM/A", true },
                { "URI:spiffe://example.com/A", "URI:spiffe://example.com/a", false },
                { "URI:https://h.example?A", "URI:https://H.example?A", true },
                { "URI:https://Joe@h.example/", "URI:https://joe@h.example/", false },
                { "URI:URN:a:B", "URI:urn:a:B", true },
                { "URI:urn:a:B", "URI:urn:A:B", false },
                { "IP:192.0.2.1", "IP:192.0.2.1", true },
                { "DirName:CN=A", "DirName:CN=a", false },
                { "otherName:1.2.3:A", "otherName:1.2.3:a", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(strv_freep) char **before = list_of("DNS:other", rows[i].before);
                CLEANUP(strv_freep) char **after = list_of("DNS:other", rows[i].after);
                CLEANUP(freep) char *text = NULL;

                assert_int_equal(alt_names_missing(before, after, &text), 0);
                if (rows[i].is_there)
                        assert_null(text);
                else
                        assert_string_equal(text, rows[i].before);
        }
}

static void none_at_all(void **state)
{
        CLEANUP(strv_freep) char **names = list_of("DNS:a", "DNS:b");
        char *text = NULL;

        assert_int_equal(alt_names_missing(NULL, NULL, &text), 0);
        assert_null(text);
        assert_int_equal(alt_names_missing(NULL, names, &text), 0);
        assert_null(text);
        assert_int_equal(alt_names_missing(names, NULL, &text), 0);
        assert_string_equal(text, "DNS:a, DNS:b");
        free(text);
}

#define MANY 20000

static char **many(size_t from, size_t to)
{
        char **names = calloc(MANY + 1, sizeof(*names));

        assert_non_null(names);
        for (size_t i = from; i < to; i++)
                assert_true(asprintf(&names[i - from], "DNS:h%zu.example", i) > 0);
        return names;
}

static void thousands_in_another_order(void **state)
{
        CLEANUP(strv_freep) char **before = many(0, MANY), **after = many(0, MANY);
        CLEANUP(freep) char *text = NULL;

        for (size_t i = 0; i < MANY / 2; i++) {
                char *last = after[MANY - 1 - i];

                after[MANY - 1 - i] = after[i];
                after[i] = last;
        }
        assert_int_equal(alt_names_missing(before, after, &text), 0);
        assert_null(text);

        after[0][4] = 'x'; /* the last of those before */
        assert_int_equal(alt_names_missing(before, after, &text), 0);
        assert_string_equal(text, "DNS:h19999.example");
}

static void of_many_that_are_missing_the_first_are_told(void **state)
{
        CLEANUP(strv_freep) char **before = many(0, 300), **after = many(0, 256);
        CLEANUP(freep) char *text = NULL;
        const char *end = " and 33 more";

        assert_int_equal(alt_names_missing(before, after, &text), 0);
        assert_memory_equal(text, "DNS:h256.example, DNS:h257.example, ", 36);
        assert_string_equal(text + strlen(text) - strlen(end), end);
        assert_in_range(strlen(text), 100, 220);
}

static void one_long_name_is_cut(void **state)
{
        char name[5000] = "URI:", *const before[] = { name, NULL };
        CLEANUP(freep) char *text = NULL;

        memset(name + 4, 'x', sizeof(name) - 5);
        name[sizeof(name) - 1] = '\0';
        assert_int_equal(alt_names_missing(before, NULL, &text), 0);
        assert_in_range(strlen(text), 200, 210);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_name_and_another),
                cmocka_unit_test(none_at_all),
                cmocka_unit_test(thousands_in_another_order),
                cmocka_unit_test(of_many_that_are_missing_the_first_are_told),
                cmocka_unit_test(one_long_name_is_cut),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
