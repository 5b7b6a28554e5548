/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of an audit log: the last records, read backwards within a bound, and the first of a file. */
#pragma once

#include <stdbool.h>

#include "broker/audit/audit.h"

typedef struct AuditTail {
        AuditHead head;    /* of the last whole line; seq 0: no line that is a record */
        bool has_expected; /* the expected head was met on the way, with an unbroken chain after it */
        bool torn;         /* bytes after the last newline */
} AuditTail;

void audit_tail_init(AuditTail *tail, const AuditHead *expected);
/* Of a file the last 16 MiB at most; of several the older one first. What was found before an error stays. */
int audit_tail_read(int fd, const AuditHead *expected, AuditTail *tail);

/* The number of the first record, and what it holds of the one before it. -EBADMSG: it begins with no record. */
int audit_first_read(int fd, AuditHead *ret_first);

/* Likewise where the file begins with something else; and the last whole one, with its line's hash. */
int audit_first_find(int fd, AuditHead *ret_first);
int audit_last_find(int fd, AuditHead *ret_last);

/* SHA-256 of a line without its newline, in lower-case hex. ret_hash holds 2 * SHA256_LENGTH + 1. */
int audit_hash_line(const char *line, size_t n, char *ret_hash);
