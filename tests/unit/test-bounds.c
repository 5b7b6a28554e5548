/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of limits: what is kept for whom, with many descriptors and with few. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/bus/bounds.h"

static const uint64_t files[] = { 20, 256, 512, 1024, 4096, 16384, 65536, 1048576 };

/* Of everything, who stands higher has more; of places, some that nobody below him can take. */
static void something_is_kept_for_each_standing(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                QuotaLimits limits;

                limits_make(64, files[i], &limits);
                for (size_t s = 1; s < _STANDING_N; s++) {
                        for (size_t r = 0; r < _RESOURCE_N; r++) {
                                assert_true(limits.together[s][r] >= limits.together[s - 1][r]);
                                assert_true(limits.each[s][r] >= limits.each[s - 1][r]);
                        }
                        assert_true(limits.together[s][RESOURCE_PLACES] >
                                    limits.together[s - 1][RESOURCE_PLACES]);
                }
                assert_true(limits.each[STANDING_STRANGER][RESOURCE_PLACES] > 0);
        }
}

/* All places with all that they can pin leave descriptors over, where there are enough to speak of. */
static void places_never_take_all_descriptors(void **state)
{
        for (size_t i = 1; i < ELEMENTSOF(files); i++) {
                QuotaLimits limits;
                uint64_t pinned;

                limits_make(64, files[i], &limits);
                pinned = limits.together[STANDING_OWNER][RESOURCE_PLACES] * FDS_OF_A_PLACE;
                assert_true(pinned <= files[i] - MIN(files[i] / 4, (uint64_t)RESERVED_FDS));
        }
}

/* As many connections as a client may have fit into the bytes that it may have, and those into 64 MiB. */
static void bytes_hold_all_places(void **state)
{
        QuotaLimits limits;

        limits_make(64, 16384, &limits);
        for (size_t s = 0; s < STANDING_OWNER; s++) {
                assert_true(limits.each[s][RESOURCE_PLACES] * PLACE_SIZE <=
                            limits.each[s][RESOURCE_BYTES]);
                assert_true(limits.each[s][RESOURCE_BYTES] < 64 * MIB);
        }
        assert_int_equal(limits.each[STANDING_NAMED][RESOURCE_CALLS], 64);
        assert_int_equal(limits.each[STANDING_NAMED][RESOURCE_PLACES], 512);
}

/*
 * What all have not read never makes the bus stop reading us, the largest answer fits, and one or two who do not read
 * leave something to the others.
 */
static void a_bus_never_has_enough_of_us(void **state)
{
        const uint64_t largest = ANSWER_SIZE_MAX + MESSAGE_COST;
        QuotaLimits limits;
        uint64_t owners;

        limits_make(64, 16384, &limits);
        assert_true(limits.together[STANDING_OWNER][RESOURCE_BUS_BYTES] +
                            16 * MIB /* what the bus adds to each message: its sender */ <
                    BUS_PATIENCE);
        for (size_t s = 0; s < _STANDING_N; s++) {
                assert_true(limits.each[s][RESOURCE_BUS_BYTES] <=
                            limits.together[s][RESOURCE_BUS_BYTES]);
                assert_true(limits.each[s][RESOURCE_BUS_BYTES] >= 2 * (uint64_t)BUS_ROOM_TO_CALL);
                assert_true(s == STANDING_STRANGER ||
                            limits.each[s][RESOURCE_BUS_BYTES] >= largest);
        }
        assert_true(2 * limits.each[STANDING_NAMED][RESOURCE_BUS_BYTES] +
                            limits.together[STANDING_STRANGER][RESOURCE_BUS_BYTES] +
                            2 * (uint64_t)BUS_ROOM_TO_CALL <=
                    limits.together[STANDING_NAMED][RESOURCE_BUS_BYTES]);
        owners = limits.together[STANDING_OWNER][RESOURCE_BUS_BYTES] -
                 limits.together[STANDING_NAMED][RESOURCE_BUS_BYTES];
        assert_true(owners >= largest);
}

/* What may be called for has room for its small answers, as many as may be in flight, and for errors to more. */
static void small_answers_have_room(void **state)
{
        assert_true(BUS_ROOM_TO_CALL >= 64 * (SMALL_ANSWER_SIZE + MESSAGE_COST));
}

/* What one user gets on the bus who takes all that there is and reads nothing. */
static uint64_t take_all(Quota *quota, Client client, Charge *charge)
{
        uint64_t n = 0;

        assert_int_equal(quota_charge(quota, client, RESOURCE_BUS_BYTES, 0, charge), 0);
        while (charge_resize(charge, n + 16 * KIB) == 0)
                n += 16 * KIB;
        return n;
}

/* However many of one standing do not read: the next one can be answered, and the first one had room for any answer. */
static void who_does_not_read_leaves_something_to_the_next(void **state)
{
        static const struct {
                Standing standing;
                size_t n_unread;
                uint64_t left;
        } rows[] = {
                { STANDING_GROUP, 3, 256 * KIB },
                { STANDING_NAMED, 3, 4 * MIB },
                { STANDING_NAMED, 6, 512 * KIB },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(quota_freep) Quota *quota = NULL;
                Charge charges[8] = { 0 };
                QuotaLimits limits;

                limits_make(64, 16384, &limits);
                assert_int_equal(quota_new(&limits, &quota), 0);
                for (uint32_t uid = 0; uid < rows[i].n_unread; uid++) {
                        uint64_t n = take_all(quota, (Client){ rows[i].standing, uid },
                                              &charges[uid]);

                        assert_true(uid > 0 || n >= ANSWER_SIZE_MAX + MIB);
                }
                assert_true(take_all(quota, (Client){ rows[i].standing, 99 }, &charges[7]) >=
                            rows[i].left);
                for (size_t k = 0; k < ELEMENTSOF(charges); k++)
                        charge_deinit(&charges[k]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(something_is_kept_for_each_standing),
                cmocka_unit_test(places_never_take_all_descriptors),
                cmocka_unit_test(bytes_hold_all_places),
                cmocka_unit_test(a_bus_never_has_enough_of_us),
                cmocka_unit_test(small_answers_have_room),
                cmocka_unit_test(who_does_not_read_leaves_something_to_the_next),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
