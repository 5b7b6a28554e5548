/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one client may have at a time: slots in flight for each uid, and token buckets for each grant
 * and uid. The charge is given back by the request's own deinit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

typedef struct Quota Quota;

/* The quota outlives every charge that it gave. */
int quota_new(unsigned n_in_flight_max, Quota **ret_quota);
Quota *quota_free(Quota *quota);
void quota_set_max(Quota *quota, unsigned n_in_flight_max);
DEFINE_CLEANUP(Quota, quota_free)

typedef struct Charge {
        Quota *quota;
        uint32_t uid;
} Charge;

int quota_charge(Quota *quota, uint32_t uid, Charge *ret_charge); /* CB_LIMIT_EXCEEDED */
void charge_deinit(Charge *charge);
unsigned quota_in_flight(const Quota *quota, uint32_t uid);

/*
 * One token from the bucket of this grant and uid: 0, or CB_RATE_LIMITED with when to come back (only then
 * is *ret_wait_usec set). A rate of 0 never limits; a burst of 0 is one second's worth. Buckets are
 * bounded; the one that has been full the longest makes room.
 */
int quota_take_token(Quota *quota, const char *grant, uint32_t uid, uint64_t rate_per_sec,
                     uint64_t burst, uint64_t now_usec, uint64_t *ret_wait_usec);
