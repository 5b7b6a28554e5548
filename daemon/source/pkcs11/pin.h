/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PIN: where it comes from, and which ones the token has refused. Used by the keeper's thread, but
 * for pins_with_kept().
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/failure.h"
#include "base/secret.h"
#include "pki/pin-digest.h"

#define PINS_REFUSED_MAX 32

typedef struct Pins {
        char *file;   /* NULL: none configured */
        char *record; /* path of the refused ones; NULL: kept in memory only */
        pthread_rwlock_t lock;
        Secret *kept; /* the one that the token has taken; NULL: none yet */
        bool loaded;
        uint8_t salt[PIN_DIGEST_SALT_LENGTH];
        uint8_t refused[PINS_REFUSED_MAX][PIN_DIGEST_LENGTH];
        size_t n_refused;
} Pins;

/* source: its name. Both paths may be NULL. */
int pins_init(Pins *pins, const char *source, const char *file, const char *state_directory);

/* CB_SOURCE_LOCKED with the reason: no file configured, missing, empty, not private. */
int pins_read_file(const Pins *pins, Secret **ret_pin, Failure *failure);

/* token: what tells it from others (its serial number). */
bool pins_was_refused(Pins *pins, Secret *pin, const Bytes *token);
/* Remembers it, over a restart too: -errno where that could not be written (it is in memory then). */
int pins_refuse(Pins *pins, Secret *pin, const Bytes *token);
void pins_accept(Pins *pins, Secret *pin); /* takes it; forgets what was refused */
void pins_drop(Pins *pins);                /* the kept one */
bool pins_has_kept(Pins *pins);
int pins_copy_kept(Pins *pins, Secret **ret_pin);
void pins_wipe(Pins *pins);
