/* SPDX-License-Identifier: Apache-2.0 */
/* The map against a plain list, and paging while it is sorted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/map.h"

static void puts_sets_and_removes(void **state)
{
        Map map;
        int one, two;

        map_init(&map);
        assert_null(map_find(&map, "a"));
        assert_null(map_remove(&map, "a"));
        assert_int_equal(map_put(&map, "a", &one), 0);
        assert_int_equal(map_put(&map, "a", &two), -EEXIST);
        assert_ptr_equal(map_find(&map, "a"), &one);
        assert_int_equal(map_set(&map, "a", &two), 0);
        assert_ptr_equal(map_find(&map, "a"), &two);
        assert_int_equal(map.n, 1);
        assert_null(map_find(&map, "A"));
        assert_null(map_find(&map, ""));
        assert_ptr_equal(map_remove(&map, map.entries[0].key), &two);
        assert_int_equal(map.n, 0);
        map_deinit(&map);
}

/* 997 keys in a scrambled order, every third removed again: the map holds just the others, sorted. */
static void agrees_with_a_list(void **state)
{
        static char names[997][8];
        static bool there[997];
        Map map;
        size_t n = 0;

        map_init(&map);
        for (size_t i = 0; i < 997; i++) {
                size_t k = i * 331 % 997;

                snprintf(names[k], sizeof(names[k]), "k%zu", k);
                assert_int_equal(map_put(&map, names[k], &names[k]), 0);
                there[k] = true;
        }
        for (size_t k = 0; k < 997; k += 3) {
                assert_ptr_equal(map_remove(&map, names[k]), &names[k]);
                there[k] = false;
        }
        for (size_t k = 0; k < 997; k++) {
                assert_ptr_equal(map_find(&map, names[k]), there[k] ? &names[k] : NULL);
                n += there[k];
        }
        assert_int_equal(map.n, n);
        for (size_t i = 1; i < map.n; i++)
                assert_true(strcmp(map.entries[i - 1].key, map.entries[i].key) < 0);
        map_deinit(&map);
}

static void pages(void **state)
{
        Map map;
        int value;
        size_t n = 0;

        map_init(&map);
        MAP_FOREACH (&map, entry)
                n++;
        assert_int_equal(n, 0);
        assert_int_equal(map_index_after(&map, ""), 0);

        assert_int_equal(map_put(&map, "b", &value), 0);
        assert_int_equal(map_put(&map, "d", &value), 0);
        assert_int_equal(map_index_after(&map, ""), 0);
        assert_int_equal(map_index_after(&map, "a"), 0);
        assert_int_equal(map_index_after(&map, "b"), 1);
        assert_int_equal(map_index_after(&map, "c"), 1);
        assert_int_equal(map_index_after(&map, "d"), 2);
        assert_int_equal(map_index_after(&map, "e"), 2);
        MAP_FOREACH (&map, entry)
                n++;
        assert_int_equal(n, 2);
        map_deinit(&map);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(puts_sets_and_removes),
                cmocka_unit_test(agrees_with_a_list),
                cmocka_unit_test(pages),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
