/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two clocks, and durations as people write them. Deadlines and back-off use the monotonic one,
 * which nobody sets; dates of certificates the other. Rooms that are pure get the time as an argument
 * and never call this.
 */
#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/macro.h"

/* A hundred years: so that adding a duration to a time never overflows. */
#define DURATION_MAX_USEC (UINT64_C(36525) * 86400 * USEC_PER_SEC)

uint64_t clock_monotonic_usec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_realtime_usec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        return now.tv_sec < 0 ? 0
                              : (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_realtime_sec(void)
{
        return clock_realtime_usec() / USEC_PER_SEC;
}

static uint64_t unit_usec(const char *unit)
{
        static const struct {
                const char *unit;
                uint64_t usec;
        } units[] = {
                { "ms", USEC_PER_MSEC },       { "s", USEC_PER_SEC },
                { "m", 60 * USEC_PER_SEC },    { "h", 3600 * USEC_PER_SEC },
                { "d", 86400 * USEC_PER_SEC },
        };

        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strcmp(units[i].unit, unit) == 0)
                        return units[i].usec;
        return 0;
}

int duration_parse(const char *text, uint64_t *ret_usec)
{
        uint64_t number = 0, usec;
        const char *p = text;

        for (; *p >= '0' && *p <= '9'; p++)
                if (number <= DURATION_MAX_USEC) /* else it is too large already */
                        number = number * 10 + (uint64_t)(*p - '0');
        usec = unit_usec(p);
        if (p == text || usec == 0)
                return -EINVAL;
        if (number > DURATION_MAX_USEC / usec)
                return -ERANGE;

        *ret_usec = number * usec;
        return 0;
}
