/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of clients, as the metrics tell them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LIMITS_MAX 64

typedef struct Limit {
        char name[48], standing[32];
        uint64_t n_reached, first_sec, last_sec;
        uint64_t uid; /* the last one */
} Limit;

/* Those of the metrics' text; how many there are. What it does not know is passed over. */
size_t limits_read(const char *metrics, Limit ret_limits[LIMITS_MAX]);
/* For a person: "no grant". */
const char *limit_describe_standing(const char *standing);
