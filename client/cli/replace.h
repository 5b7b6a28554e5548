/* SPDX-License-Identifier: Apache-2.0 */
/* Several files replaced together. */
#pragma once

#include <stddef.h>

typedef struct NewFile {
        const char *path, *text;
} NewFile;

/*
 * Each is written beside its place and made durable first, and only then all are renamed into place, one after
 * the other: whoever reads one sees the old or the new one, whole. With mode 0644: there is no secret in them.
 * 0 or -errno, with the file that failed in ret_failed.
 */
int files_replace(const NewFile *files, size_t n_files, const char **ret_failed);

#define REPLACE_MAX 3
