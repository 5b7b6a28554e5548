/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an audit log, read backwards within a bound. */
#pragma once

#include <stdbool.h>

#include "broker/audit/audit.h"

typedef struct AuditTail {
        AuditHead head;    /* of the last whole line; seq 0: no line that is a record */
        bool has_expected; /* the expected head was met on the way, with an unbroken chain after it */
        bool torn;         /* bytes after the last newline */
} AuditTail;

/* The last 16 MiB at most. */
int audit_tail_read(int fd, const AuditHead *expected, AuditTail *ret_tail);

/* SHA-256 of a line without its newline, in lower-case hex. ret_hash holds 2 * SHA256_LENGTH + 1. */
int audit_hash_line(const char *line, size_t n, char *ret_hash);
