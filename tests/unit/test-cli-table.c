/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: columns are aligned by characters, and nothing harmful is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "table.h"

static void assert_prints(const Table *table, const char *expected)
{
        char *text = NULL;
        size_t n;
        FILE *to = open_memstream(&text, &n);

        assert_non_null(to);
        table_print(table, to);
        fclose(to);
        assert_string_equal(text, expected);
        free(text);
}

static void test_list(void **state)
{
        static const char *const titles[] = { "ID", "STATE", "SUBJECT" };
        static const char *const first[] = { "orders-gateway", "active", "CN=a" };
        static const char *const second[] = { "\xc3\xa4", "", NULL };
        Table *table;

        assert_int_equal(table_new(titles, 3, &table), 0);
        assert_prints(table, "ID  STATE  SUBJECT\n");
        assert_int_equal(table_add(table, first), 0);
        assert_int_equal(table_add(table, second), 0);
        assert_prints(table, "ID              STATE   SUBJECT\n"
                             "orders-gateway  active  CN=a\n"
                             "\xc3\xa4               -       -\n");
        table_free(table);
}

static void test_sheet(void **state)
{
        static const char *const first[] = { "Id:", "orders" };
        static const char *const second[] = { "Subject:", "CN=a\x1b[2J\n" };
        Table *table;

        assert_int_equal(table_new(NULL, 2, &table), 0);
        assert_prints(table, "");
        assert_int_equal(table_add(table, first), 0);
        assert_int_equal(table_add(table, second), 0);
        assert_prints(table, "Id:       orders\n"
                             "Subject:  CN=a\\x1b[2J\\x0a\n");
        table_free(table);
        assert_null(table_free(NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_list),
                cmocka_unit_test(test_sheet),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
