/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of PINs that were tried and not found good: their salted digests, in a file that outlives the process. */
#pragma once

#include <stdbool.h>

#include "base/secret.h"
#include "pki/pin-digest.h"

#define PIN_ENTRIES_MAX 32
#define PIN_BY_MAX      48

typedef enum PinFate {
        PIN_NEW,     /* nothing is known */
        PIN_REFUSED, /* the token has said no */
        PIN_TRYING,  /* was given to the module, which has not said anything yet */
        PIN_ENDED,   /* the module has ended the process with it, or never come back */
        PIN_UNCLEAR, /* the module has answered, n_tries times, and neither yes nor no */
} PinFate;

typedef struct PinEntry {
        uint8_t digest[PIN_DIGEST_LENGTH];
        PinFate fate;
        unsigned n_tries;
        char by[PIN_BY_MAX]; /* PIN_TRYING: under which broker */
} PinEntry;

typedef struct PinRecord {
        char *path; /* NULL: in memory only */
        bool has_salt;
        uint8_t salt[PIN_DIGEST_SALT_LENGTH];
        PinEntry entries[PIN_ENTRIES_MAX];
        size_t n;
} PinRecord;

int pin_record_init(PinRecord *record, const char *source, const char *state_directory);
/* What the file says now: whoever has removed it has decided that all is forgotten. -errno: it cannot be read. */
int pin_record_load(PinRecord *record);
int pin_record_digest(PinRecord *record, Secret *pin, const Bytes *token,
                      uint8_t ret_digest[PIN_DIGEST_LENGTH]);
/* NULL: nothing is known of it. Valid until the next call. */
const PinEntry *pin_record_find(const PinRecord *record, const uint8_t digest[PIN_DIGEST_LENGTH]);
/* Puts the entry in, or takes it out (PIN_NEW), and writes all of it: on the disk when it returns 0. */
int pin_record_put(PinRecord *record, const PinEntry *entry);
int pin_record_clear(PinRecord *record);
