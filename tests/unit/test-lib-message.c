/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls as they are sent: a whole message, byte by byte, against one that was written down by hand after
 * the specification; arguments of every type, read back; and what may not be sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <certbroker/certbroker.h>

#include "incoming.h"
#include "message.h"
#include "value.h"

static const cb_method method = { .path = "/a", .interface = "b.c", .member = "D" };

static void test_bytes(void **state)
{
#if __BYTE_ORDER == __LITTLE_ENDIAN
        static const uint8_t
                expected
                        [] = {
                                'l', 1,   2,   1, 4,   0,   0,   0, 7,   0,   0, 0,   71,
                                0,   0,   0, /* body and fields in bytes */
                                1,   1,   'o', 0, 2,   0,   0,   0, '/', 'a', 0, 0,   0,
                                0,   0,   0,   2, 1,   's', 0,   3, 0,   0,   0, 'b', '.',
                                'c', 0,   0,   0, 0,   0,   3,   1, 's', 0,   1, 0,   0,
                                0,   'D', 0,   0, 0,   0,   0,   0, 0,   6,   1, 's', 0,
                                3,   0,   0,   0, 'e', '.', 'f', 0, 0,   0,   0, 0,   8,
                                1,   'g', 0,   1, 'u', 0,   0,   4, 3,   2,   1,
                        };
        CLEANUP(message_freep) Message *message = NULL;
        uint8_t *data;
        size_t n;

        assert_int_equal(message_new(&method, &message, NULL, "u", (uint32_t)0x01020304), 0);
        assert_int_equal(message_encode(message, 7, "e.f", &data, &n), 0);
        assert_int_equal(n, sizeof(expected));
        assert_memory_equal(data, expected, n);
        free(data);
#endif
}

static cb_value *read_back(const Message *message)
{
        CLEANUP(incoming_freep) Incoming *incoming = NULL;
        cb_value *value = NULL;
        uint8_t *data;
        size_t n, size;

        assert_int_equal(message_encode(message, 1, NULL, &data, &n), 0);
        assert_int_equal(incoming_size(data, n, &size), 0);
        assert_int_equal(size, n);
        assert_int_equal(incoming_new(data, n, &incoming), 0);
        assert_string_equal(incoming->path, "/a");
        assert_string_equal(incoming->interface, "b.c");
        assert_string_equal(incoming->member, "D");
        assert_int_equal(incoming_body(incoming, &value), 0);
        return value;
}

static void test_every_type(void **state)
{
        static const char *const strings[] = { "x", "", "yz" };
        CLEANUP(message_freep) Message *message = NULL;
        CLEANUP(cb_value_freep) cb_value *value = NULL;

        assert_int_equal(message_new(&method, &message, NULL, "sobutayas", "text", "/p", 1,
                                     (uint32_t)7, UINT64_MAX, "\x00\xff", (size_t)2, strings,
                                     (size_t)3),
                         0);
        value = read_back(message);
        assert_int_equal(cb_value_length(value), 7);
        assert_string_equal(cb_value_string(cb_value_at(value, 0), ""), "text");
        assert_string_equal(cb_value_string(cb_value_at(value, 1), ""), "/p");
        assert_true(cb_value_boolean(cb_value_at(value, 2), false));
        assert_int_equal(cb_value_number(cb_value_at(value, 3), 0), 7);
        assert_true(cb_value_number(cb_value_at(value, 4), 0) == UINT64_MAX);
        assert_int_equal(cb_value_at(value, 5)->as.bytes.n, 2);
        assert_memory_equal(cb_value_at(value, 5)->as.bytes.data, "\x00\xff", 2);
        assert_int_equal(cb_value_length(cb_value_at(value, 6)), 3);
        assert_string_equal(cb_value_string(cb_value_at(cb_value_at(value, 6), 2), ""), "yz");
}

