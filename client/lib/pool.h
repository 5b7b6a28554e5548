/* SPDX-License-Identifier: Apache-2.0 */
/* Pool: the idle links of one process, and the descriptors that a child must close. */
#pragma once

#include <sys/types.h>

#include "link.h"

typedef struct Pool Pool;

/* What was learnt about the broker's channel; times are CLOCK_MONOTONIC, usec. */
typedef struct Channel {
        char *addresses; /* NULL: not known */
        uid_t server_uid;
        uint64_t retry_after; /* not tried again before */
} Channel;

int pool_new(Pool **ret_pool);
Pool *pool_free(Pool *pool); /* closes the idle links */

pid_t pool_pid(const Pool *pool);
/* In a child: closes the parent's descriptors, and leaves all else of it as it lies. */
void pool_abandon(Pool *pool);

/* An idle link that is alive and was made by the present effective user, or NULL. */
Link *pool_take(Pool *pool);
/* Keeps a link for the next who asks, or frees it. */
void pool_put(Pool *pool, Link *link);
LinkRegister pool_register(Pool *pool);

/* A copy: the caller frees ret_channel->addresses. */
int pool_channel(Pool *pool, Channel *ret_channel);
/* addresses NULL: forget it and do not look again before retry_after. */
int pool_set_channel(Pool *pool, const char *addresses, uid_t server_uid, uint64_t retry_after);
