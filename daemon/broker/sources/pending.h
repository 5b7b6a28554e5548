/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests in flight to one source: found by the wire's id, and by which is due first. Bounded;
 * one allocation for all of them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/sources/sources.h"
#include "wire/message.h"

#define PENDING_MAX 2048

typedef struct PendingEntry {
        uint64_t id; /* 0: free */
        source_done done;
        void *userdata;
        WireOperation operation;
        bool manages;
        uint64_t owner; /* as the wire has it */
        uint64_t timeout_usec;
        uint64_t due_usec;
        bool timed_out; /* its caller has been told; the process still owes an answer */
        size_t heap_index;
} PendingEntry;

typedef struct Pending Pending;

int pending_new(Pending **ret_pending);
Pending *pending_free(Pending *pending); /* calls nobody */
DEFINE_CLEANUP(Pending, pending_free)

size_t pending_count(const Pending *pending);
/* Those of management, and the owner's of them. */
size_t pending_count_managing(const Pending *pending, uint64_t owner, size_t *ret_n_of_owner);
/* An entry with a fresh id; NULL: PENDING_MAX are in flight. Valid until it is removed. */
PendingEntry *pending_add(Pending *pending, uint64_t due_usec);
PendingEntry *pending_find(Pending *pending, uint64_t id); /* NULL: none, or no longer */
PendingEntry *pending_first(Pending *pending);             /* due first; NULL: none */
void pending_postpone(Pending *pending, PendingEntry *entry, uint64_t due_usec);
void pending_remove(Pending *pending, PendingEntry *entry);
