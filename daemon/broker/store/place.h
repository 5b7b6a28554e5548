/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the store's files are still those that SQLite has open. Private to this room. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "base/failure.h"

#define PLACE_FILES 3

/* As a file was after the last transaction; ino 0: it was not there. */
typedef struct PlaceMark {
        dev_t dev;
        ino_t ino;
        off_t size;
        struct timespec changed;
} PlaceMark;

typedef struct Place {
        PlaceMark marks[PLACE_FILES];
        bool is_behind; /* the last transaction's size and time could not be looked at */
} Place;

/* Takes the files as they are: nobody else can have changed them since SQLite did. CB_FAILED. */
int place_mark(Place *place, const char *path, Failure *failure);
/* Before a transaction: are they the ones that were marked, as they were then? CB_FAILED. */
int place_check(const Place *place, const char *path, Failure *failure);
/* After it: have they still their names? Marks them. CB_FAILED. */
int place_check_after(Place *place, const char *path, Failure *failure);
/* Has the store itself lost its name? Reads nothing that changes after place_mark() was called first: for any thread. */
bool place_is_lost(const Place *place, const char *path);
