/* SPDX-License-Identifier: Apache-2.0 */
/* Durations as people write them, and clocks that do not go back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/clock.h"
#include "base/macro.h"

static void parses_durations(void **state)
{
        static const struct {
                const char *text;
                uint64_t usec;
        } rows[] = {
                { "0s", 0 },
                { "500ms", 500000 },
                { "30s", 30000000 },
                { "5m", 300000000 },
                { "4h", UINT64_C(14400000000) },
                { "7d", UINT64_C(604800000000) },
                { "007d", UINT64_C(604800000000) },
                { "36525d", UINT64_C(36525) * 86400 * 1000000 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                uint64_t usec = 1;

                assert_int_equal(duration_parse(rows[i].text, &usec), 0);
                assert_int_equal(usec, rows[i].usec);
        }
}

static void refuses_what_is_none(void **state)
{
        static const char *const texts[] = {
                "",   "s",    "5",  "5 s",  " 5s", "5s ",  "-5s", "+5s", "5.5s",
                "5S", "5sec", "5w", "1h5m", "ms",  "0x5s", "5us", "s5",  "5ss",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                uint64_t usec = 77;

                assert_int_equal(duration_parse(texts[i], &usec), -EINVAL);
                assert_int_equal(usec, 77);
        }
}

static void refuses_what_is_too_large(void **state)
{
        static const char *const texts[] = {
                "36526d",
                "18446744073709551616ms",
                "18446744073709551617d",
                "99999999999999999999999999999999999999999999s",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                uint64_t usec = 77;

                assert_int_equal(duration_parse(texts[i], &usec), -ERANGE);
                assert_int_equal(usec, 77);
        }
}

static void clocks_run_forward(void **state)
{
        uint64_t before = clock_monotonic_usec(), after = clock_monotonic_usec();

        assert_true(before > 0 && after >= before);
        before = clock_boottime_usec();
        assert_true(before > 0 && before >= after);
        assert_true(clock_boottime_usec() >= before);
        assert_true(clock_realtime_sec() > UINT64_C(1600000000));
}

static void tells_setting_from_suspending(void **state)
{
        const ClockReading before = { 5000 * USEC_PER_SEC, 300 * USEC_PER_SEC, 200 * USEC_PER_SEC };
        ClockReading now = { 5010 * USEC_PER_SEC, 310 * USEC_PER_SEC, 210 * USEC_PER_SEC };

        assert_true(clock_set_usec(&before, &now) == 0);
        assert_int_equal(clock_suspended_usec(&before, &now), 0);
        now.realtime_usec = 10 * USEC_PER_SEC; /* 1970, after an empty battery */
        assert_true(clock_set_usec(&before, &now) == -5000 * (int64_t)USEC_PER_SEC);
        now = (ClockReading){ 8610 * USEC_PER_SEC, 3910 * USEC_PER_SEC, 210 * USEC_PER_SEC };
        assert_true(clock_set_usec(&before, &now) == 0);
        assert_int_equal(clock_suspended_usec(&before, &now), 3600 * USEC_PER_SEC);
        now.monotonic_usec = 5000 * USEC_PER_SEC; /* read a little later than the others */
        assert_int_equal(clock_suspended_usec(&before, &now), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parses_durations),
                cmocka_unit_test(refuses_what_is_none),
                cmocka_unit_test(refuses_what_is_too_large),
                cmocka_unit_test(clocks_run_forward),
                cmocka_unit_test(tells_setting_from_suspending),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
