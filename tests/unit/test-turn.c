/* SPDX-License-Identifier: Apache-2.0 */
/* Turns: order, one at a time for each key, no recursion, nothing left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "broker/manage/turn.h"

typedef struct Step {
        Turn turn;
        char name;
        bool leaves_at_once;
} Step;

static char order[64];
static unsigned depth, depth_max;

static void run(void *userdata)
{
        Step *step = userdata;
        size_t n = strlen(order);

        order[n] = step->name;
        order[n + 1] = '\0';
        depth++;
        depth_max = depth > depth_max ? depth : depth_max;
        if (step->leaves_at_once)
                turn_leave(&step->turn);
        depth--;
}

static void enter(Turns *turns, const char *key, Step *step)
{
        assert_int_equal(turn_enter(turns, key, &step->turn, run, step), 0);
}

static int setup(void **state)
{
        memset(order, 0, sizeof(order));
        depth = depth_max = 0;
        return 0;
}

static void test_one_at_a_time(void **state)
{
        Step a = { .name = 'a' }, b = { .name = 'b' }, c = { .name = 'c' };
        Turns turns;

        turns_init(&turns);
        enter(&turns, "x", &a);
        enter(&turns, "x", &b);
        enter(&turns, "x", &c);
        assert_string_equal(order, "a");
        turn_leave(&a.turn);
        assert_string_equal(order, "ab");
        turn_leave(&b.turn);
        assert_string_equal(order, "abc");
        assert_int_equal(turns.queues.n, 1);
        turn_leave(&c.turn);
        assert_int_equal(turns.queues.n, 0);
        turns_deinit(&turns);
}

static void test_keys_do_not_wait_for_each_other(void **state)
{
        Step a = { .name = 'a' }, b = { .name = 'b' };
        Turns turns;

        turns_init(&turns);
        enter(&turns, "x", &a);
        enter(&turns, "y", &b);
        assert_string_equal(order, "ab");
        turn_leave(&a.turn);
        turn_leave(&b.turn);
        assert_int_equal(turns.queues.n, 0);
        turns_deinit(&turns);
}

static void test_a_long_queue_is_run_from_a_flat_loop(void **state)
{
        Step first = { .name = 'f' }, rest[40];
        Turns turns;

        turns_init(&turns);
        enter(&turns, "x", &first);
        for (size_t i = 0; i < 40; i++) {
                rest[i] = (Step) { .name = 'r', .leaves_at_once = true };
                enter(&turns, "x", &rest[i]);
        }
        turn_leave(&first.turn);
        assert_int_equal(strlen(order), 41);
        assert_int_equal(depth_max, 1);
        assert_int_equal(turns.queues.n, 0);
        turns_deinit(&turns);
}

static void test_leaving_what_was_never_entered(void **state)
{
        Step a = { .name = 'a', .leaves_at_once = true };
        Turns turns;

        turns_init(&turns);
        turn_leave(&a.turn);
        assert_string_equal(order, "");
        enter(&turns, "x", &a);
        assert_string_equal(order, "a");
        turn_leave(&a.turn);
        assert_int_equal(turns.queues.n, 0);
        turns_deinit(&turns);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_one_at_a_time, setup),
                cmocka_unit_test_setup(test_keys_do_not_wait_for_each_other, setup),
                cmocka_unit_test_setup(test_a_long_queue_is_run_from_a_flat_loop, setup),
                cmocka_unit_test_setup(test_leaving_what_was_never_entered, setup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
