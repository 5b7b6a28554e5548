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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(something_is_kept_for_each_standing),
                cmocka_unit_test(places_never_take_all_descriptors),
                cmocka_unit_test(bytes_hold_all_places),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
