/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending to the chain. The invariant: each line in the file holds the hash of the line before it, whatever happened
 * in between, and no reply goes out whose line is not in the file. Writing is done on the loop (a line, into the page
 * cache); making it durable is the lane's.
 */
#include "broker/audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/directory.h"
#include "base/strings.h"
#include "base/write.h"
#include "broker/audit/begin.h"
#include "broker/audit/files.h"
#include "broker/audit/journal.h"
#include "broker/audit/record.h"
#include "broker/audit/room.h"
#include "broker/audit/tail.h"

#define SYNC_AGAIN_USEC  USEC_PER_SEC /* after a failed one */
#define SYNC_MEMORY_USEC (100 * USEC_PER_MSEC)

/*
 * One fsync on its way; the file may be rotated meanwhile, so it has a descriptor of its own. A file that was begun is
 * on the disk when its directory is, too.
 */
typedef struct Sync {
        Audit *audit;
        int fd;
        AuditHead head;
        char *path;      /* NULL: its name is on the disk */
        uint64_t n_file; /* which file that is */
} Sync;

/* What was written of a line that did not fit. Others may have written to the file, too: nothing of theirs. */
static int take_back(Audit *audit)
{
        struct stat status;

        if (fstat(audit->fd, &status) < 0)
                return -errno;
        if (ftruncate(audit->fd, status.st_size - (off_t)audit->n_torn) < 0)
                return -errno;
        audit->n_torn = 0;
        return 0;
}

/* Where that was not possible, as in a file that can only grow, the next line begins on a line of its own. */
static int mend_torn(Audit *audit)
{
        int r;

        if (audit->n_torn == 0 || take_back(audit) == 0)
                return 0;
        r = audit_end_line(audit);
        if (r < 0)
                return r;
        snprintf(audit->gap, sizeof(audit->gap),
                 "%s has half a line after record %llu that could not be taken back: run "
                 "`certbroker audit verify`",
                 audit->path, (unsigned long long)audit->head.seq);
        audit->n_torn = 0;
        return 0;
}

/* All or nothing. */
static int write_line(Audit *audit, char *line, size_t n)
{
        int r = mend_torn(audit);

        if (r < 0)
                return r;
        line[n] = '\n'; /* in place of the NUL: one write, one line */
        r = write_all(audit->fd, line, n + 1, &audit->n_torn);
        line[n] = '\0';
        if (r == 0)
                audit->n_torn = 0;
        else if (audit->n_torn > 0)
                (void)take_back(audit); /* else before the next line */
        return r;
}

int audit_append_line(Audit *audit, const AuditRecord *record)
{
        CLEANUP(freep) char *line = record_format(record, &audit->head);
        AuditHead head;
        size_t n;
        int r;

        if (!line)
                return -ENOMEM;

        n = strlen(line);
        head.seq = audit->head.seq + 1;
        r = audit_hash_line(line, n, head.hash);
        if (r < 0)
                return r;

        r = write_line(audit, line, n);
        if (r < 0)
                return r;

        audit->size += n + 1;
        audit->head = head;
        if (audit->journal)
                journal_send(audit->journal, &head, record);
        return 0;
}

/* --- durability --- */

static void start_sync(Audit *audit);

static void plan_sync(Audit *audit, uint64_t in_usec)
{
        if (audit->sync_planned || !audit->events.sync_in)
                return;

        audit->sync_planned = true;
        audit->events.sync_in(audit->userdata, in_usec);
}

static int sync_on_lane(void *userdata)
{
        Sync *sync = userdata;
        int r = fdatasync(sync->fd) < 0 ? -errno : 0;

        if (r == 0 && sync->path)
                r = directory_sync_of(sync->path);
        return r == -EACCES ? 0 : r; /* a directory that one may write to and not list */
}

static Sync *sync_free(Sync *sync)
{
        if (!sync)
                return NULL;
        close_fd(sync->fd);
        free(sync->path);
        free(sync);
        return NULL;
}
DEFINE_CLEANUP(Sync, sync_free)

static int sync_new(Audit *audit, Sync **ret_sync)
{
        CLEANUP(sync_freep) Sync *sync = calloc(1, sizeof(*sync));

        if (!sync)
                return -ENOMEM;
        *sync = (Sync){ audit, fcntl(audit->fd, F_DUPFD_CLOEXEC, 3), audit->head, NULL, audit->n_files };
        if (sync->fd < 0)
                return -errno;
        if (audit->is_name_unsynced && string_set(&sync->path, audit->path) < 0)
                return -ENOMEM;
        *ret_sync = TAKE(sync);
        return 0;
}

static void answer_waiters(Audit *audit, uint64_t seq, int r)
{
        while (audit->waiters && audit->waiters->seq <= seq) {
                Waiter *waiter = audit->waiters;

                audit->waiters = waiter->next;
                if (!audit->waiters)
                        audit->waiters_end = &audit->waiters;
                waiter->done(waiter->userdata, waiter->r < 0 ? waiter->r : r);
                free(waiter);
        }
}

