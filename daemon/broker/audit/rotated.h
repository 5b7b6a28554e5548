/* SPDX-License-Identifier: Apache-2.0 */
/* The log's older files, PATH.1 the youngest of them. Private to this room. */
#pragma once

/* The last of those that are there without a hole; 0: none. -ENOMEM. */
int rotated_last(const char *path);
int rotated_path(const char *path, unsigned number, char **ret_path);
/* All move up by one, so that there is no .1. */
int rotated_make_room(const char *path);
