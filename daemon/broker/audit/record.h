/* SPDX-License-Identifier: Apache-2.0 */
/* The form of a record in the file. Private to this room. */
#pragma once

#include "broker/audit/audit.h"

/* RFC 3339, UTC. */
#define RECORD_TIME_TEXT 48
void record_time(uint64_t usec, char ret_text[RECORD_TIME_TEXT]);
/* The line, without its newline, of the record that comes after `before`. The caller's; NULL: no memory. */
char *record_format(const AuditRecord *record, const AuditHead *before);
