/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a log that is found is taken up. The store may be some records behind it, never before it; a rotation may have come in
 * between, so that they are in several files, the last of which may be empty. The invariant: the next record goes on from
 * the last that is there, no number is used twice, and what does not fit is said, in the chain itself.
 */
#include "broker/audit/begin.h"

#include <errno.h>
#include <stdio.h>

#include "broker/audit/files.h"
#include "broker/audit/older.h"
#include "broker/audit/rotated.h"
#include "broker/audit/tail.h"

static void report_gap(Audit *audit, const AuditHead *expected, const AuditTail *tail)
{
        char object[160];

        snprintf(audit->gap, sizeof(audit->gap),
                 "%s does not go on from record %llu, which the store has as its last: it was %s; "
                 "run `certbroker audit verify`",
                 audit->path, (unsigned long long)expected->seq,
                 tail->torn ? "torn by a crash or edited" : "cut, replaced or edited");
        snprintf(object, sizeof(object), "expected %llu %s", (unsigned long long)expected->seq,
                 expected->hash);
        audit_append(
                audit,
                &(AuditRecord){ .event = AUDIT_EVENT_GAP, .object = object, .result = "Failed" },
                audit_ignore, NULL);
}

/* From the file in which that record is to be. An empty one goes on from the one before it in any case. */
static int read_end(const Audit *audit, const AuditHead *expected, AuditTail *ret_tail)
{
        CLEANUP(older_deinit) Older older = { 0 };
        int r = older_find(audit->path, expected->hash, &older), first;

        if (r < 0)
                return r;
        first = older_find_record(&older, expected->seq);
        if (first < 0)
                first = audit->size == 0 && older.n > 0;
        audit_tail_init(ret_tail, expected);
        for (int i = first; r == 0 && i >= 0; i--) {
                CLEANUP(closep) int fd = older_open(&older, (size_t)i);

                r = fd < 0 ? fd : audit_tail_read(fd, expected, ret_tail);
        }
        return r;
}

int begin_take_up(Audit *audit, const AuditHead *expected)
{
        AuditTail tail;
        int r;

        (void)rotated_close_hole(audit->path); /* else with the next rotation */
        r = read_end(audit, expected, &tail);
        if (r == 0 && tail.torn)
                r = audit_end_line(audit);
        if (r < 0)
                return r;
        audit->head = tail.head.seq == 0 ? *expected : tail.head;
        audit->seq_synced = MIN(expected->seq, audit->head.seq);
        if (tail.has_expected && !tail.torn)
                return 0;

        audit->head.seq = MAX(tail.head.seq, expected->seq); /* no number is used twice */
        report_gap(audit, expected, &tail);
        return 0;
}
