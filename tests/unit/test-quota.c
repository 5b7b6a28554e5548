/* SPDX-License-Identifier: Apache-2.0 */
/* Slots that come back, and buckets by a clock that is an argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <certbroker/status.h>

#include "core/quota.h"

#define SECOND UINT64_C(1000000)

static void slots_are_counted_for_each_uid(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        Charge charges[4] = { { 0 } };

        assert_int_equal(quota_new(2, &quota), 0);
        assert_int_equal(quota_charge(quota, 1000, &charges[0]), 0);
        assert_int_equal(quota_charge(quota, 1000, &charges[1]), 0);
        assert_int_equal(quota_charge(quota, 1000, &charges[2]), CB_LIMIT_EXCEEDED);
        assert_null(charges[2].quota);
        assert_int_equal(quota_charge(quota, 0, &charges[3]), 0);
        assert_int_equal(quota_in_flight(quota, 1000), 2);
        assert_int_equal(quota_in_flight(quota, 0), 1);
        assert_int_equal(quota_in_flight(quota, 5), 0);

        charge_deinit(&charges[2]); /* gives nothing back */
        assert_int_equal(quota_in_flight(quota, 1000), 2);
        charge_deinit(&charges[0]);
        charge_deinit(&charges[0]); /* once */
        assert_int_equal(quota_in_flight(quota, 1000), 1);
        assert_int_equal(quota_charge(quota, 1000, &charges[0]), 0);
        quota_set_max(quota, 1);
        charge_deinit(&charges[0]);
        assert_int_equal(quota_charge(quota, 1000, &charges[0]), CB_LIMIT_EXCEEDED);
        charge_deinit(&charges[1]);
        charge_deinit(&charges[3]);
        assert_int_equal(quota_in_flight(quota, 1000), 0);
}

/* Many uids at once are bounded; when they are gone, there is room again. */
static void uids_are_bounded(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        static Charge charges[5000];
        size_t n = 0;

        assert_int_equal(quota_new(2, &quota), 0);
        while (n < 5000 && quota_charge(quota, (uint32_t)(n * 2654435761u), &charges[n]) == 0)
                n++;
        assert_int_equal(n, 4096);
        assert_int_equal(quota_charge(quota, 0, &charges[n]), 0); /* known: it has a slot left */
        for (size_t i = 0; i <= n; i++)
                charge_deinit(&charges[i]);
        for (uint32_t uid = 0; uid < 10000; uid++) {
                assert_int_equal(quota_charge(quota, uid, &charges[0]), 0);
                charge_deinit(&charges[0]);
        }
}

static void tokens_come_back_at_their_rate(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        uint64_t wait_usec = 77, now = 5 * SECOND;

        assert_int_equal(quota_new(1, &quota), 0);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(quota_take_token(quota, "g", 1, 10, 3, now, &wait_usec), 0);
        assert_int_equal(wait_usec, 77);
        assert_int_equal(quota_take_token(quota, "g", 1, 10, 3, now, &wait_usec), CB_RATE_LIMITED);
        assert_int_equal(wait_usec, SECOND / 10);
        /* neither another uid nor another grant has to wait */
        assert_int_equal(quota_take_token(quota, "g", 2, 10, 3, now, &wait_usec), 0);
        assert_int_equal(quota_take_token(quota, "h", 1, 10, 3, now, &wait_usec), 0);

        assert_int_equal(quota_take_token(quota, "g", 1, 10, 3, now + 99999, &wait_usec),
                         CB_RATE_LIMITED);
        assert_int_equal(wait_usec, 1);
        assert_int_equal(quota_take_token(quota, "g", 1, 10, 3, now + 100000, &wait_usec), 0);
        assert_int_equal(quota_take_token(quota, "g", 1, 10, 3, now, &wait_usec), CB_RATE_LIMITED);

        /* a clock that went back and comes forward again refills nothing twice */
        assert_int_equal(quota_take_token(quota, "g", 1, 10, 3, now + 100000, &wait_usec),
                         CB_RATE_LIMITED);

        now += 3600 * SECOND; /* full again, and no fuller */
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(quota_take_token(quota, "g", 1, 10, 3, now, &wait_usec), 0);
        assert_int_equal(quota_take_token(quota, "g", 1, 10, 3, now, &wait_usec), CB_RATE_LIMITED);
}

