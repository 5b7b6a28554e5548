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

static Client client(Standing standing, uint32_t uid)
{
        return (Client){ standing, uid };
}

static Client named(uint32_t uid)
{
        return client(STANDING_NAMED, uid);
}

/* So much for each uid, without a limit for all together. */
static QuotaLimits each(uint64_t n)
{
        QuotaLimits limits = { 0 };

        for (size_t i = 0; i < _STANDING_N; i++)
                for (size_t k = 0; k < _RESOURCE_N; k++) {
                        limits.each[i][k] = n;
                        limits.together[i][k] = NO_LIMIT;
                }
        return limits;
}

static int new_quota(uint64_t n, Quota **ret_quota)
{
        const QuotaLimits limits = each(n);

        return quota_new(&limits, ret_quota);
}

static int take(Quota *quota, Client who, Charge *ret_charge)
{
        return quota_charge(quota, who, RESOURCE_CALLS, 1, ret_charge);
}

/* Also above a limit, where not even nothing fits. */
static void what_is_there_is_charged_whatever_the_limits(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        Charge first = { 0 }, second = { 0 };

        assert_int_equal(new_quota(2, &quota), 0);
        assert_int_equal(quota_charge_forced(quota, named(1000), RESOURCE_CALLS, 3, &first), 0);
        assert_int_equal(quota_charge(quota, named(1000), RESOURCE_CALLS, 0, &second),
                         CB_LIMIT_EXCEEDED);
        assert_int_equal(quota_charge_forced(quota, named(1000), RESOURCE_CALLS, 4, &second), 0);
        assert_int_equal(quota_used(quota, named(1000), RESOURCE_CALLS), 7);
        charge_deinit(&first);
        charge_deinit(&second);
        assert_int_equal(quota_used(quota, named(1000), RESOURCE_CALLS), 0);
}

static void room_is_told_without_being_taken(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        Charge charge = { 0 };

        assert_int_equal(new_quota(2, &quota), 0);
        assert_true(quota_has_room(quota, named(1000), RESOURCE_CALLS, 2));
        assert_true(quota_has_room(quota, named(1000), RESOURCE_CALLS, 2));
        assert_false(quota_has_room(quota, named(1000), RESOURCE_CALLS, 3));
        assert_int_equal(take(quota, named(1000), &charge), 0);
        assert_true(quota_has_room(quota, named(1000), RESOURCE_CALLS, 1));
        assert_false(quota_has_room(quota, named(1000), RESOURCE_CALLS, 2));
        assert_true(quota_has_room(quota, named(1001), RESOURCE_CALLS, 2));
        charge_deinit(&charge);
}

static void slots_are_counted_for_each_uid(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        Charge charges[4] = { { 0 } };
        QuotaLimits fewer = each(1);

        assert_int_equal(new_quota(2, &quota), 0);
        assert_int_equal(take(quota, named(1000), &charges[0]), 0);
        assert_int_equal(take(quota, named(1000), &charges[1]), 0);
        assert_int_equal(take(quota, named(1000), &charges[2]), CB_LIMIT_EXCEEDED);
        assert_null(charges[2].quota);
        assert_int_equal(take(quota, named(0), &charges[3]), 0);
        assert_int_equal(quota_used(quota, named(1000), RESOURCE_CALLS), 2);
        assert_int_equal(quota_used(quota, named(0), RESOURCE_CALLS), 1);
        assert_int_equal(quota_used(quota, named(5), RESOURCE_CALLS), 0);
        assert_int_equal(quota_used(quota, named(1000), RESOURCE_BYTES), 0);
        assert_int_equal(quota_used_by(quota, STANDING_NAMED, RESOURCE_CALLS), 3);

        charge_deinit(&charges[2]); /* gives nothing back */
        assert_int_equal(quota_used(quota, named(1000), RESOURCE_CALLS), 2);
        charge_deinit(&charges[0]);
        charge_deinit(&charges[0]); /* once */
        assert_int_equal(quota_used(quota, named(1000), RESOURCE_CALLS), 1);
        assert_int_equal(take(quota, named(1000), &charges[0]), 0);
        quota_set_limits(quota, &fewer);
        charge_deinit(&charges[0]);
        assert_int_equal(take(quota, named(1000), &charges[0]), CB_LIMIT_EXCEEDED);
        charge_deinit(&charges[1]);
        charge_deinit(&charges[3]);
        assert_int_equal(quota_used(quota, named(1000), RESOURCE_CALLS), 0);
        assert_int_equal(quota_used_by(quota, STANDING_NAMED, RESOURCE_CALLS), 0);
}

