/* SPDX-License-Identifier: Apache-2.0 */
/* Directories. */
#pragma once

/* What was made, renamed or removed at this path is so on the disk when it returns 0. -errno. */
int directory_sync_of(const char *path);
