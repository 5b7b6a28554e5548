/* SPDX-License-Identifier: Apache-2.0 */
/* Values and options between our structures and messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dbus/dbus.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/strings.h"
#include "broker/bus/options.h"
#include "broker/bus/value.h"

/* For lists, whose strings are not const. */
static char *text_of(const char *text)
{
        return (char *)(uintptr_t)text;
}

static DBusMessage *new_message(DBusMessageIter *iter)
{
        DBusMessage *message = dbus_message_new_method_call("a.b", "/", "a.b", "c");

        dbus_message_iter_init_append(message, iter);
        return message;
}

/* What is written is read again, as the same. */
static void check_round_trip(const Value *value)
{
        CLEANUP(value_deinit) Value read = { 0 };
        DBusMessageIter iter;
        DBusMessage *message = new_message(&iter);

        assert_true(value_append(&iter, value));
        assert_string_equal(dbus_message_get_signature(message), value_signature(value));
        dbus_message_iter_init(message, &iter);
        assert_int_equal(value_read(&iter, value_signature(value), &read), 0);
        assert_true(value_equal(value, &read));
        dbus_message_unref(message);
}

static void test_round_trip(void **state)
{
        char *strings[] = { text_of("a"), text_of(""), text_of("ü"), NULL };
        const Value values[] = {
                value_string("text"), value_string(""),       value_path("/org/x"),
                value_boolean(true),  value_boolean(false),   value_u64(UINT64_MAX),
                value_strings(NULL),  value_strings(strings),
        };

        for (size_t i = 0; i < ELEMENTSOF(values); i++)
                check_round_trip(&values[i]);
}

/* As libdbus has it, which says so in the header of the message. */
static size_t body_length(DBusMessage *message)
{
        dbus_uint32_t length;
        char *bytes;
        int n;

        dbus_message_set_serial(message, 1);
        assert_true(dbus_message_marshal(message, &bytes, &n));
        memcpy(&length, bytes + 4, sizeof(length));
        dbus_free(bytes);
        return length;
}

static void test_length(void **state)
{
        ValueGeneration generations[] = { { 1, "AB", 7 }, { 2, "", 0 } };
        char *strings[] = { (char[]){ "a" }, (char[]){ "bcdefg" }, NULL };
        Bytes items[] = { { (uint8_t[]){ 1, 2, 3 }, 3 }, { NULL, 0 } };
        const BytesList chain = { items, 2 }, no_chain = { NULL, 0 };
        const Value values[] = {
                value_string("text"),
                value_boolean(true),
                value_string(NULL),
                value_u64(7),
                value_path("/a/bc"),
                value_strings(strings),
                value_strings(NULL),
                value_chain(&chain),
                { .type = VALUE_GENERATIONS, .owned = generations, .n_owned = 2 },
                value_boolean(false),
                { .type = VALUE_GENERATIONS },
                value_chain(&no_chain),
        };

        for (size_t first = 0; first < ELEMENTSOF(values); first++) {
                DBusMessage *message = dbus_message_new_signal("/a", "a.b", "C");
                DBusMessageIter iter, dictionary;
                size_t at = 0;

                /* one after the other, so that they stand at all sorts of places; then as entries */
                dbus_message_iter_init_append(message, &iter);
                for (size_t i = first; i < ELEMENTSOF(values); i++) {
                        assert_true(value_append(&iter, &values[i]));
                        at = value_end(&values[i], at);
                }
                assert_int_equal(at, body_length(message));
                at = array_of_structs_begin(at);
                assert_true(dbus_message_iter_open_container(&iter, DBUS_TYPE_ARRAY, "{sv}",
                                                             &dictionary));
                for (size_t i = first; i < ELEMENTSOF(values); i++) {
                        const char *key = (const char[]){ "abcdefghijkl" } + i;

                        assert_true(value_append_entry(&dictionary, key, &values[i]));
                        at = value_entry_end(key, &values[i], at);
                }
                assert_true(dbus_message_iter_close_container(&iter, &dictionary));
                assert_int_equal(at, body_length(message));
                dbus_message_unref(message);
        }
}

static void test_equal(void **state)
{
        char *one[] = { text_of("a"), NULL }, *two[] = { text_of("b"), NULL };
        const Value values[] = {
                value_string("a"),    value_string("b"),   value_path("a"), value_boolean(true),
                value_boolean(false), value_u64(1),        value_u64(2),    value_strings(one),
                value_strings(two),   value_strings(NULL),
        };

        for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                for (size_t k = 0; k < ELEMENTSOF(values); k++)
                        assert_int_equal(value_equal(&values[i], &values[k]), i == k);
        }
}

/* libdbus would end the process. */
static void test_text_that_is_not_utf8(void **state)
{
        const Value value = value_string("latin \xe4");
        DBusMessageIter iter;
        DBusMessage *message = new_message(&iter);
        const char *text;

        assert_true(value_append(&iter, &value));
        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &text);
        assert_string_equal(text, "latin \\xe4");
        dbus_message_unref(message);
}

