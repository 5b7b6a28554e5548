/* SPDX-License-Identifier: Apache-2.0 */
/* Owned bytes and lists: copies are copies, and nothing of n = 0 has data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"

static void sets_and_replaces(void **state)
{
        Bytes bytes = { 0 };
        char source[] = "abc";

        assert_int_equal(bytes_set(&bytes, source, 3), 0);
        source[0] = 'x';
        assert_memory_equal(bytes.data, "abc", 3);
        /* from within itself */
        assert_int_equal(bytes_set(&bytes, bytes.data + 1, 2), 0);
        assert_int_equal(bytes.n, 2);
        assert_memory_equal(bytes.data, "bc", 2);

        assert_int_equal(bytes_set(&bytes, NULL, 0), 0);
        assert_null(bytes.data);
        assert_int_equal(bytes.n, 0);
        bytes_deinit(&bytes);
        bytes_deinit(&bytes);
}

static void compares(void **state)
{
        uint8_t one[] = { 1, 2, 3 }, two[] = { 1, 2, 4 };
        Bytes a = { one, 3 }, b = { two, 3 }, prefix = { one, 2 }, empty = { 0 };

        assert_true(bytes_equal(&a, &a));
        assert_false(bytes_equal(&a, &b));
        assert_false(bytes_equal(&a, &prefix));
        assert_true(bytes_equal(&empty, &empty));
        assert_false(bytes_equal(&empty, &prefix));
}

static void lists_copy_deep(void **state)
{
        BytesList list = { 0 }, copy = { 0 };

        assert_int_equal(bytes_list_append(&list, "leaf", 4), 0);
        assert_int_equal(bytes_list_append(&list, "", 0), 0);
        assert_int_equal(bytes_list_append(&list, "root", 4), 0);
        assert_int_equal(list.n, 3);
        assert_int_equal(bytes_list_copy(&list, &copy), 0);
        assert_true(bytes_list_equal(&list, &copy));
        assert_ptr_not_equal(list.items[0].data, copy.items[0].data);

        copy.items[2].data[0] = 'R';
        assert_false(bytes_list_equal(&list, &copy));
        bytes_list_deinit(&copy);
        assert_int_equal(copy.n, 0);
        assert_false(bytes_list_equal(&list, &copy));
        bytes_list_deinit(&list);
        assert_true(bytes_list_equal(&list, &copy));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sets_and_replaces),
                cmocka_unit_test(compares),
                cmocka_unit_test(lists_copy_deep),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