/* Many uids at once are bounded, but for those that a grant names; when they are gone, there is room again. */
static void uids_are_bounded(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        static Charge charges[5000];
        Charge other;
        size_t n = 0;

        assert_int_equal(new_quota(2, &quota), 0);
        while (n < 5000 && take(quota, client(STANDING_STRANGER, (uint32_t)(n * 2654435761u)),
                                &charges[n]) == 0)
                n++;
        assert_int_equal(n, 4096);
        assert_int_equal(take(quota, client(STANDING_STRANGER, 0), &charges[n]), 0); /* known */
        assert_int_equal(take(quota, client(STANDING_GROUP, 0), &other), CB_LIMIT_EXCEEDED);
        assert_int_equal(take(quota, named(0), &other), 0);
        charge_deinit(&other);
        for (size_t i = 0; i <= n; i++)
                charge_deinit(&charges[i]);
        for (uint32_t uid = 0; uid < 10000; uid++) {
                assert_int_equal(take(quota, client(STANDING_STRANGER, uid), &charges[0]), 0);
                charge_deinit(&charges[0]);
        }
}

/* What lies between two limits is kept for the higher standing, whatever the lower ones have taken. */
static void places_are_kept_for_the_higher(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        Charge charges[_STANDING_N][20] = { 0 };
        QuotaLimits limits = each(NO_LIMIT);
        static const uint64_t together[_STANDING_N] = { 4, 8, 14, 16 };
        static const size_t left[_STANDING_N] = { 4, 4, 6, 2 };

        for (size_t i = 0; i < _STANDING_N; i++)
                limits.together[i][RESOURCE_PLACES] = together[i];
        assert_int_equal(quota_new(&limits, &quota), 0);
        for (size_t i = 0; i < _STANDING_N; i++) {
                size_t n = 0;

                /* as many uids as there are, one each */
                while (n < 20 && quota_charge(quota, client((Standing)i, (uint32_t)(n + 1)),
                                              RESOURCE_PLACES, 1, &charges[i][n]) == 0)
                        n++;
                assert_int_equal(n, left[i]);
        }
        for (size_t i = 0; i < _STANDING_N; i++)
                for (size_t k = 0; k < 20; k++)
                        charge_deinit(&charges[i][k]);

        /* the higher ones have the places of all: then the lower ones have none */
        for (size_t k = 0; k < 16; k++)
                assert_int_equal(quota_charge(quota, client(STANDING_OWNER, 0), RESOURCE_PLACES, 1,
                                              &charges[0][k]),
                                 0);
        for (size_t i = 0; i < _STANDING_N; i++)
                assert_int_equal(quota_charge(quota, client((Standing)i, 1), RESOURCE_PLACES, 1,
                                              &charges[1][0]),
                                 CB_LIMIT_EXCEEDED);
        for (size_t k = 0; k < 16; k++)
                charge_deinit(&charges[0][k]);
}

static void amounts_grow_and_shrink(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        Charge a = { 0 }, b = { 0 };

        assert_int_equal(new_quota(100, &quota), 0);
        assert_int_equal(quota_charge(quota, named(1), RESOURCE_BYTES, 0, &a), 0);
        assert_int_equal(quota_charge(quota, named(1), RESOURCE_BYTES, 60, &b), 0);
        assert_int_equal(charge_resize(&a, 41), CB_LIMIT_EXCEEDED);
        assert_int_equal(a.amount, 0);
        assert_int_equal(charge_resize(&a, 40), 0);
        charge_force(&b, 1000);
        assert_int_equal(quota_used(quota, named(1), RESOURCE_BYTES), 1040);
        assert_int_equal(charge_resize(&a, 41), CB_LIMIT_EXCEEDED);
        assert_int_equal(charge_resize(&b, 900), 0); /* less is always right */
        assert_int_equal(charge_resize(&b, 10), 0);
        assert_int_equal(charge_resize(&a, 90), 0);
        charge_deinit(&a);
        charge_deinit(&b);
        assert_int_equal(quota_used_by(quota, STANDING_NAMED, RESOURCE_BYTES), 0);
}

