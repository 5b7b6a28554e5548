/* SPDX-License-Identifier: Apache-2.0 */
/* Lists, globs against a slow judge, and escaping of what nobody may pass on as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "characters.h"

static void keeps_lists(void **state)
{
        char **list = NULL, **copy = NULL, **packed = NULL, *joined;

        assert_int_equal(strv_length(NULL), 0);
        assert_false(strv_contains(NULL, "a"));
        assert_int_equal(strv_append(&list, "a"), 0);
        assert_int_equal(strv_append(&list, "b"), 0);
        assert_int_equal(strv_length(list), 2);
        assert_true(strv_contains(list, "b"));
        assert_false(strv_contains(list, "c"));

        assert_int_equal(strv_copy(list, &copy), 0);
        assert_true(strv_equal(list, copy));
        assert_int_equal(strv_pack(copy, &packed), 0);
        assert_true(strv_equal(list, packed));
        free(packed);
        assert_int_equal(strv_pack(NULL, &packed), 0);
        assert_null(packed);
        assert_int_equal(strv_append(&copy, "c"), 0);
        assert_false(strv_equal(list, copy));
        assert_false(strv_equal(list, NULL));

        joined = strv_join(copy, ", ");
        assert_string_equal(joined, "a, b, c");
        free(joined);
        joined = strv_join(NULL, ", ");
        assert_string_equal(joined, "");
        free(joined);
        strv_free(list);
        strv_free(copy);

        copy = NULL;
        assert_int_equal(strv_copy(NULL, &copy), 0);
        assert_true(strv_equal(copy, NULL));
        strv_free(copy);
}

static void sets_strings(void **state)
{
        char *s = NULL;

        assert_int_equal(string_set(&s, "hello"), 0);
        assert_int_equal(string_set(&s, s + 1), 0);
        assert_string_equal(s, "ello");
        assert_int_equal(string_set(&s, NULL), 0);
        assert_null(s);
        assert_string_equal(string_or_empty(s), "");
        assert_true(string_equal(NULL, NULL));
        assert_false(string_equal(NULL, ""));
        assert_true(string_equal("a", "a"));
}

static bool glob_slow(const char *pattern, const char *string)
{
        if (*pattern == '\0')
                return *string == '\0';
        if (*pattern == '*')
                return glob_slow(pattern + 1, string) ||
                       (*string && glob_slow(pattern, string + 1));
        return *string && (*pattern == '?' || *pattern == *string) &&
               glob_slow(pattern + 1, string + 1);
}

/* Each pattern of up to 5 of "ab*?" against each string of up to 5 of "ab". */
static void globs_as_the_slow_one(void **state)
{
        char pattern[6], string[6];

        for (unsigned p = 0; p < 5 * 5 * 5 * 5 * 5; p++) {
                unsigned rest = p, n = 0;

                for (unsigned i = 0; i < 5; i++, rest /= 5)
                        if (rest % 5 > 0)
                                pattern[n++] = "ab*?"[rest % 5 - 1];
                pattern[n] = '\0';
                for (unsigned s = 0; s < 3 * 3 * 3 * 3 * 3; s++) {
                        rest = s;
                        n = 0;
                        for (unsigned i = 0; i < 5; i++, rest /= 3)
                                if (rest % 3 > 0)
                                        string[n++] = "ab"[rest % 3 - 1];
                        string[n] = '\0';
                        if (glob_match(pattern, string) != glob_slow(pattern, string))
                                fail_msg("'%s' on '%s'", pattern, string);
                }
        }
}

static void globs_know_no_classes(void **state)
{
        assert_true(glob_match("orders-*", "orders-"));
        assert_false(glob_match("orders-*", "order"));
        assert_false(glob_match("[a-z]", "b"));
        assert_true(glob_match("[a-z]", "[a-z]"));
        assert_false(glob_match("", "a"));
        assert_true(glob_match("", ""));
}

