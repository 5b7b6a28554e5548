/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's copy of the audit log: each record as one entry with fields of its own. Private to this room. */
#pragma once

#include "broker/audit/audit.h"

typedef struct Journal Journal;

/* path: its socket, which need not be there, now or ever. -EINVAL: too long for one; -errno. */
int journal_new(const char *path, Journal **ret_journal);
Journal *journal_free(Journal *journal);
DEFINE_CLEANUP(Journal, journal_free)

/* `head`: the record's number and its line's hash. An entry that cannot be handed over at once is dropped. */
void journal_send(Journal *journal, const AuditHead *head, const AuditRecord *record);
