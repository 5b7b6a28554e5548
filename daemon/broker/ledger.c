/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log's place in the broker. The invariant: with audit-failure = "refuse", nothing that has to be recorded is
 * begun while the last record could not be written. With "continue" it is: then the store has a note that records are being
 * lost before the first answer without one goes out, so that no crash hides that. Where the chain stands is a note as
 * well, written after each sync of the file: the store may be behind the file, never before it. Where it stood when a
 * change was begun is another note, in the transaction of that change: whoever has the change has all those before it, so a
 * change that was stored and that a crash kept from the log is not taken for something that the store has forgotten.
 */
#include "broker/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "base/strings.h"
#include "broker/audit/audit.h"

#define HEAD_NOTE     "audit/head"
#define OLDEST_NOTE   "audit/oldest"
#define LOST_NOTE     "audit/lost"
#define KNOWN_NOTE    "audit/known"
#define ACCURACY_USEC (10 * USEC_PER_MSEC)

/* A record on its way to the disk, and who waits for it. */
typedef struct Entry Entry;
struct Entry {
        Entry *next;
        Ledger *ledger;
        bus_recorded done;
        void *call;
        int r; /* what it is told */
};

struct Ledger {
        Audit *audit;
        Store *store;
        sd_event_source *timer;
        char *path;
        bool may_fail;    /* audit-failure = "continue" */
        bool is_failing;       /* and that was logged */
        bool is_store_failing; /* likewise */
        AuditHead oldest;      /* as the store had it at start, and likewise: */
        AuditLost lost;
        uint64_t seq_stored; /* the store knew of this record at start, and of each change before it */
        bool is_held;        /* it knows of none of those after, for now */
        AuditHead synced;    /* seq 0: none since the start */
        char rollback[512];  /* "": the store is as old as the log, or whoever reloads has been told */
        void (*health)(void *userdata);
        void *health_userdata;
        /* Of these: begun with the first configuration, for it may write to the store. */
        bool is_watching;
        uint64_t n_lost_noted;        /* what the store's note says; 0: there is none */
        uint64_t n_lost_noting;       /* what it is about to; 0: nothing is on its way */
        bool is_forgetting;           /* or that it is about to go */
        uint64_t resumed_noted;       /* it is of what was lost after this `resume` */
        Entry *waiting, **waiting_end; /* for the first note: answers, in their order */
};

static void tell_health(Ledger *ledger, bool is_other)
{
        if (is_other && ledger->health)
                ledger->health(ledger->health_userdata);
}

static void note_store_health(Ledger *ledger)
{
        const char *problem = store_problem(ledger->store);
        bool was_failing = ledger->is_store_failing;

        if (problem[0] && !ledger->is_store_failing)
                log_error("the store cannot be written: %s", problem);
        if (!problem[0] && ledger->is_store_failing)
                log_info("the store is written again");
        ledger->is_store_failing = problem[0];
        tell_health(ledger, ledger->is_store_failing != was_failing);
}

static void on_noted(void *userdata, const Failure *failure)
{
        (void)failure; /* the store knows, too */
        note_store_health(userdata);
}

/* Says so when it begins to fail, and when it ends. */
static void note_health(void *userdata)
{
        Ledger *ledger = userdata;
        bool was_failing = ledger->is_failing;

        ledger->is_failing = audit_is_failing(ledger->audit);
        if (ledger->is_failing && !was_failing)
                log_error("audit log: %s", audit_problem(ledger->audit));
        if (!ledger->is_failing && was_failing)
                log_info("the audit log is written again");
        tell_health(ledger, ledger->is_failing != was_failing);
}

/* value NULL: no such note any more. */
static int put_note(Ledger *ledger, const char *key, const char *value, store_done done)
{
        CLEANUP(store_change_freep) StoreChange *change = NULL;
        int r = store_change_new(ledger->store, &change);

        if (r == 0)
                r = store_change_put_note(change, key, value);
        if (r == 0)
                r = store_commit(change, done, ledger);
        if (r == 0)
                TAKE(change);
        return r;
}

static int format_head(const AuditHead *head, char *value, size_t n)
{
        return snprintf(value, n, "%" PRIu64 " %s", head->seq, head->hash);
}

static void note(Ledger *ledger, const char *key, const AuditHead *head)
{
        char value[THUMBPRINT_TEXT + 32];

        (void)format_head(head, value, sizeof(value));
        (void)put_note(ledger, key, value, on_noted);
}

/* --- what is lost --- */

/* "3 1796083200000000", "at least" unless that is all. */
static int put_lost(Ledger *ledger, const AuditLost *lost, bool is_all, store_done done)
{
        char value[64];

        snprintf(value, sizeof(value), "%" PRIu64 " %" PRIu64 "%s", lost->n, lost->since_usec,
                 is_all && !lost->is_at_least ? "" : " at least");
        return put_note(ledger, LOST_NOTE, value, done);
}

