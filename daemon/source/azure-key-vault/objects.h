/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of a vault that fail by themselves: a key that answers 500 whenever it is to sign is no reason to
 * refuse the others. A pair of method and address each. Pure: the time and the random number are arguments;
 * their owner has the lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/failure.h"
#include "base/map.h"
#include "core/breaker.h"

typedef struct Objects {
        Map entries; /* "METHOD address" → Object */
} Objects;

/* What became of a request for one. */
typedef struct ObjectNote {
        bool failed;               /* else it answered */
        uint64_t retry_after_usec; /* UINT64_MAX: nothing was said */
        uint64_t now_usec;
        uint32_t random;
        const Failure *failure;
} ObjectNote;

void objects_init(Objects *objects);
/* 0, and who asks next is to wait for what becomes of it, where it had failed; else how it failed, and how long to wait. */
int objects_enter(Objects *objects, const char *key, uint64_t now_usec, uint64_t *ret_wait_usec,
                  Failure *failure);
/* Has it failed, so that what is let through is a try? */
bool objects_put_off(const Objects *objects, const char *key);
/* true: it is put off from now on; *ret_first: it was not, before. */
bool objects_note(Objects *objects, const char *key, const ObjectNote *note, bool *ret_first);
/* All may be tried again. */
void objects_clear(Objects *objects);
