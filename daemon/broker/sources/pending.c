/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests in flight: a table of slots, and a binary heap of slot numbers by due time.
 *
 * Invariant: a slot's number is in the low bits of its id, and the rest of an id is never used
 * again, so an answer that comes too late finds nothing rather than another's request. Each slot in
 * use is in the heap once, at its heap_index.
 */
#include "broker/sources/pending.h"

#include <errno.h>
#include <stdlib.h>

struct Pending {
        PendingEntry entries[PENDING_MAX];
        size_t heap[PENDING_MAX]; /* [0, n): slots in use, by due time; [n, MAX): free slots */
        size_t n;
        uint64_t n_issued;
};

int pending_new(Pending **ret_pending)
{
        Pending *pending;

        pending = calloc(1, sizeof(*pending));
        if (!pending)
                return -ENOMEM;
        for (size_t i = 0; i < PENDING_MAX; i++)
                pending->heap[i] = i;
        *ret_pending = pending;
        return 0;
}

Pending *pending_free(Pending *pending)
{
        free(pending);
        return NULL;
}

size_t pending_count(const Pending *pending)
{
        return pending->n;
}

size_t pending_count_managing(const Pending *pending, uint64_t owner, size_t *ret_n_of_owner)
{
        size_t n = 0, n_of_owner = 0;

        for (size_t i = 0; i < pending->n; i++) {
                const PendingEntry *entry = &pending->entries[pending->heap[i]];

                n += entry->manages;
                n_of_owner += entry->manages && entry->owner == owner;
        }
        *ret_n_of_owner = n_of_owner;
        return n;
}

static void heap_place(Pending *pending, size_t index, size_t slot)
{
        pending->heap[index] = slot;
        pending->entries[slot].heap_index = index;
}

static uint64_t heap_due(const Pending *pending, size_t index)
{
        return pending->entries[pending->heap[index]].due_usec;
}

static void heap_rise(Pending *pending, size_t index)
{
        while (index > 0) {
                size_t parent = (index - 1) / 2, slot = pending->heap[index];

                if (heap_due(pending, parent) <= heap_due(pending, index))
                        return;
                heap_place(pending, index, pending->heap[parent]);
                heap_place(pending, parent, slot);
                index = parent;
        }
}

static void heap_sink(Pending *pending, size_t index)
{
        for (;;) {
                size_t least = index, slot = pending->heap[index];

                for (size_t child = 2 * index + 1; child <= 2 * index + 2; child++) {
                        if (child < pending->n &&
                            heap_due(pending, child) < heap_due(pending, least))
                                least = child;
                }
                if (least == index)
                        return;
                heap_place(pending, index, pending->heap[least]);
                heap_place(pending, least, slot);
                index = least;
        }
}

PendingEntry *pending_add(Pending *pending, uint64_t due_usec)
{
        PendingEntry *entry;
        size_t slot;

        if (pending->n == PENDING_MAX)
                return NULL;
        slot = pending->heap[pending->n];
        entry = &pending->entries[slot];
        *entry = (PendingEntry){
                .id = ++pending->n_issued * PENDING_MAX + slot,
                .due_usec = due_usec,
        };
        heap_place(pending, pending->n++, slot);
        heap_rise(pending, entry->heap_index);
        return entry;
}

PendingEntry *pending_find(Pending *pending, uint64_t id)
{
        PendingEntry *entry = &pending->entries[id % PENDING_MAX];

        return id != 0 && entry->id == id ? entry : NULL;
}

PendingEntry *pending_first(Pending *pending)
{
        return pending->n > 0 ? &pending->entries[pending->heap[0]] : NULL;
}

void pending_postpone(Pending *pending, PendingEntry *entry, uint64_t due_usec)
{
        assert_always(due_usec >= entry->due_usec);
        entry->due_usec = due_usec;
        heap_sink(pending, entry->heap_index);
}

void pending_remove(Pending *pending, PendingEntry *entry)
{
        size_t index = entry->heap_index, slot = pending->heap[index], last;

        assert_always(entry->id != 0 && index < pending->n);
        entry->id = 0;
        last = pending->heap[--pending->n];
        heap_place(pending, index, last);
        pending->heap[pending->n] = slot;
        if (index < pending->n) {
                heap_rise(pending, index);
                heap_sink(pending, pending->entries[last].heap_index);
        }
}