static void read_lost(const char *value, AuditLost *ret_lost)
{
        AuditLost lost = { 0 };

        if (sscanf(value, "%" SCNu64 " %" SCNu64, &lost.n, &lost.since_usec) != 2)
                return;
        lost.is_at_least = strstr(value, "at least");
        *ret_lost = lost;
}

static void answer(Entry *entry)
{
        entry->done(entry->call, entry->r);
        free(entry);
}

static void answer_waiting(Ledger *ledger)
{
        while (ledger->waiting) {
                Entry *entry = ledger->waiting;

                ledger->waiting = entry->next;
                if (!ledger->waiting)
                        ledger->waiting_end = &ledger->waiting;
                answer(entry);
        }
}

/* At the first, and each time that they have doubled. */
static void on_lost_noted(void *userdata, const Failure *failure);
static void start_noting(Ledger *ledger, const AuditLost *lost)
{
        if (put_lost(ledger, lost, false, on_lost_noted) < 0)
                return;
        ledger->n_lost_noting = lost->n;
        ledger->resumed_noted = audit_resumed_at(ledger->audit);
}

static void keep_lost(Ledger *ledger)
{
        const AuditLost *lost = audit_lost(ledger->audit);

        if (lost->n > 0 && lost->n >= 2 * ledger->n_lost_noted && ledger->n_lost_noting == 0 &&
            !ledger->is_forgetting)
                start_noting(ledger, lost);
}

/* Where the store cannot be written either, nobody is kept waiting for it. */
static void on_lost_noted(void *userdata, const Failure *failure)
{
        Ledger *ledger = userdata;

        if (failure->status == 0)
                ledger->n_lost_noted = ledger->n_lost_noting;
        ledger->n_lost_noting = 0;
        note_store_health(ledger);
        answer_waiting(ledger);
        if (failure->status == 0)
                keep_lost(ledger);
}

/* What was lost meanwhile was not noted, and its answers have waited. */
static void on_lost_forgotten(void *userdata, const Failure *failure)
{
        Ledger *ledger = userdata;

        ledger->is_forgetting = false;
        if (failure->status == 0)
                ledger->n_lost_noted = 0;
        note_store_health(ledger);
        keep_lost(ledger);
        if (ledger->n_lost_noting == 0)
                answer_waiting(ledger);
}

/* Once the log says so itself; what was lost since takes the note's place. */
static void forget_lost(Ledger *ledger, const AuditHead *synced)
{
        const AuditLost *lost = audit_lost(ledger->audit);
        uint64_t resumed = audit_resumed_at(ledger->audit);

        if (ledger->n_lost_noted == 0 || ledger->n_lost_noting > 0 || ledger->is_forgetting ||
            resumed <= ledger->resumed_noted || synced->seq < resumed)
                return;
        if (lost->n > 0)
                start_noting(ledger, lost);
        else
                ledger->is_forgetting = put_note(ledger, LOST_NOTE, NULL, on_lost_forgotten) == 0;
}

/* --- what the log tells --- */

static void on_synced(void *userdata, const AuditHead *head)
{
        Ledger *ledger = userdata;

        note_health(ledger);
        ledger->synced = *head;
        if (!ledger->is_held)
                note(ledger, HEAD_NOTE, head);
        forget_lost(ledger, head);
}

static void on_moved(void *userdata, const char *text)
{
        Ledger *ledger = userdata;

        log_warning("the audit log %s was %s, and goes on in a new file", ledger->path,
                    text);
}

static void on_oldest(void *userdata, const AuditHead *oldest, bool is_loss)
{
        Ledger *ledger = userdata;

        if (is_loss)
                log_error("audit log: %s", audit_problem(ledger->audit));
        note(ledger, OLDEST_NOTE, oldest);
}