static void test_dict(void **state)
{
        static const char *const strings[] = { "x" };
        static const uint32_t numbers[] = { 1, 2, 3 };
        CLEANUP(message_freep) Message *message = NULL;
        CLEANUP(cb_value_freep) cb_value *value = NULL;
        const cb_value *back;
        cb_dict *dict;

        assert_int_equal(cb_dict_new(&dict), 0);
        assert_int_equal(cb_dict_set_string(dict, "s", "first"), 0);
        assert_int_equal(cb_dict_set_boolean(dict, "b", true), 0);
        assert_int_equal(cb_dict_set_uint32(dict, "u", 5), 0);
        assert_int_equal(cb_dict_set_uint64(dict, "t", 1), 0);
        assert_int_equal(cb_dict_set_uint64(dict, "t", UINT64_MAX), 0); /* replaces */
        assert_int_equal(cb_dict_set_strings(dict, "as", strings, 1), 0);
        assert_int_equal(cb_dict_set_strings(dict, "none", NULL, 0), 0);
        assert_int_equal(cb_dict_set_uint32s(dict, "au", numbers, 3), 0);
        assert_int_equal(cb_dict_set_string(dict, "bad", "\xff"), CB_INVALID_ARGUMENT);
        assert_int_equal(cb_dict_set_string(dict, "\xff", "bad"), CB_INVALID_ARGUMENT);
        assert_int_equal(cb_dict_set_string(dict, "null", NULL), -EINVAL);
        assert_int_equal(message_new(&method, &message, NULL, "a{sv}u", dict, (uint32_t)9), 0);
        cb_dict_free(dict);

        value = read_back(message);
        back = cb_value_at(value, 0);
        assert_int_equal(cb_value_length(back), 7);
        assert_string_equal(cb_value_string(cb_value_get(back, "s"), ""), "first");
        assert_true(cb_value_boolean(cb_value_get(back, "b"), false));
        assert_int_equal(cb_value_number(cb_value_get(back, "u"), 0), 5);
        assert_true(cb_value_number(cb_value_get(back, "t"), 0) == UINT64_MAX);
        assert_string_equal(cb_value_string(cb_value_at(cb_value_get(back, "as"), 0), ""), "x");
        assert_int_equal(cb_value_length(cb_value_get(back, "none")), 0);
        assert_int_equal(cb_value_number(cb_value_at(cb_value_get(back, "au"), 2), 0), 3);
        assert_null(cb_value_get(back, "bad"));
        assert_int_equal(cb_value_number(cb_value_at(value, 1), 0), 9);
}

static void test_empty_dict(void **state)
{
        CLEANUP(message_freep) Message *message = NULL;
        CLEANUP(cb_value_freep) cb_value *value = NULL;

        assert_int_equal(message_new(&method, &message, NULL, "a{sv}", NULL), 0);
        value = read_back(message);
        assert_int_equal(cb_value_at(value, 0)->type, CB_TYPE_DICT);
        assert_int_equal(cb_value_length(cb_value_at(value, 0)), 0);
}

static void test_refused(void **state)
{
        Message *message = NULL;
        cb_error error = { 0 };

        assert_int_equal(message_new(&method, &message, &error, "s", "\xc3"), CB_INVALID_ARGUMENT);
        assert_int_equal(error.status, CB_INVALID_ARGUMENT);
        assert_true(error.text[0] != '\0');
        assert_int_equal(message_new(&method, &message, NULL, "s", NULL), -EINVAL);
        assert_int_equal(message_new(&method, &message, NULL, "o", "no/path"), CB_INVALID_ARGUMENT);
        assert_int_equal(message_new(&method, &message, NULL, "h", -1), -EBADF);
        assert_int_equal(message_new(&method, &message, NULL, "h", 1000), -EBADF);
        assert_int_equal(message_new(&method, &message, NULL, "x"), -EINVAL);
        assert_int_equal(message_new(&method, &message, NULL, "a"), -EINVAL);
        assert_int_equal(
                message_new(&(cb_method){ .path = "a", .member = "D" }, &message, NULL, ""),
                -EINVAL);
        assert_int_equal(message_new(&(cb_method){ .member = NULL }, &message, NULL, ""), -EINVAL);
        assert_int_equal(message_new(&(cb_method){ .member = "a.b" }, &message, NULL, ""), -EINVAL);
        assert_null(message);
}

static void test_object_path(void **state)
{
        char *path;

        assert_int_equal(cb_object_path("certificate", "orders-2", &path), 0);
        assert_string_equal(path, "/org/certbroker1/certificate/orders_2d2");
        free(path);
        assert_int_equal(cb_object_path("backend", "1a_b.c", &path), 0);
        assert_string_equal(path, "/org/certbroker1/backend/_31a_5fb_2ec");
        free(path);
        assert_int_equal(cb_object_path("source", "", &path), CB_INVALID_ARGUMENT);
        assert_int_equal(cb_object_path("source", NULL, &path), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bytes),   cmocka_unit_test(test_every_type),
                cmocka_unit_test(test_dict),    cmocka_unit_test(test_empty_dict),
                cmocka_unit_test(test_refused), cmocka_unit_test(test_object_path),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