static void test_path_that_is_none(void **state)
{
        const Value value = value_path("no path");
        DBusMessageIter iter;
        DBusMessage *message = new_message(&iter);

        assert_true(value_append(&iter, &value));
        assert_true(dbus_message_has_signature(message, "o"));
        dbus_message_unref(message);
}

static void test_wrong_type(void **state)
{
        const Value value = value_u64(1);
        Value read = { 0 };
        DBusMessageIter iter;
        DBusMessage *message = new_message(&iter);

        assert_true(value_append(&iter, &value));
        dbus_message_iter_init(message, &iter);
        assert_int_equal(value_read(&iter, "s", &read), -EINVAL);
        assert_int_equal(value_read(&iter, "as", &read), -EINVAL);
        assert_int_equal(read.type, VALUE_NONE);
        dbus_message_unref(message);
}

static void test_bounds(void **state)
{
        CLEANUP(strv_freep) char **strings = NULL;
        char text[VALUE_TEXT_MAX + 2];
        DBusMessageIter iter;
        Value value, read = { 0 };
        DBusMessage *message;

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        value = value_string(text);
        message = new_message(&iter);
        assert_true(value_append(&iter, &value));
        dbus_message_iter_init(message, &iter);
        assert_int_equal(value_read(&iter, "s", &read), -E2BIG);
        dbus_message_unref(message);

        for (size_t i = 0; i < VALUE_LIST_MAX + 1; i++)
                assert_int_equal(strv_append(&strings, "x"), 0);
        value = value_strings(strings);
        message = new_message(&iter);
        assert_true(value_append(&iter, &value));
        dbus_message_iter_init(message, &iter);
        assert_int_equal(value_read(&iter, "as", &read), -E2BIG);
        assert_int_equal(read.type, VALUE_NONE);
        dbus_message_unref(message);
}

/* --- options --- */

static const Option options[] = { { "flag", "b" }, { "text", "s" }, { "list", "as" } };
#define OPTIONS_N ELEMENTSOF(options)

typedef struct Given {
        const char *key;
        Value value;
} Given;

static int read_given(const Given *given, size_t n, Value *values, Failure *failure,
                      DBusMessage **ret_message)
{
        DBusMessageIter iter, dictionary;
        DBusMessage *message = new_message(&iter);

        dbus_message_iter_open_container(&iter, DBUS_TYPE_ARRAY, "{sv}", &dictionary);
        for (size_t i = 0; i < n; i++)
                assert_true(value_append_entry(&dictionary, given[i].key, &given[i].value));
        dbus_message_iter_close_container(&iter, &dictionary);
        dbus_message_iter_init(message, &iter);
        *ret_message = message;
        return options_read(&iter, options, OPTIONS_N, values, failure);
}

static void test_options(void **state)
{
        char *strings[] = { text_of("a"), text_of("b"), NULL };
        const Given given[] = { { "list", value_strings(strings) },
                                { "flag", value_boolean(true) } };
        Value values[OPTIONS_N];
        Failure failure = { 0 };
        DBusMessage *message;

        assert_int_equal(read_given(given, ELEMENTSOF(given), values, &failure, &message), 0);
        assert_int_equal(values[0].type, VALUE_BOOLEAN);
        assert_true(values[0].boolean);
        assert_int_equal(values[1].type, VALUE_NONE);
        assert_true(strv_equal(values[2].strings, strings));
        values_deinit(values, OPTIONS_N);
        dbus_message_unref(message);
}

static void test_options_refused(void **state)
{
        const Given unknown[] = { { "flagg", value_boolean(true) } };
        const Given wrong[] = { { "flag", value_string("yes") } };
        const Given twice[] = { { "flag", value_boolean(true) }, { "flag", value_boolean(true) } };
        const struct {
                const Given *given;
                size_t n;
                int r;
                const char *names;
        } rows[] = { { unknown, 1, CB_INVALID_ARGUMENT, "flagg" },
                     { wrong, 1, -EINVAL, "flag" },
                     { twice, 2, CB_INVALID_ARGUMENT, "twice" } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Value values[OPTIONS_N];
                Failure failure = { 0 };
                DBusMessage *message;

                assert_int_equal(read_given(rows[i].given, rows[i].n, values, &failure, &message),
                                 rows[i].r);
                assert_non_null(strstr(failure.text, rows[i].names));
                values_deinit(values, OPTIONS_N);
                dbus_message_unref(message);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_length),
                cmocka_unit_test(test_equal),
                cmocka_unit_test(test_text_that_is_not_utf8),
                cmocka_unit_test(test_path_that_is_none),
                cmocka_unit_test(test_wrong_type),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_options),
                cmocka_unit_test(test_options_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