static void on_sync_in(void *userdata, uint64_t usec)
{
        Ledger *ledger = userdata;

        (void)sd_event_source_set_time_relative(ledger->timer, usec);
        (void)sd_event_source_set_enabled(ledger->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Ledger *ledger = userdata;

        (void)source;
        (void)usec;
        audit_sync(ledger->audit);
        return 0;
}

/* What the store remembers of the log. */
typedef struct Remembered {
        AuditHead head, oldest, known;
        AuditLost lost;
} Remembered;

static int on_note(void *userdata, const char *key, const char *value)
{
        Remembered *remembered = userdata;
        AuditHead read;

        if (string_equal(key, LOST_NOTE))
                read_lost(value, &remembered->lost);
        if (sscanf(value, "%" SCNu64 " %64[0-9a-f]", &read.seq, read.hash) != 2)
                return 0;
        if (string_equal(key, HEAD_NOTE))
                remembered->head = read;
        else if (string_equal(key, OLDEST_NOTE))
                remembered->oldest = read;
        else if (string_equal(key, KNOWN_NOTE))
                remembered->known = read;
        return 0;
}

static bool tell_known(void *userdata, char *value, size_t n)
{
        const Ledger *ledger = userdata;

        return !ledger->is_held && format_head(audit_head(ledger->audit), value, n) < (int)n;
}

/* It is in the log, or after what a power failure left of it. */
static bool fits(const Audit *audit, const AuditHead *known)
{
        return known->seq > audit_head(audit)->seq || audit_has(audit, known);
}

static AuditSettings settings_of(const Config *config)
{
        return (AuditSettings){ config->audit_log, config->audit_max_size, config->audit_sync_usec,
                                AUDIT_JOURNAL };
}

static int open_audit(Ledger *ledger, Lane *lane, const Config *config, Failure *failure)
{
        static const AuditEvents events = { .synced = on_synced,
                                            .oldest = on_oldest,
                                            .sync_in = on_sync_in,
                                            .sync_failed = note_health,
                                            .moved = on_moved };
        const AuditSettings settings = settings_of(config);
        Remembered remembered = { 0 };
        int r;

        memset(remembered.head.hash, '0', sizeof(remembered.head.hash) - 1);
        r = store_read_notes(ledger->store, on_note, &remembered, failure);
        if (r == 0)
                r = audit_open(&settings, &remembered.head, lane, &events, ledger, &ledger->audit,
                               failure);
        if (r != 0)
                return r;
        lane_drain(lane); /* a gap in a log that is full has begun another file, and the store is yet to be read */
        if (audit_problem(ledger->audit)[0])
                log_error("audit log: %s", audit_problem(ledger->audit));
        ledger->oldest = remembered.oldest;
        ledger->lost = remembered.lost;
        ledger->seq_stored = remembered.head.seq;
        if (remembered.known.seq > ledger->seq_stored && fits(ledger->audit, &remembered.known))
                ledger->seq_stored = remembered.known.seq;
        store_accompany(ledger->store, KNOWN_NOTE, tell_known, ledger);
        return 0;
}

int ledger_new(sd_event *event, Lane *lane, Store *store, const Config *config, Ledger **ret_ledger,
               Failure *failure)
{
        CLEANUP(ledger_freep) Ledger *ledger = calloc(1, sizeof(*ledger));
        int r;

        if (!ledger)
                return fail(failure, -ENOMEM, "no memory for the audit log");

        ledger->store = store;
        ledger->waiting_end = &ledger->waiting;
        ledger->may_fail = config->audit_continue;
        r = string_set(&ledger->path, config->audit_log);
        if (r == 0)
                r = sd_event_add_time_relative(event, &ledger->timer, CLOCK_MONOTONIC, 0,
                                               ACCURACY_USEC, on_timer, ledger);
        if (r >= 0)
                r = sd_event_source_set_enabled(ledger->timer, SD_EVENT_OFF);
        if (r < 0)
                return fail(failure, r, "the audit log's timer cannot be made");

        r = open_audit(ledger, lane, config, failure);
        if (r != 0)
                return r;

        *ret_ledger = TAKE(ledger);
        return 0;
}

Ledger *ledger_free(Ledger *ledger)
{
        if (!ledger)
                return NULL;

        store_accompany(ledger->store, NULL, NULL, NULL);
        audit_free(ledger->audit);
        sd_event_source_unref(ledger->timer);
        free(ledger->path);
        free(ledger);
        return NULL;
}

/* Whoever comes after us knows the number, and need not say "at least". */
void ledger_flush(Ledger *ledger)
{
        const AuditLost *lost = audit_lost(ledger->audit);

        if (lost->n > 0)
                (void)put_lost(ledger, lost, true, on_noted);
        audit_sync(ledger->audit);
}

static void recall_lost(Ledger *ledger)
{
        const AuditLost *lost = &ledger->lost;

        if (lost->n == 0)
                return;
        log_error("audit log: %s%" PRIu64 " records could not be written before certbrokerd was "
                  "started again; its record `resume` says since when",
                  lost->is_at_least ? "at least " : "", lost->n);
        ledger->n_lost_noted = lost->n;
        audit_recall_lost(ledger->audit, lost);
        note_health(ledger);
}

void ledger_configure(Ledger *ledger, const Config *config)
{
        const AuditSettings settings = settings_of(config);

        ledger->may_fail = config->audit_continue;
        audit_configure(ledger->audit, &settings);
        if (ledger->is_watching)
                ledger->rollback[0] = '\0';
        if (!ledger->is_watching) {
                audit_watch_oldest(ledger->audit, &ledger->oldest);
                recall_lost(ledger);
        }
        ledger->is_watching = true;
        if (!string_equal(ledger->path, config->audit_log))
                log_warning("audit-log is %s from the next start on, and %s until then",
                            config->audit_log, ledger->path);
}

void ledger_observe(Ledger *ledger, void (*health)(void *userdata), void *userdata)
{
        ledger->health = health;
        ledger->health_userdata = userdata;
}

bool ledger_is_failing(const Ledger *ledger)
{
        return ledger->is_failing;
}

static void on_written(void *userdata, int r)
{
        Entry *entry = userdata;
        Ledger *ledger = entry->ledger;

        note_health(ledger);
        keep_lost(ledger);
        /* Without memory it is out of its turn, so it is no success even where the log may fail. */
        entry->r = ledger->may_fail && r != -ENOMEM ? 0 : r;
        if (!ledger->waiting &&
            (r == entry->r || (!ledger->is_forgetting &&
                               (ledger->n_lost_noted > 0 || ledger->n_lost_noting == 0)))) {
                answer(entry);
                return;
        }
        *ledger->waiting_end = entry;
        ledger->waiting_end = &entry->next;
}

void ledger_record(Ledger *ledger, const BusRecord *record, bus_recorded done, void *call)
{
        Entry *entry = malloc(sizeof(*entry));

        if (!entry) {
                audit_lose(ledger->audit);
                done(call, -ENOMEM);
                return;
        }
        *entry = (Entry){ NULL, ledger, done, call, 0 };
        audit_append(ledger->audit,
                     &(AuditRecord){
                             .event = record->event,
                             .uid = record->uid,
                             .pid = record->pid,
                             .unit = record->unit,
                             .object = record->object,
                             .generation = record->generation,
                             .algorithm = record->algorithm,
                             .grant = record->grant,
                             .certificate = record->certificate,
                             .forced = record->forced,
                             .is_disabled = record->is_disabled,
                             .is_enabled = record->is_enabled,
                             .result = record->result,
                             .sum = record->sum,
                     },
                     on_written, entry);
}

/* After a failure the log is tried with a record of its own, before anything is begun that needs one. */
int ledger_may_record(Ledger *ledger, Failure *failure)
{
        int r;

        if (ledger->may_fail || !audit_is_failing(ledger->audit))
                return 0;

        r = audit_try(ledger->audit);
        note_health(ledger);
        if (r == 0)
                return 0;
        return fail(failure, CB_FAILED,
                    "%s; nothing is done that it does not hold, unless audit-failure is "
                    "\"continue\"",
                    audit_problem(ledger->audit));
}

int ledger_open(Ledger *ledger, int *ret_fd, uint64_t *ret_seq, char ret_hash[THUMBPRINT_TEXT])
{
        int r = audit_open_reader(ledger->audit, ret_fd);

        if (r < 0)
                return r;
        *ret_seq = audit_head(ledger->audit)->seq;
        memcpy(ret_hash, audit_head(ledger->audit)->hash, THUMBPRINT_TEXT);
        return 0;
}

const char *ledger_problem(const Ledger *ledger)
{
        return audit_problem(ledger->audit);
}

uint64_t ledger_records(const Ledger *ledger)
{
        return audit_head(ledger->audit)->seq;
}

uint64_t ledger_lag(const Ledger *ledger)
{
        return audit_unsynced(ledger->audit);
}

uint64_t ledger_lost(const Ledger *ledger)
{
        return audit_lost(ledger->audit)->n;
}

static void ignore(void *userdata, int r)
{
        (void)userdata;
        (void)r;
}

int ledger_read_since(const Ledger *ledger, audit_past tell, void (*goes_on)(void), void *userdata)
{
        if (audit_head(ledger->audit)->seq <= ledger->seq_stored)
                return 0;
        return audit_read_since(ledger->audit, ledger->seq_stored, tell, goes_on, userdata);
}

void ledger_hold(Ledger *ledger)
{
        ledger->is_held = true;
}

void ledger_release(Ledger *ledger)
{
        ledger->is_held = false;
        if (ledger->synced.seq > 0)
                note(ledger, HEAD_NOTE, &ledger->synced);
}

void ledger_tell_rollback(Ledger *ledger, const char *text)
{
        char object[384];

        snprintf(object, sizeof(object), "store as of record %" PRIu64 "; %s", ledger->seq_stored,
                 text);
        snprintf(ledger->rollback, sizeof(ledger->rollback),
                 "the store is older than the audit log (restored, or lost): it knows of records up "
                 "to %" PRIu64 "; %s",
                 ledger->seq_stored, text);
        log_error("%s", ledger->rollback);
        audit_append(ledger->audit,
                     &(AuditRecord){ .event = AUDIT_EVENT_ROLLBACK,
                                     .object = object,
                                     .result = "Failed" },
                     ignore, NULL);
}

const char *ledger_rollback(const Ledger *ledger)
{
        return ledger->rollback;
}
