/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people: what is escaped, dates and durations with their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "characters.h"
#include "text.h"

static void check_escape(const char *text, const char *expected)
{
        char *escaped = text_harmless(text);

        assert_string_equal(escaped, expected);
        free(escaped);
}

static void test_escape(void **state)
{
        static const struct {
                const char *text, *escaped;
        } cases[] = {
                { "", "" },
                { "CN=orders, O=Ex\xc3\xa4mple", "CN=orders, O=Ex\xc3\xa4mple" },
                { "a\x1b[2Jb\nc\td", "a\\x1b[2Jb\\x0ac\\x09d" },
                { "\x7f", "\\x7f" },
                { "\xff\xfe", "\\xff\\xfe" },          /* no UTF-8 */
                { "\xc3", "\\xc3" },                   /* cut */
                { "\xed\xa0\x80", "\\xed\\xa0\\x80" }, /* a surrogate */
                { "\xe2\x82\xac", "\xe2\x82\xac" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                check_escape(cases[i].text, cases[i].escaped);
}

static void test_hidden_characters(void **state)
{
        char text[32], expected[32];

        for (size_t i = 0; i < N_HIDDEN_CHARACTERS; i++) {
                (void)sprintf(text, "a%sb", hidden_characters[i]);
                write_escaped(hidden_characters[i], expected);
                check_escape(text, expected);
        }
        for (size_t i = 0; i < N_SHOWN_CHARACTERS; i++) {
                (void)sprintf(text, "a%sb", shown_characters[i]);
                check_escape(text, text);
        }
}

static void test_lines(void **state)
{
        char *text = NULL;
        size_t n;
        FILE *to = open_memstream(&text, &n);

        assert_non_null(to);
        assert_int_equal(text_print_lines("a 1\n\x1b[2Jb\n\nc", to), 0);
        assert_int_equal(text_print_lines("", to), 0);
        assert_int_equal(fclose(to), 0);
        assert_string_equal(text, "a 1\n\\x1b[2Jb\n\nc");
        free(text);
}

static void test_plain(void **state)
{
        assert_true(text_is_plain("orders-1.2_X", TEXT_OF_IDS));
        assert_false(text_is_plain("", TEXT_OF_IDS));
        assert_false(text_is_plain("a\n", TEXT_OF_IDS));
        assert_false(text_is_plain("a$b", TEXT_OF_IDS));
        assert_false(text_is_plain("a/b", TEXT_OF_IDS));
        assert_true(text_is_plain("a/b", "/"));
        assert_false(text_is_plain("\xc3\xa4", TEXT_OF_IDS));
}

static void test_width(void **state)
{
        assert_int_equal(text_width(""), 0);
        assert_int_equal(text_width("abc"), 3);
        assert_int_equal(text_width("\xc3\xa4\xe2\x82\xac"), 2);
}

static void test_format(void **state)
{
        char text[TIME_TEXT_MAX];

        time_format(0, text);
        assert_string_equal(text, "-");
        time_format(1, text);
        assert_string_equal(text, "1970-01-01T00:00:01Z");
        time_format(1800000000, text);
        assert_string_equal(text, "2027-01-15T08:00:00Z");
        time_format(UINT64_MAX, text);
        assert_string_equal(text, "-");
}

static void test_parse(void **state)
{
        static const struct {
                const char *text;
                uint64_t time;
        } cases[] = {
                { "2027-01-15", 1799971200 },
                { "2027-01-15T08:00", 1800000000 },
                { "2027-01-15T08:00:00", 1800000000 },
                { "2027-01-15T08:00:00Z", 1800000000 },
                { "2027-01-15 08:00:00", 1800000000 },
                { "2027-01-15T09:30:00+01:30", 1800000000 },
                { "2027-01-15T06:00:00-02:00", 1800000000 },
                { "2028-02-29", 1835395200 },
                { "1970-01-01", 0 },
                { "+30d", 1000 + 30 * 86400 },
                { "+12h", 1000 + 12 * 3600 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint64_t time = 77;

                assert_int_equal(time_parse(cases[i].text, 1000, &time), 0);
                if (time != cases[i].time)
                        fail_msg("%s is %llu", cases[i].text, (unsigned long long)time);
        }
}

static void test_parse_wrong(void **state)
{
        static const char *const texts[] = {
                "",
                "now",
                "2027",
                "2027-1-15",
                "2027-13-01",
                "2027-00-01",
                "2027-02-29",
                "2027-04-31",
                "2027-01-00",
                "1969-12-31",
                "2027-01-15T",
                "2027-01-15T24:00",
                "2027-01-15T08:60",
                "2027-01-15T08:00:60",
                "2027-01-15T08:00x",
                "2027-01-15x",
                "2027-01-15T08:00:00+1",
                "2027-01-15T08:00:00+15:00",
                "27-01-15",
                "+",
                "+d",
                "+3",
                "+3y",
                "30d",
                "-30d",
                " 2027-01-15",
                "1970-01-01T00:00:00+01:00",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                uint64_t time = 77;

                if (time_parse(texts[i], 1000, &time) == 0)
                        fail_msg("taken: \"%s\"", texts[i]);
                assert_int_equal(time, 77);
        }
}

static void test_duration(void **state)
{
        uint64_t seconds = 0;

        assert_int_equal(duration_parse("45s", &seconds), 0);
        assert_int_equal(seconds, 45);
        assert_int_equal(duration_parse("2m", &seconds), 0);
        assert_int_equal(seconds, 120);
        assert_int_equal(duration_parse("30d", &seconds), 0);
        assert_int_equal(seconds, 30 * 86400);
        assert_int_equal(duration_parse("2w", &seconds), 0);
        assert_int_equal(seconds, 14 * 86400);
        assert_int_equal(duration_parse("0d", &seconds), 0);
        assert_int_equal(seconds, 0);
        assert_int_equal(duration_parse("", &seconds), -EINVAL);
        assert_int_equal(duration_parse("d", &seconds), -EINVAL);
        assert_int_equal(duration_parse("30", &seconds), -EINVAL);
        assert_int_equal(duration_parse("30 d", &seconds), -EINVAL);
        assert_int_equal(duration_parse("30days", &seconds), -EINVAL);
        assert_int_equal(duration_parse("-1d", &seconds), -EINVAL);
        assert_int_equal(duration_parse("36601d", &seconds), -ERANGE);
        assert_int_equal(duration_parse("99999999999999999999999s", &seconds), -ERANGE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_escape),      cmocka_unit_test(test_hidden_characters),
                cmocka_unit_test(test_lines),
                cmocka_unit_test(test_plain),       cmocka_unit_test(test_width),
                cmocka_unit_test(test_format),      cmocka_unit_test(test_parse),
                cmocka_unit_test(test_parse_wrong), cmocka_unit_test(test_duration),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
