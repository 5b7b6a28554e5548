/* SPDX-License-Identifier: Apache-2.0 */
/*
 * States of a source, and when to try again: exponential back-off with jitter for a process that dies
 * or a token that is away. Pure: the time and the random number are arguments.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef enum SourceState {
        SOURCE_STARTING,
        SOURCE_READY,
        SOURCE_DEGRADED, /* serves, with a fault that someone should look at */
        SOURCE_LOCKED,   /* PIN wrong, locked or missing: until somebody unlocks it */
        SOURCE_UNAVAILABLE,
        _SOURCE_STATE_N
} SourceState;

const char *source_state_name(SourceState state);
bool source_state_may_follow(SourceState from, SourceState to);
/* Does its token answer? What is known of its certificates is fresh then, and stale else. */
bool source_state_serves(SourceState state);
/* May a request be sent there? Also while it starts: then the request waits there for the token. */
bool source_state_takes_requests(SourceState state);

typedef struct Backoff {
        uint64_t first_usec;
        uint64_t max_usec;
        unsigned n_failures;
} Backoff;

uint64_t backoff_next_usec(Backoff *backoff, uint32_t random); /* counts the failure */
void backoff_reset(Backoff *backoff);
