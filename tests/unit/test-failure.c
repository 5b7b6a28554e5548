/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences that libdbus can carry whatever is put into them, and the names of outcomes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/failure.h"
#include "base/strings.h"

static void says_what_it_was_given(void **state)
{
        Failure failure = { 0 };

        assert_int_equal(fail(&failure, CB_IN_USE, "'%s' is used by %d", "orders", 2), CB_IN_USE);
        assert_int_equal(failure.status, CB_IN_USE);
        assert_string_equal(failure.text, "'orders' is used by 2");
        /* its own text as an argument */
        assert_int_equal(fail(&failure, -EIO, "again: %s", failure.text), -EIO);
        assert_int_equal(failure.status, -EIO);
        assert_string_equal(failure.text, "again: 'orders' is used by 2");
        assert_int_equal(fail(NULL, CB_FAILED, "nobody listens"), CB_FAILED);
}

static void cuts_between_characters(void **state)
{
        Failure failure;
        char text[600];

        /* € has three bytes: each of the three phases, the text is whole characters and ends in time. */
        for (size_t phase = 0; phase < 3; phase++) {
                memset(text, 'x', phase);
                for (size_t i = phase; i + 3 < sizeof(text); i += 3)
                        memcpy(text + i, "€", 4);
                fail(&failure, CB_FAILED, "%s", text);
                assert_true(utf8_is_valid(failure.text, strlen(failure.text)));
                assert_true(strlen(failure.text) > sizeof(failure.text) - 4);
                assert_null(strchr(failure.text, '?'));
                assert_memory_equal(failure.text, text, strlen(failure.text));
        }
}

static void is_one_line_of_utf8(void **state)
{
        Failure failure;

        fail(&failure, CB_FAILED, "%s", "a\xff\xc3(\x01\ntab\tb\x7f\xe2\x82");
        assert_true(utf8_is_valid(failure.text, strlen(failure.text)));
        assert_string_equal(failure.text, "a\\xff\\xc3(\\x01 tab b\\x7f\\xe2\\x82");
        fail(&failure, CB_FAILED, "%s", "grün \xc2\x9b[31m");
        assert_string_equal(failure.text, "grün \\xc2\\x9b[31m");
}

static void names_every_status(void **state)
{
        assert_string_equal(status_word(0), "ok");
        /* an error that forgot its status: libdbus aborts on a name that is none */
        assert_string_equal(status_error_name(0), status_error_name(CB_FAILED));
        assert_string_equal(status_word(CB_NOT_FOUND), "not-found");
        assert_string_equal(status_error_name(CB_NOT_FOUND), "org.certbroker1.Error.NotFound");
        assert_string_equal(status_error_name(CB_KEY_MISMATCH),
                            "org.certbroker1.Error.KeyMismatch");
        assert_string_equal(status_error_name(-EIO), "org.certbroker1.Error.Failed");
        assert_string_equal(status_error_name(_CB_STATUS_N), "org.certbroker1.Error.Failed");
        assert_string_equal(status_word(-EIO), "failed");

        for (int status = CB_OK + 1; status < _CB_STATUS_N; status++)
                assert_int_equal(status_from_error_name(status_error_name(status)), status);
        assert_int_equal(status_from_error_name(""), CB_FAILED);
        assert_int_equal(status_from_error_name("NotFound"), CB_FAILED);
        assert_int_equal(status_from_error_name("org.freedesktop.DBus.Error.NoReply"), CB_FAILED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(says_what_it_was_given),
                cmocka_unit_test(cuts_between_characters),
                cmocka_unit_test(is_one_line_of_utf8),
                cmocka_unit_test(names_every_status),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
