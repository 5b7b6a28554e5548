/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PIN: where it comes from, and what the token has made of those that were tried. Used by the keeper's thread, but
 * for the kept one, and for pins_wipe().
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/failure.h"
#include "base/secret.h"
#include "source/pkcs11/pin-record.h"
#include "source/pkcs11/verdict.h"

typedef struct Pins {
        char *source; /* its name */
        char *file;   /* NULL: none configured */
        pthread_rwlock_t lock;
        Secret *kept; /* the one that the token has taken; NULL: none yet */
        char broker[PIN_BY_MAX]; /* what tells the one that we are of from others; "-": not known */
        pthread_mutex_t record_lock;
        PinRecord record;
        PinEntry before; /* of the PIN that is tried now, as it was; of a new one: PIN_NEW */
        PinEntry end;      /* what the last try came to */
        bool clears;       /* it was good, and nothing is held against any other */
        bool is_unwritten; /* and that is not on the disk */
        bool ending; /* no further try */
        atomic_bool trying;
} Pins;

/* How often a PIN is tried of which the token says neither yes nor no. */
#define PIN_UNCLEAR_MAX 2

/* Both paths may be NULL. */
int pins_init(Pins *pins, const char *source, const char *file, const char *state_directory);

/* CB_SOURCE_LOCKED with the reason: no file configured, missing, empty, not private. */
int pins_read_file(const Pins *pins, Secret **ret_pin, Failure *failure);

/*
 * Before a log-in: on the disk when it returns 0. token: what tells it from others (its serial number). asked: a
 * person wants just this. CB_SOURCE_LOCKED: it must not be tried; CB_SOURCE_UNAVAILABLE: it cannot be written down.
 */
int pins_begin(Pins *pins, Secret *pin, const Bytes *token, bool asked, Failure *failure);
/* After it. How often the PIN has come out doubtful. */
unsigned pins_end(Pins *pins, PinVerdict verdict);
/* One that was good before is refused, at once: -errno where that could not be written. */
int pins_refuse(Pins *pins, Secret *pin, const Bytes *token);

void pins_keep(Pins *pins, Secret *pin); /* takes it */
void pins_drop(Pins *pins);
int pins_copy_kept(Pins *pins, Secret **ret_pin);
/* The process ends. Waits for a log-in that is under way, and writes down if it does not come back in time. */
void pins_wipe(Pins *pins, uint64_t deadline_usec);