/* After a reload: what it has goes along, also where there would be no room for it. */
static void standing_changes(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        Charge a = { 0 }, b = { 0 };

        assert_int_equal(new_quota(2, &quota), 0);
        assert_int_equal(quota_charge(quota, named(7), RESOURCE_PLACES, 2, &a), 0);
        assert_int_equal(quota_charge(quota, client(STANDING_STRANGER, 7), RESOURCE_PLACES, 1, &b),
                         0); /* by its unit, say */
        assert_int_equal(charge_move(&a, STANDING_STRANGER), 0);
        assert_int_equal(quota_used(quota, named(7), RESOURCE_PLACES), 0);
        assert_int_equal(quota_used(quota, client(STANDING_STRANGER, 7), RESOURCE_PLACES), 3);
        assert_int_equal(charge_move(&a, STANDING_STRANGER), 0);
        assert_int_equal(charge_resize(&b, 2), CB_LIMIT_EXCEEDED);
        charge_deinit(&b);
        assert_int_equal(quota_used_by(quota, STANDING_STRANGER, RESOURCE_PLACES), 2);
        charge_deinit(&a);
}

static void what_was_reached_is_noted(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        const Reached *reached;

        assert_int_equal(new_quota(1, &quota), 0);
        quota_note(quota, client(STANDING_STRANGER, 7), RESOURCE_PLACES, 100);
        quota_note(quota, client(STANDING_STRANGER, 8), RESOURCE_PLACES, 200);
        reached = quota_reached(quota, STANDING_STRANGER, RESOURCE_PLACES);
        assert_int_equal(reached->n, 2);
        assert_int_equal(reached->first_sec, 100);
        assert_int_equal(reached->last_sec, 200);
        assert_int_equal(reached->uid, 8);
        assert_int_equal(quota_reached(quota, STANDING_STRANGER, RESOURCE_BYTES)->n, 0);
}

/* More than the bucket holds can be had once it is full. */
static void many_tokens_at_once(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        uint64_t wait_usec = 0;

        assert_int_equal(new_quota(1, &quota), 0);
        assert_int_equal(quota_take_tokens(quota, "g", 1, 60, 10, 100, 0, &wait_usec), 0);
        assert_int_equal(quota_take_tokens(quota, "g", 1, 60, 10, 100, 0, &wait_usec),
                         CB_RATE_LIMITED);
        assert_int_equal(wait_usec, 2 * SECOND);
        assert_int_equal(quota_take_tokens(quota, "g", 1, 1000, 10, 100, 5 * SECOND, &wait_usec),
                         CB_RATE_LIMITED);
        assert_int_equal(quota_take_tokens(quota, "g", 1, 1000, 10, 100, 6 * SECOND, &wait_usec),
                         0);
        assert_int_equal(quota_take_tokens(quota, "g", 1, 1, 10, 100, 6 * SECOND, &wait_usec),
                         CB_RATE_LIMITED);
}

static void tokens_come_back_at_their_rate(void **state)
{
        CLEANUP(quota_freep) Quota *quota = NULL;
        uint64_t wait_usec = 77, now = 5 * SECOND;

        assert_int_equal(new_quota(1, &quota), 0);
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

                assert_int_equal(new_quota(1, &quota), 0);
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

        assert_int_equal(new_quota(1, &quota), 0);
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

        assert_int_equal(new_quota(1, &quota), 0);
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

        assert_int_equal(new_quota(1, &quota), 0);
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
                cmocka_unit_test(what_is_there_is_charged_whatever_the_limits),
                cmocka_unit_test(room_is_told_without_being_taken),
                cmocka_unit_test(uids_are_bounded),
                cmocka_unit_test(places_are_kept_for_the_higher),
                cmocka_unit_test(amounts_grow_and_shrink),
                cmocka_unit_test(standing_changes),
                cmocka_unit_test(what_was_reached_is_noted),
                cmocka_unit_test(many_tokens_at_once),
                cmocka_unit_test(tokens_come_back_at_their_rate),
                cmocka_unit_test(the_rate_is_exact),
                cmocka_unit_test(no_rate_is_no_limit),
                cmocka_unit_test(a_new_rate_counts_from_now),
                cmocka_unit_test(buckets_are_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
