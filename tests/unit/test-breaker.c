/* SPDX-License-Identifier: Apache-2.0 */
/* States of a source, and a back-off that grows, is bounded, and is never at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/breaker.h"

static void states_have_the_contracts_words(void **state)
{
        assert_string_equal(source_state_name(SOURCE_STARTING), "starting");
        assert_string_equal(source_state_name(SOURCE_READY), "ready");
        assert_string_equal(source_state_name(SOURCE_DEGRADED), "degraded");
        assert_string_equal(source_state_name(SOURCE_LOCKED), "locked");
        assert_string_equal(source_state_name(SOURCE_UNAVAILABLE), "unavailable");
}

static void requests_go_where_they_are_served(void **state)
{
        assert_true(source_state_serves(SOURCE_READY));
        assert_true(source_state_serves(SOURCE_DEGRADED));
        assert_false(source_state_serves(SOURCE_STARTING));
        assert_false(source_state_serves(SOURCE_LOCKED));
        assert_false(source_state_serves(SOURCE_UNAVAILABLE));
}

/* What comes just after the start waits in the source for its token. */
static void requests_are_taken_while_it_starts(void **state)
{
        assert_true(source_state_takes_requests(SOURCE_STARTING));
        assert_true(source_state_takes_requests(SOURCE_READY));
        assert_true(source_state_takes_requests(SOURCE_DEGRADED));
        assert_false(source_state_takes_requests(SOURCE_LOCKED));
        assert_false(source_state_takes_requests(SOURCE_UNAVAILABLE));
}

static void steps_follow_the_table(void **state)
{
        for (SourceState s = 0; s < _SOURCE_STATE_N; s++) {
                assert_true(source_state_may_follow(s, s));
                assert_true(source_state_may_follow(
                        s, SOURCE_UNAVAILABLE)); /* it may die at any time */
                assert_int_equal(source_state_may_follow(s, SOURCE_STARTING),
                                 s == SOURCE_STARTING || s == SOURCE_UNAVAILABLE);
        }
        assert_true(source_state_may_follow(SOURCE_LOCKED, SOURCE_READY));
        assert_true(source_state_may_follow(SOURCE_UNAVAILABLE, SOURCE_LOCKED));
}

static void delays_double_up_to_their_bound(void **state)
{
        static const uint64_t whole[] = { 1000, 2000, 4000, 8000, 10000, 10000, 10000 };
        Backoff least = { .first_usec = 1000, .max_usec = 10000 }, most = least;

        for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
                assert_int_equal(backoff_next_usec(&least, 0), whole[i] / 2);
                assert_int_equal(backoff_next_usec(&most, UINT32_MAX), whole[i]);
        }
        backoff_reset(&least);
        assert_int_equal(backoff_next_usec(&least, 0), 500);
}

static void huge_delays_do_not_overflow(void **state)
{
        Backoff backoff = { .first_usec = 3, .max_usec = UINT64_MAX };
        uint64_t before = 0;

        for (unsigned i = 0; i < 200; i++) {
                uint64_t delay_usec = backoff_next_usec(&backoff, UINT32_MAX);

                assert_true(delay_usec >= before);
                before = delay_usec;
        }
        assert_true(before == UINT64_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(states_have_the_contracts_words),
                cmocka_unit_test(requests_go_where_they_are_served),
                cmocka_unit_test(requests_are_taken_while_it_starts),
                cmocka_unit_test(steps_follow_the_table),
                cmocka_unit_test(delays_double_up_to_their_bound),
                cmocka_unit_test(huge_delays_do_not_overflow),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
