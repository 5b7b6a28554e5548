/* SPDX-License-Identifier: Apache-2.0 */
/* The clocks, and durations as people write them. */
#pragma once

#include <stdint.h>

uint64_t clock_monotonic_usec(void);
/* The monotonic one, and the time for which the host was suspended: for what ages elsewhere meanwhile. */
uint64_t clock_boottime_usec(void);
uint64_t clock_realtime_sec(void);
uint64_t clock_realtime_usec(void);

/* What all of them show at about one moment. */
typedef struct ClockReading {
        uint64_t realtime_usec, boottime_usec, monotonic_usec;
} ClockReading;

ClockReading clock_read(void);
/* By how much the date was set between two readings; below 0: back. A clock that is slewed is not set. */
int64_t clock_set_usec(const ClockReading *before, const ClockReading *now);
/* For how long the host was suspended between two readings. */
uint64_t clock_suspended_usec(const ClockReading *before, const ClockReading *now);

/* "500ms" "30s" "5m" "4h" "7d": a whole number and one unit; else -EINVAL, too large -ERANGE. */
int duration_parse(const char *text, uint64_t *ret_usec);
