/* SPDX-License-Identifier: Apache-2.0 */
/* Where the chain goes on at a start. Private to this room. */
#pragma once

#include "broker/audit/room.h"

/* From the end of the files, held against what the store has as the last record; what does not fit is a record `gap`. */
int begin_take_up(Audit *audit, const AuditHead *expected);
