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
        assert_true(clock_realtime_sec() > UINT64_C(1600000000));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parses_durations),
                cmocka_unit_test(refuses_what_is_none),
                cmocka_unit_test(refuses_what_is_too_large),
                cmocka_unit_test(clocks_run_forward),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
