/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets: order, one at a time for each key, no recursion, nothing left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "broker/manage/ticket.h"

typedef struct Step {
        Ticket ticket;
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
                ticket_return(&step->ticket);
        depth--;
}

static void enter(Tickets *tickets, const char *key, Step *step)
{
        assert_int_equal(ticket_take(tickets, key, &step->ticket, run, step), 0);
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
        Tickets tickets;

        tickets_init(&tickets);
        enter(&tickets, "x", &a);
        enter(&tickets, "x", &b);
        enter(&tickets, "x", &c);
        assert_string_equal(order, "a");
        ticket_return(&a.ticket);
        assert_string_equal(order, "ab");
        ticket_return(&b.ticket);
        assert_string_equal(order, "abc");
        assert_int_equal(tickets.queues.n, 1);
        ticket_return(&c.ticket);
        assert_int_equal(tickets.queues.n, 0);
        tickets_deinit(&tickets);
}

static void test_keys_do_not_wait_for_each_other(void **state)
{
        Step a = { .name = 'a' }, b = { .name = 'b' };
        Tickets tickets;

        tickets_init(&tickets);
        enter(&tickets, "x", &a);
        enter(&tickets, "y", &b);
        assert_string_equal(order, "ab");
        ticket_return(&a.ticket);
        ticket_return(&b.ticket);
        assert_int_equal(tickets.queues.n, 0);
        tickets_deinit(&tickets);
}

static void test_a_long_queue_is_run_from_a_flat_loop(void **state)
{
        Step first = { .name = 'f' }, rest[40];
        Tickets tickets;

        tickets_init(&tickets);
        enter(&tickets, "x", &first);
        for (size_t i = 0; i < 40; i++) {
                rest[i] = (Step) { .name = 'r', .leaves_at_once = true };
                enter(&tickets, "x", &rest[i]);
        }
        ticket_return(&first.ticket);
        assert_int_equal(strlen(order), 41);
        assert_int_equal(depth_max, 1);
        assert_int_equal(tickets.queues.n, 0);
        tickets_deinit(&tickets);
}

static void test_leaving_what_was_never_entered(void **state)
{
        Step a = { .name = 'a', .leaves_at_once = true };
        Tickets tickets;

        tickets_init(&tickets);
        ticket_return(&a.ticket);
        assert_string_equal(order, "");
        enter(&tickets, "x", &a);
        assert_string_equal(order, "a");
        ticket_return(&a.ticket);
        assert_int_equal(tickets.queues.n, 0);
        tickets_deinit(&tickets);
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
