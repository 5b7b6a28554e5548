/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clocks, and durations as people write them. Deadlines and back-off use the monotonic one, which nobody
 * sets; what ages elsewhere while this host is suspended the one since boot; dates of certificates the one that
 * people set. Rooms that are pure get the time as an argument and never call this.
 */
#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/macro.h"

/* A hundred years: so that adding a duration to a time never overflows. */
#define DURATION_MAX_USEC (UINT64_C(36525) * 86400 * USEC_PER_SEC)

static uint64_t read_usec(clockid_t clock)
{
        struct timespec now;

        clock_gettime(clock, &now);
        return now.tv_sec < 0 ? 0
                              : (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_monotonic_usec(void)
{
        return read_usec(CLOCK_MONOTONIC);
}

uint64_t clock_boottime_usec(void)
{
        return read_usec(CLOCK_BOOTTIME);
}

uint64_t clock_realtime_usec(void)
{
        return read_usec(CLOCK_REALTIME);
}

uint64_t clock_realtime_sec(void)
{
        return clock_realtime_usec() / USEC_PER_SEC;
}

ClockReading clock_read(void)
{
        return (ClockReading){ clock_realtime_usec(), clock_boottime_usec(),
                               clock_monotonic_usec() };
}

int64_t clock_set_usec(const ClockReading *before, const ClockReading *now)
{
        return (int64_t)(now->realtime_usec - before->realtime_usec) -
               (int64_t)(now->boottime_usec - before->boottime_usec);
}

uint64_t clock_suspended_usec(const ClockReading *before, const ClockReading *now)
{
        uint64_t booted_usec = now->boottime_usec - before->boottime_usec;
        uint64_t ran_usec = now->monotonic_usec - before->monotonic_usec;

        return booted_usec > ran_usec ? booted_usec - ran_usec : 0;
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