/* Whatever the steps of the clock: in t seconds, burst + rate * t and not one more. */
static void the_rate_is_exact(void **state)
{
        static const uint64_t steps[] = { 1, 7, 333, 1001, 33333, 700000 };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                CLEANUP(quota_freep) Quota *quota = NULL;
                uint64_t n = 0, wait_usec, end = MIN(10 * SECOND, steps[i] * 100000);

                assert_int_equal(quota_new(1, &quota), 0);
                for (uint64_t now = 0; now <= end; now += steps[i])
                        while (quota_take_token(quota, "g", 1, 300, 500, now, &wait_usec) == 0)
                                n++;
                end -= end % steps[i];
                assert_int_equal(n, 500 + 300 * end / SECOND);
        }
}

static void no_rate_is_no_limit(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        uint64_t wait_usec;

        assert_int_equal(quota_new(1, &quota), 0);
        for (unsigned i = 0; i < 10000; i++)
                assert_int_equal(quota_take_token(quota, "g", 1, 0, 0, 0, &wait_usec), 0);
        /* burst 0: one second's worth */
        for (unsigned i = 0; i < 5; i++)
                assert_int_equal(quota_take_token(quota, "g", 1, 5, 0, 0, &wait_usec), 0);
        assert_int_equal(quota_take_token(quota, "g", 1, 5, 0, 0, &wait_usec), CB_RATE_LIMITED);
        /* the largest numbers */
        for (unsigned i = 0; i < 5; i++)
                assert_int_equal(quota_take_token(quota, "h", 1, UINT64_MAX, UINT64_MAX,
                                                  UINT64_MAX - 5 + i, &wait_usec),
                                 0);
}

static void a_new_rate_counts_from_now(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        uint64_t wait_usec;

        assert_int_equal(quota_new(1, &quota), 0);
        assert_int_equal(quota_take_token(quota, "g", 1, 10, 100, 0, &wait_usec), 0);
        /* reload: smaller */
        assert_int_equal(quota_take_token(quota, "g", 1, 1, 2, 0, &wait_usec), 0);
        assert_int_equal(quota_take_token(quota, "g", 1, 1, 2, 0, &wait_usec), 0);
        assert_int_equal(quota_take_token(quota, "g", 1, 1, 2, 0, &wait_usec), CB_RATE_LIMITED);
        assert_int_equal(wait_usec, SECOND);
}

/* The fuller ones make room: who has used up its tokens stays known. */
static void buckets_are_bounded(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        uint64_t wait_usec;

        assert_int_equal(quota_new(1, &quota), 0);
        while (quota_take_token(quota, "g", 7, 1, 50, SECOND, &wait_usec) == 0)
                ;
        for (uint32_t uid = 1000; uid < 1000 + 5000; uid++)
                assert_int_equal(quota_take_token(quota, "g", uid, 1, 50, SECOND, &wait_usec), 0);
        assert_int_equal(quota_take_token(quota, "g", 7, 1, 50, SECOND, &wait_usec),
                         CB_RATE_LIMITED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(slots_are_counted_for_each_uid),
                cmocka_unit_test(uids_are_bounded),
                cmocka_unit_test(tokens_come_back_at_their_rate),
                cmocka_unit_test(the_rate_is_exact),
                cmocka_unit_test(no_rate_is_no_limit),
                cmocka_unit_test(a_new_rate_counts_from_now),
                cmocka_unit_test(buckets_are_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
