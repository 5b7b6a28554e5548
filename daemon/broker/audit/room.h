/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share: the log's own state. */
#pragma once

#include <sys/types.h>

#include "broker/audit/audit.h"
#include "broker/audit/journal.h"

typedef struct Waiter Waiter;

/* A reply that waits for the disk. */
struct Waiter {
        Waiter *next;
        uint64_t seq;
        int r; /* below 0: it could not be written, and only waits for its turn */
        audit_done done;
        void *userdata;
};

typedef struct AuditSpan {
        uint64_t first, last; /* 0: none */
} AuditSpan;

struct Audit {
        char *path;
        uint64_t max_size;
        uint64_t sync_usec;
        Lane *lane;
        AuditEvents events;
        void *userdata;
        int fd;
        dev_t dev; /* which file that is */
        ino_t ino;
        uint64_t size;
        uint64_t n_files;      /* begun or taken up by us */
        bool is_name_unsynced; /* the present one's */
        size_t n_torn;         /* of a line that could not be written, the bytes that could, at the file's end */
        AuditHead head;
        AuditHead oldest; /* as audit_watch_oldest() has it; seq 0: not watched yet */
        Journal *journal; /* NULL: there is none to tell */
        uint64_t seq_synced;
        bool is_syncing, sync_again, sync_planned;
        Waiter *waiters, **waiters_end;
        AuditSpan unsure;        /* written, but a sync of them failed: the disk may lack them */
        AuditLost lost;          /* records that could not be written; said by the next that can */
        uint64_t seq_resumed;    /* the last record that said so; 0: none yet */
        char moved[64];          /* "": nothing; what became of the file before, to be said likewise */
        char write_problem[512]; /* "": the last record was written */
        char sync_problem[512];  /* "": the last sync was done */
        char gap[256];           /* "": the file went on from what the store had */
        char loss[256];          /* "": no older files have gone, or that was told */
};

/* A line with the hash of the one before it; of what has to be said before it nothing. */
int audit_append_line(Audit *audit, const AuditRecord *record);
/* Ends a line that has no end, so that the next one begins on a line of its own. */
int audit_end_line(Audit *audit);
/* Syncs what is in the file yet, and closes it. */
void audit_leave_file(Audit *audit);

/* For a record that nobody waits for. */
void audit_ignore(void *userdata, int r);

/* remedy.c: what a person may do about this errno; a half sentence. */
const char *remedy_of(int error);

/* oldest.c: looks for the oldest record, and notes what has gone. */
void oldest_check(Audit *audit);
