/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The oldest record that is kept. The store has it, so that older files that are taken away, cut or replaced show. The
 * invariant: each loss is noted in the chain itself, once. What has gone is neither looked for nor brought back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/strings.h"
#include "broker/audit/older.h"
#include "broker/audit/room.h"
#include "broker/audit/tail.h"

/* Of the oldest file there is; where there is nothing yet, what the next record will be. */
static int find_oldest(const Audit *audit, AuditHead *ret_oldest)
{
        CLEANUP(older_deinit) Older older = { 0 };
        CLEANUP(closep) int fd = -1;
        int r = older_find(audit->path, audit->head.hash, &older);

        if (r < 0)
                return r;
        if (older.n == 0 && audit->size == 0) {
                *ret_oldest = (AuditHead){ .seq = audit->head.seq + 1 };
                memcpy(ret_oldest->hash, audit->head.hash, sizeof(ret_oldest->hash));
                return 0;
        }
        fd = older_open(&older, older.n);
        return fd < 0 ? fd : audit_first_read(fd, ret_oldest);
}

static void keep_oldest(Audit *audit, const AuditHead *oldest, bool is_loss)
{
        audit->oldest = *oldest;
        if (audit->events.oldest)
                audit->events.oldest(audit->userdata, oldest, is_loss);
}

/* Noted in the chain itself, once; the store follows, so that the next loss shows as well. */
static void report_loss(Audit *audit, const AuditHead *found)
{
        const AuditHead expected = audit->oldest;
        char object[224];

        snprintf(audit->loss, sizeof(audit->loss),
                 "the oldest record of %s was %llu and is %llu now: older files were taken away, "
                 "compressed, cut or replaced; run `certbroker audit verify`",
                 audit->path, (unsigned long long)expected.seq, (unsigned long long)found->seq);
        snprintf(object, sizeof(object), "oldest %llu %s, expected %llu %s",
                 (unsigned long long)found->seq, found->hash, (unsigned long long)expected.seq,
                 expected.hash);
        keep_oldest(audit, found, true); /* before the record, which may rotate and look again */
        audit_append(audit,
                     &(AuditRecord){
                             .event = AUDIT_EVENT_REMOVED, .object = object, .result = "Failed" },
                     audit_ignore, NULL);
}

/* Overwritten or cut: it has a name, and no record. */
static void report_unreadable(Audit *audit)
{
        char object[160];

        if (audit->loss[0])
                return;
        snprintf(audit->loss, sizeof(audit->loss),
                 "the oldest file of %s does not begin with a record, and began with %llu: it was "
                 "cut or replaced; run `certbroker audit verify`",
                 audit->path, (unsigned long long)audit->oldest.seq);
        snprintf(object, sizeof(object), "oldest unreadable, expected %llu %s",
                 (unsigned long long)audit->oldest.seq, audit->oldest.hash);
        if (audit->events.oldest)
                audit->events.oldest(audit->userdata, &audit->oldest, true);
        audit_append(audit,
                     &(AuditRecord){
                             .event = AUDIT_EVENT_REMOVED, .object = object, .result = "Failed" },
                     audit_ignore, NULL);
}

void oldest_check(Audit *audit)
{
        AuditHead found;
        int r;

        r = find_oldest(audit, &found);
        if (r == -EBADMSG && audit->oldest.seq != 0)
                report_unreadable(audit);
        if (r < 0)
                return; /* what cannot be opened now is looked at again; verify reads it anyway */
        if (found.seq == audit->oldest.seq && strcmp(found.hash, audit->oldest.hash) == 0)
                return;
        if (audit->oldest.seq == 0 || found.seq < audit->oldest.seq)
                keep_oldest(audit, &found, false); /* new, or older files were put back */
        else
                report_loss(audit, &found);
}

void audit_watch_oldest(Audit *audit, const AuditHead *stored)
{
        audit->oldest = *stored;
        oldest_check(audit);
}
