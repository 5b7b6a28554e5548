/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work on the host that is done whole or not at all: each step says what it does, and leaves its undo. Where one fails, what
 * was done before it is undone, the last first, and told.
 */
#pragma once

#include <sys/types.h>

#include "cli.h"

#define STEPS_MAX 32

typedef struct Steps Steps;
typedef struct Undo Undo;

struct Undo {
        /* What it did is undone; 0, or -errno with nothing else said. NULL: nothing is to be undone (any more). */
        int (*run)(Undo *undo);
        void *userdata;
        char *what;  /* as it is told: "removed /etc/…" */
        char *path;  /* of a file or folder; else NULL */
        char *aside; /* what was there before, in the same folder; NULL: nothing */
};

struct Steps {
        Cli *cli;
        Undo undos[STEPS_MAX];
        size_t n;
        char doing[256]; /* the step under way, as a failure tells it */
};

void steps_init(Steps *steps, Cli *cli);
/* Says what is done now. Fails where a signal has come: then nothing more is begun. */
int steps_begin(Steps *steps, const char *format, ...) PRINTF(2, 3);
/* A word beside, to whoever watches. */
void steps_say(const Steps *steps, const char *format, ...) PRINTF(2, 3);
/* The failure of the step under way, with what is to be done about it: the Cli's. */
int steps_fail(Steps *steps, int status, const char *format, ...) PRINTF(3, 4);

typedef struct StepFile {
        const char *path;
        mode_t mode;
        uid_t uid;
        gid_t gid;
} StepFile;

/* A folder that is there stays as it is. */
int steps_make_folder(Steps *steps, const StepFile *folder);
/* Whole and durable, in the place of what is there. */
int steps_write(Steps *steps, const StepFile *file, const void *data, size_t n);
int steps_remove(Steps *steps, const char *path);
/* Another kind of undo. It is run with the others, in the reverse order of theirs. */
int steps_on_undo(Steps *steps, int (*run)(Undo *undo), void *userdata, const char *what);
/* Undoes what was done since there were n of them, and says so. */
void steps_undo_to(Steps *steps, size_t n);
/* The end: what was done stays; or, where r is a failure, is undone, and the failure tells its step. Returns r. */
int steps_end(Steps *steps, int r);
