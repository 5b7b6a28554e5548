/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authorities that are believed, from a file that is read again when it has changed: who corrects it
 * is not kept waiting. Any thread.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/failure.h"

/* Its text at some time; immutable, and shared by all requests of that time. */
typedef struct CaText {
        unsigned n_refs; /* under the lock of its CaFile */
        size_t n;
        char data[];
} CaText;

typedef struct CaFile {
        char *path; /* NULL: none is configured */
        pthread_mutex_t lock;
        struct stat stat; /* of when it was read */
        CaText *text;     /* NULL: not yet, or it could not be */
} CaFile;

int ca_file_init(CaFile *file, const char *path);
/* CB_SOURCE_UNAVAILABLE: it is not there, or others may have changed it; nothing older is used then. */
int ca_file_take(CaFile *file, CaText **ret_text, Failure *failure);
void ca_file_give_back(CaFile *file, CaText *text); /* text may be NULL */