/* A sync that succeeds says nothing of what an earlier one failed on: the kernel gives up such pages. */
static void append_unsure(Audit *audit)
{
        const AuditSpan unsure = audit->unsure;
        char object[96];

        if (unsure.last == 0)
                return;

        snprintf(object, sizeof(object), "%llu to %llu may be missing on the disk",
                 (unsigned long long)unsure.first, (unsigned long long)unsure.last);
        if (audit_append_line(audit, &(AuditRecord){ .event = AUDIT_EVENT_RESUME,
                                               .object = object,
                                               .result = "Failed" }) == 0)
                audit->unsure = (AuditSpan){ 0 };
        plan_sync(audit, audit->sync_usec);
}

static void note_synced(Audit *audit, const AuditHead *head)
{
        audit->seq_synced = head->seq;
        audit->sync_problem[0] = '\0';
        append_unsure(audit);
        if (audit->events.synced)
                audit->events.synced(audit->userdata, head);
}

static void note_sync_failed(Audit *audit, const AuditHead *head, int r)
{
        if (audit->unsure.last == 0)
                audit->unsure.first = audit->seq_synced + 1;
        audit->unsure.last = head->seq;
        snprintf(audit->sync_problem, sizeof(audit->sync_problem),
                 "%s cannot be made durable: %s; %s", audit->path, strerror(-r), remedy_of(-r));
        if (audit->events.sync_failed)
                audit->events.sync_failed(audit->userdata);
        plan_sync(audit, SYNC_AGAIN_USEC);
}

static void on_synced(void *userdata, int r)
{
        CLEANUP(sync_freep) Sync *sync = userdata;
        Audit *audit = sync->audit;

        audit->is_syncing = false;
        if (r == 0 && sync->path && sync->n_file == audit->n_files)
                audit->is_name_unsynced = false;
        if (r == 0)
                note_synced(audit, &sync->head);
        else
                note_sync_failed(audit, &sync->head, r);
        answer_waiters(audit, sync->head.seq, r);

        if (audit->sync_again) {
                audit->sync_again = false;
                start_sync(audit);
        }
}

/* The lane has one worker, which takes what it is given in order: more than one may be on its way. */
static int submit_sync(Audit *audit)
{
        CLEANUP(sync_freep) Sync *sync = NULL;
        int r = sync_new(audit, &sync);

        if (r == 0)
                r = lane_submit(audit->lane, sync_on_lane, on_synced, sync);
        if (r < 0) {
                plan_sync(audit, SYNC_MEMORY_USEC);
                return r;
        }
        (void)TAKE(sync);
        audit->is_syncing = true;
        return 0;
}

static void start_sync(Audit *audit)
{
        if (audit->is_syncing)
                audit->sync_again = true;
        else
                (void)submit_sync(audit);
}

void audit_sync(Audit *audit)
{
        audit->sync_planned = false;
        if (audit->seq_synced < audit->head.seq)
                start_sync(audit);
}

/* Behind those that wait, whatever became of the record itself. */
static void wait_for_disk(Audit *audit, Waiter *waiter)
{
        *audit->waiters_end = waiter;
        audit->waiters_end = &waiter->next;
        start_sync(audit);
}

/*
 * What is in the old file yet: another sync on its way began before it, and later ones are of the new file. Where there is
 * no room for one more it is not waited for here: a disk that stalls is what makes that so.
 */
void audit_leave_file(Audit *audit)
{
        int r = submit_sync(audit);

        if (r < 0) {
                note_sync_failed(audit, &audit->head, r);
                answer_waiters(audit, audit->head.seq, r);
        }
        audit->fd = close_fd(audit->fd);
}

/* --- the door --- */

void audit_ignore(void *userdata, int r)
{
        (void)userdata;
        (void)r;
}

/* The first record after one that was lost says how many were. */
static int append_resume(Audit *audit)
{
        char object[96], since[RECORD_TIME_TEXT];
        int r;

        if (audit->lost.n == 0)
                return 0;

        record_time(audit->lost.since_usec, since);
        snprintf(object, sizeof(object), "%s%llu lost since %s",
                 audit->lost.is_at_least ? "at least " : "", (unsigned long long)audit->lost.n,
                 since);
        r = audit_append_line(
                audit,
                &(AuditRecord){ .event = AUDIT_EVENT_RESUME, .object = object, .result = "ok" });
        if (r < 0)
                return r;
        audit->lost = (AuditLost){ 0 };
        audit->seq_resumed = audit->head.seq;
        return 0;
}

void audit_lose(Audit *audit)
{
        if (audit->lost.n++ == 0)
                audit->lost.since_usec = clock_realtime_usec();
}

/* record NULL: nothing but what has to be said of those before. */
static int append(Audit *audit, const AuditRecord *record)
{
        int r = mend_torn(audit);

        if (r == 0 && !files_is_at(audit))
                r = files_begin_anew(audit);
        else if (r == 0 && audit->size >= audit->max_size)
                r = files_rotate(audit);
        if (r == 0)
                r = files_append_moved(audit);
        if (r == 0)
                r = append_resume(audit);
        if (r == 0 && record)
                r = audit_append_line(audit, record);
        if (r == 0)
                audit->write_problem[0] = '\0';
        else
                snprintf(audit->write_problem, sizeof(audit->write_problem),
                         "%s cannot be written: %s; %s", audit->path, strerror(-r), remedy_of(-r));
        return r;
}

