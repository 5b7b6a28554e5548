/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks, and durations as people write them. */
#pragma once

#include <stdint.h>

uint64_t clock_monotonic_usec(void);
uint64_t clock_realtime_sec(void);
uint64_t clock_realtime_usec(void);

/* "500ms" "30s" "5m" "4h" "7d": a whole number and one unit; else -EINVAL, too large -ERANGE. */
int duration_parse(const char *text, uint64_t *ret_usec);
