/* SPDX-License-Identifier: Apache-2.0 */
/* Which file the log is written to. Private to this room. */
#pragma once

#include <stdbool.h>

#include "broker/audit/room.h"

/* The file at the log's path, made where there is none, is the one that is written from now on. -errno: as before. */
int files_open(Audit *audit);
/* Does the path still lead to it? */
bool files_is_at(const Audit *audit);
/* It does not: the file that is there, or a new one, and a word in the log (files_append_moved). */
int files_begin_anew(Audit *audit);
/* It is full: renamed, and a new one is begun. */
int files_rotate(Audit *audit);
/* The record of a file that was moved away or removed, where it is not written yet. */
int files_append_moved(Audit *audit);
