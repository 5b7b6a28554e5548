/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one client may have at a time: an account for each uid, of everything that a client can multiply, and token
 * buckets for each grant and uid. A charge is embedded in what it is for, and given back by that one's own deinit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"
#include "core/standing.h"

typedef struct Quota Quota;
typedef struct Account Account;

typedef enum Resource {
        RESOURCE_CALLS,       /* in flight */
        RESOURCE_PLACES,      /* connections to the channel */
        RESOURCE_BYTES,       /* held for it: received, unfinished, queued */
        RESOURCE_WAITING,     /* calls from the bus that wait for their turn */
        RESOURCE_DESCRIPTORS, /* of these, the calls that bring descriptors */
        RESOURCE_GIVEN,       /* descriptors sent to it that it has not read */
        RESOURCE_BUS_BYTES,   /* sent to it on the bus, which has them still */
        RESOURCE_MAKING,      /* a rate: of certificates, generations and backends that it makes */
        RESOURCE_STOCK,       /* of these, what one grant covers */
        RESOURCE_SIGNALS,     /* that it has yet to be told: then it is told none of them */
        _RESOURCE_N
} Resource;

const char *resource_name(Resource resource);

#define NO_LIMIT UINT64_MAX

/*
 * `each`: of one uid. `together`: of all uids of this standing and of those below it, so that what is between two of
 * them is kept for the higher one.
 */
typedef struct QuotaLimits {
        uint64_t each[_STANDING_N][_RESOURCE_N];
        uint64_t together[_STANDING_N][_RESOURCE_N];
        /* One has at most so many times what it leaves to those of its standing; 0: all that there is. */
        uint64_t share[_STANDING_N][_RESOURCE_N];
} QuotaLimits;

/* The quota outlives every charge that it gave. */
int quota_new(const QuotaLimits *limits, Quota **ret_quota);
Quota *quota_free(Quota *quota);
DEFINE_CLEANUP(Quota, quota_free)
/* What is above new limits stays until it is given back. */
void quota_set_limits(Quota *quota, const QuotaLimits *limits);

/* The same uid of another standing (by its unit, or another group) is another client. */
typedef struct Client {
        Standing standing;
        uint32_t uid;
} Client;

typedef struct Charge {
        Quota *quota; /* NULL: nothing is charged */
        Account *account;
        Resource resource;
        uint64_t amount;
} Charge;

int quota_charge(Quota *quota, Client client, Resource resource, uint64_t amount,
                 Charge *ret_charge); /* CB_LIMIT_EXCEEDED */
/* Whatever the limits: it is there already. CB_LIMIT_EXCEEDED: there are too many accounts. */
int quota_charge_forced(Quota *quota, Client client, Resource resource, uint64_t amount,
                        Charge *ret_charge);
int charge_resize(Charge *charge, uint64_t amount);  /* CB_LIMIT_EXCEEDED, and stays as it was */
void charge_force(Charge *charge, uint64_t amount);  /* whatever the limits: it is there already */
int charge_move(Charge *charge, Standing standing);  /* likewise; -ENOMEM, and stays where it was */
void charge_deinit(Charge *charge);
/* Would so much more be charged? */
bool quota_has_room(const Quota *quota, Client client, Resource resource, uint64_t amount);
uint64_t quota_used(const Quota *quota, Client client, Resource resource);
/* By all of this standing alone. */
uint64_t quota_used_by(const Quota *quota, Standing standing, Resource resource);

/* Limits that were reached, for who looks after the broker. */
typedef struct Reached {
        uint64_t n;
        uint64_t first_sec, last_sec;
        uint32_t uid; /* the last one */
} Reached;

void quota_note(Quota *quota, Client client, Resource resource, uint64_t now_sec);
const Reached *quota_reached(const Quota *quota, Standing standing, Resource resource);

/*
 * One token from the bucket of this grant and uid: 0, or CB_RATE_LIMITED with when to come back (only then
 * is *ret_wait_usec set). A rate of 0 never limits; a burst of 0 is one second's worth. Buckets are
 * bounded; the one that has been full the longest makes room.
 */
int quota_take_token(Quota *quota, const char *grant, uint32_t uid, uint64_t rate_per_sec,
                     uint64_t burst, uint64_t now_usec, uint64_t *ret_wait_usec);
/* So many at once; where the bucket cannot hold as many, a full one is enough. */
int quota_take_tokens(Quota *quota, const char *grant, uint32_t uid, uint64_t n,
                      uint64_t rate_per_sec, uint64_t burst, uint64_t now_usec,
                      uint64_t *ret_wait_usec);
