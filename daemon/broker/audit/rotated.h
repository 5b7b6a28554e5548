/* SPDX-License-Identifier: Apache-2.0 */
/* The names that the log's older files get, PATH.1 the youngest of them. Private to this room. */
#pragma once

int rotated_path(const char *path, unsigned number, char **ret_path);
/* All move up by one, so that there is no .1; where that fails, all are where they were, as far as can be. */
int rotated_make_room(const char *path);
/* What was broken off on its way there leaves one number free, and the older files unseen: they move down again. */
int rotated_close_hole(const char *path);