/*
 * Replies go out in the order of their records: one that could go at once waits behind those that wait for the disk. So a
 * signature that was recorded before its key was retired goes out before the answer that it is retired, or not at all.
 */
void audit_append(Audit *audit, const AuditRecord *record, audit_done done, void *userdata)
{
        bool may_wait = audit->sync_usec == 0 || audit->waiters;
        Waiter *waiter = may_wait ? calloc(1, sizeof(*waiter)) : NULL;
        int r = may_wait && !waiter ? -ENOMEM : append(audit, record);

        if (r < 0)
                audit_lose(audit);
        else if (audit->sync_usec != 0)
                plan_sync(audit, audit->sync_usec);

        if (waiter && (r == 0 || audit->waiters)) {
                *waiter = (Waiter){ NULL, audit->head.seq, r, done, userdata };
                wait_for_disk(audit, waiter);
                return;
        }
        free(waiter);
        done(userdata, r);
}

int audit_try(Audit *audit)
{
        int r = append(audit, NULL);

        if (r == 0)
                plan_sync(audit, audit->sync_usec);
        return r == 0 && audit->sync_problem[0] ? -EIO : r;
}

bool audit_is_failing(const Audit *audit)
{
        return audit->write_problem[0] || audit->sync_problem[0];
}

void audit_configure(Audit *audit, const AuditSettings *settings)
{
        audit->max_size = settings->max_size;
        audit->sync_usec = settings->sync_usec;
        audit->loss[0] = '\0'; /* whoever reloads has been told */
        if (!files_is_at(audit))
                (void)audit_try(audit);
        if (audit->oldest.seq != 0)
                oldest_check(audit);
}

int audit_open(const AuditSettings *settings, const AuditHead *expected, Lane *lane,
               const AuditEvents *events, void *userdata, Audit **ret_audit, Failure *failure)
{
        CLEANUP(audit_freep) Audit *audit = calloc(1, sizeof(*audit));
        int r;

        if (!audit)
                return fail(failure, -ENOMEM, "no memory for the audit log");

        *audit = (Audit){
                .max_size = settings->max_size,
                .sync_usec = settings->sync_usec,
                .lane = lane,
                .events = *events,
                .userdata = userdata,
                .fd = -1,
        };
        audit->waiters_end = &audit->waiters;
        memset(audit->head.hash, '0', 2 * SHA256_LENGTH);
        if (string_set(&audit->path, settings->path) < 0)
                return fail(failure, -ENOMEM, "no memory for the audit log");
        if (settings->journal)
                (void)journal_new(settings->journal, &audit->journal); /* it is only a copy */

        r = files_open(audit);
        if (r == 0)
                r = begin_take_up(audit, expected);
        if (r < 0)
                return fail(
                        failure, CB_FAILED,
                        "audit log %s cannot be opened: %s; %s", settings->path, strerror(-r),
                        remedy_of(-r));

        /* What was found there may be in the page cache alone. */
        if (audit->seq_synced < audit->head.seq)
                plan_sync(audit, MAX(audit->sync_usec, SYNC_MEMORY_USEC));
        *ret_audit = TAKE(audit);
        return 0;
}

Audit *audit_free(Audit *audit)
{
        if (!audit)
                return NULL;

        if (audit->fd >= 0)
                (void)fdatasync(audit->fd);
        if (audit->fd >= 0 && audit->is_name_unsynced)
                (void)directory_sync_of(audit->path);
        close_fd(audit->fd);
        journal_free(audit->journal);
        free(audit->path);
        free(audit);
        return NULL;
}

void audit_recall_lost(Audit *audit, const AuditLost *lost)
{
        audit->lost.since_usec = audit->lost.n == 0 ? lost->since_usec
                                                    : MIN(audit->lost.since_usec, lost->since_usec);
        audit->lost.n += lost->n;
        audit->lost.is_at_least = audit->lost.is_at_least || lost->is_at_least;
        (void)audit_try(audit);
}

const AuditLost *audit_lost(const Audit *audit)
{
        return &audit->lost;
}

uint64_t audit_resumed_at(const Audit *audit)
{
        return audit->seq_resumed;
}

const AuditHead *audit_head(const Audit *audit)
{
        return &audit->head;
}

const char *audit_problem(const Audit *audit)
{
        if (audit->write_problem[0])
                return audit->write_problem;
        if (audit->sync_problem[0])
                return audit->sync_problem;
        return audit->gap[0] ? audit->gap : audit->loss;
}

uint64_t audit_unsynced(const Audit *audit)
{
        return audit->head.seq - audit->seq_synced;
}

int audit_open_reader(Audit *audit, int *ret_fd)
{
        int fd;

        if (!files_is_at(audit))
                (void)audit_try(audit);
        fd = open(audit->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}
