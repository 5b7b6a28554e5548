/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log: one JSON object a line, each holding the SHA-256 of the line before. A record is in the file before
 * its reply goes out; when it is on the disk depends on `audit-sync`. It never holds an input, a signature or a secret.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/failure.h"
#include "base/macro.h"
#include "core/digest.h"
#include "core/refusals.h"
#include "loop/lane.h"

typedef struct Audit Audit;

/* Where the chain stands: kept in the store too, so that a log that was cut short shows. */
typedef struct AuditHead {
        uint64_t seq;                     /* of the last record; 0: none yet */
        char hash[2 * SHA256_LENGTH + 1]; /* of the last line, lower-case hex; zeros for none */
} AuditHead;

typedef struct AuditSettings {
        const char *path;
        uint64_t max_size;
        uint64_t sync_usec;  /* 0: each record is on the disk before its reply */
        const char *journal; /* the journal's socket, for a copy of each record; NULL: none */
} AuditSettings;

typedef struct AuditEvents {
        /* The file is synced up to this head: keep it in the store. On the loop. */
        void (*synced)(void *userdata, const AuditHead *head);
        /* The first record that is kept is this: keep it in the store. is_loss: older files have gone. */
        void (*oldest)(void *userdata, const AuditHead *oldest, bool is_loss);
        /* Call audit_sync() in this many microseconds. */
        void (*sync_in)(void *userdata, uint64_t usec);
        /* It could not be synced: audit_problem() says why. It is tried again. */
        void (*sync_failed)(void *userdata);
        /* Somebody has removed or renamed the file, and another was begun: "renamed after record 57". */
        void (*moved)(void *userdata, const char *text);
} AuditEvents;

#define AUDIT_JOURNAL "/run/systemd/journal/socket"

/* The log does not go on from what the store has as its last record; … begin with what it has as its oldest. */
#define AUDIT_EVENT_GAP     "gap"
#define AUDIT_EVENT_REMOVED "removed"
/* It can be written, or made durable, again: what was lost, or may be. */
#define AUDIT_EVENT_RESUME "resume"
/* The store is older than the log. */
#define AUDIT_EVENT_ROLLBACK "rollback"
/* Its file was renamed or removed while it was written. */
#define AUDIT_EVENT_MOVED "moved"

/* Records that could not be written, and have no `resume` yet. */
typedef struct AuditLost {
        uint64_t n; /* 0: none */
        uint64_t since_usec;
        bool is_at_least; /* they were counted by a process that did not come to its end */
} AuditLost;

typedef struct AuditRecord {
        const char *event;
        uint32_t uid, pid;
        const char *unit; /* NULL: none known; likewise below */
        const char *object;
        uint64_t generation; /* 0: none */
        const char *algorithm;
        const char *grant;
        const char *certificate; /* a member only where it is given; likewise forced */
        bool forced;
        bool is_disabled, is_enabled; /* a member where one of them is; of SetEnabled */
        const char *result; /* "ok", or the error's name: "AccessDenied" … */
        const RefusalSum *sum; /* members only where it is given */
} AuditRecord;

/*
 * Opens the file and holds its end against `expected`. One that does not fit is no failure: audit_problem() says what is
 * wrong, a record `gap` is written, and the chain goes on from what is there.
 */
int audit_open(const AuditSettings *settings, const AuditHead *expected, Lane *lane,
               const AuditEvents *events, void *userdata, Audit **ret_audit, Failure *failure);
Audit *audit_free(Audit *audit); /* syncs */
DEFINE_CLEANUP(Audit, audit_free)

/*
 * `stored`: the first record that was kept, with the hash that it holds of the one before (seq 0: not known yet). Looks for
 * it now, after each rotation and with audit_configure(); what has gone is noted by a record `removed`.
 */
void audit_watch_oldest(Audit *audit, const AuditHead *stored);

/*
 * Writes one record; `done` is called when its reply may go out: from within, or, with audit-sync = "always", when it is
 * on the disk; always in the order of the calls, but for -ENOMEM. r below 0: it could not be written.
 */
typedef void (*audit_done)(void *userdata, int r);
void audit_append(Audit *audit, const AuditRecord *record, audit_done done, void *userdata);
void audit_sync(Audit *audit);
/* One that did not come that far. */
void audit_lose(Audit *audit);
/*
 * After a failure: is it possible again? 0 or -errno. What could not be written is counted, and the next record that can
 * is `resume`, with that number: no record is lost without a trace.
 */
int audit_try(Audit *audit);
const AuditLost *audit_lost(const Audit *audit);
/* The number of the last `resume`: once that is on the disk, what was lost is told for good. */
uint64_t audit_resumed_at(const Audit *audit);
/* What the process before us had lost, once, beside what has been since: `resume` is written as soon as it can be. */
void audit_recall_lost(Audit *audit, const AuditLost *lost);
/* The last record could not be written, or what was written cannot be made durable. */
bool audit_is_failing(const Audit *audit);
/* max_size and sync_usec; path and journal stay. A loss that was noted is no problem any more. */
void audit_configure(Audit *audit, const AuditSettings *settings);

/* A change that was answered with success. Borrowed. */
typedef struct AuditPast {
        uint64_t seq;
        const char *event, *object;
        uint64_t generation;
        bool is_disabled, is_enabled; /* of SetEnabled: which of them; neither: not told */
} AuditPast;
typedef void (*audit_past)(void *userdata, const AuditPast *past);
/*
 * The changes after this record, oldest first; goes_on: every few MiB. -ENODATA: only those that are kept,
 * for the oldest file begins later.
 */
int audit_read_since(const Audit *audit, uint64_t seq, audit_past tell, void (*goes_on)(void),
                     void *userdata);
/* Is this record, by its line's hash, near the end of the log? Not on the loop, for it may read some MiB. */
bool audit_has(const Audit *audit, const AuditHead *record);

const AuditHead *audit_head(const Audit *audit);
const char *
audit_problem(const Audit *audit); /* why it fails, or does not fit the store; "": neither */
uint64_t audit_unsynced(const Audit *audit); /* records that are not known to be on the disk */
int audit_open_reader(Audit *audit, int *ret_fd); /* the present file, read-only; the caller's */
