/* SPDX-License-Identifier: Apache-2.0 */
/* The form of a record in the file. Private to this room. */
#pragma once

#include "broker/audit/audit.h"

/* The line, without its newline, of the record that comes after `before`. The caller's; NULL: no memory. */
char *record_format(const AuditRecord *record, const AuditHead *before);