/* A recursive matcher would take longer than the universe. */
static void globs_end_soon(void **state)
{
        char string[2001];

        memset(string, 'a', 2000);
        string[2000] = '\0';
        assert_false(glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", string));
        assert_true(glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*", string));
}

static void knows_utf8(void **state)
{
        static const char *const good[] = {
                "", "abc", "ü", "€", "😀", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"
        };
        static const char *const bad[] = {
                "\x80",
                "\xc0\x80",
                "\xc1\xbf",
                "\xe0\x80\x80",
                "\xed\xa0\x80",
                "\xf0\x80\x80\x80",
                "\xf4\x90\x80\x80",
                "\xf8\x88\x80\x80\x80",
                "\xe2\x82",
                "a\xff",
                "\xc3",
                "\xe2\x28\xa1",
        };

        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_true(utf8_is_valid(good[i], strlen(good[i])));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(utf8_is_valid(bad[i], strlen(bad[i])));
        assert_false(utf8_is_valid("a\0b", 3));
        assert_false(utf8_is_valid("€", 2));
}

static void check_escape(const char *text, size_t n, size_t n_max, const char *expected)
{
        char *escaped = text_escape(text, n, n_max);

        assert_non_null(escaped);
        assert_string_equal(escaped, expected);
        free(escaped);
}

static void escapes(void **state)
{
        check_escape("", 0, 10, "");
        check_escape(NULL, 0, 10, "");
        check_escape("Müller €", 11, 100, "Müller €");
        check_escape("a\nb\\c\x7f", 6, 100, "a\\x0ab\\x5cc\\x7f");
        check_escape("a\0b", 3, 100, "a\\x00b");
        check_escape("\xff\xfe", 2, 100, "\\xff\\xfe");
        check_escape("\xc2\x9b", 2, 100, "\\xc2\\x9b");                   /* C1: CSI */
        check_escape("\xe2\x80\xae", 3, 100, "\\xe2\\x80\\xae");          /* right to left */
        check_escape("\xe2\x80\xa8", 3, 100, "\\xe2\\x80\\xa8");          /* line separator */
        check_escape("\xef\xb7\x90", 3, 100, "\\xef\\xb7\\x90");          /* U+FDD0 */
        check_escape("\xf4\x8f\xbf\xbf", 4, 100, "\\xf4\\x8f\\xbf\\xbf"); /* U+10FFFF */
        check_escape("\xe2\x82", 2, 100, "\\xe2\\x82");
}

static void escapes_no_more_than_asked(void **state)
{
        check_escape("abcdef", 6, 6, "abcdef");
        check_escape("abcdef", 6, 3, "abc…");
        check_escape("abcdef", 6, 0, "…");
        check_escape("ab€", 5, 3, "ab…");
        check_escape("ab€", 5, 4, "ab…");
        check_escape("ab€d", 6, 5, "ab€…");
        check_escape("ab\xff\xff", 4, 3, "ab\\xff…");
}

static void hides_what_does_not_appear(void **state)
{
        char text[32], expected[32], escaped[32], cleaned[32];

        for (size_t i = 0; i < N_HIDDEN_CHARACTERS; i++) {
                size_t n = (size_t)sprintf(text, "a%sb", hidden_characters[i]);

                assert_false(text_is_printable(text, n));
                write_escaped(hidden_characters[i], expected);
                check_escape(text, n, n, expected);
                write_questioned(hidden_characters[i], expected);
                text_clean_to(text, false, cleaned, sizeof(cleaned));
                write_escaped(hidden_characters[i], escaped);
                assert_string_equal(cleaned, escaped);
                text_clean(text, false);
                assert_string_equal(text, expected);
        }
        for (size_t i = 0; i < N_SHOWN_CHARACTERS; i++) {
                size_t n = (size_t)sprintf(text, "a%sb", shown_characters[i]);

                assert_true(text_is_printable(text, n));
                check_escape(text, n, n, text);
                strcpy(expected, text);
                text_clean_to(text, false, cleaned, sizeof(cleaned));
                assert_string_equal(cleaned, text);
                text_clean(text, false);
                assert_string_equal(text, expected);
        }
}

static void cleans_into_what_room_there_is(void **state)
{
        char text[8];

        text_clean_to("a\tb\n\\", false, text, sizeof(text));
        assert_string_equal(text, "a b \\");
        text_clean_to("abc\x01xyz", false, text, sizeof(text));
        assert_string_equal(text, "abc\\x01");
        text_clean_to("abcd\x01z", false, text, sizeof(text)); /* no half an escape */
        assert_string_equal(text, "abcd");
        text_clean_to("abcdef€", false, text, sizeof(text)); /* no half a character */
        assert_string_equal(text, "abcdef");
        text_clean_to("abc\xe2\x82", true, text, sizeof(text));
        assert_string_equal(text, "abc");
        text_clean_to("\xe2\x82", false, text, sizeof(text));
        assert_string_equal(text, "\\xe2");
}

/* Whatever bytes go in, libdbus takes what comes out. */
static void escapes_random_bytes(void **state)
{
        uint32_t seed = 1;

        for (unsigned round = 0; round < 5000; round++) {
                uint8_t bytes[24];
                char *escaped;

                for (size_t i = 0; i < sizeof(bytes); i++) {
                        seed = seed * 1664525 + 1013904223;
                        bytes[i] = (uint8_t)(seed >> 24);
                }
                escaped = text_escape(bytes, sizeof(bytes), round % 30);
                assert_non_null(escaped);
                assert_true(utf8_is_valid(escaped, strlen(escaped)));
                for (const char *p = escaped; *p; p++)
                        assert_true((uint8_t)*p >= 0x20 && *p != 0x7f);
                free(escaped);
        }
}

static void only_ascii_is_shown(void **state)
{
        CLEANUP(freep) char *odd = text_escape_ascii("\xd0\xbe" "a\\\x7f\0 ~", 8);
        CLEANUP(freep) char *none = text_escape_ascii("", 0);

        assert_string_equal(odd, "\\xd0\\xbe" "a\\x5c\\x7f\\x00 ~");
        assert_string_equal(none, "");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_ascii_is_shown),
                cmocka_unit_test(keeps_lists),
                cmocka_unit_test(sets_strings),
                cmocka_unit_test(globs_as_the_slow_one),
                cmocka_unit_test(globs_know_no_classes),
                cmocka_unit_test(globs_end_soon),
                cmocka_unit_test(knows_utf8),
                cmocka_unit_test(escapes),
                cmocka_unit_test(escapes_no_more_than_asked),
                cmocka_unit_test(hides_what_does_not_appear),
                cmocka_unit_test(cleans_into_what_room_there_is),
                cmocka_unit_test(escapes_random_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
