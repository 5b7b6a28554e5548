/* SPDX-License-Identifier: Apache-2.0 */
/* The files before the log's present one, found by the chain. Private to this room. */
#pragma once

#include <stddef.h>

#include "base/macro.h"

typedef struct Older {
        const char *path; /* of the present file; borrowed */
        char **names;     /* paths; the youngest first */
        size_t n;
} Older;

/*
 * Those that lead to the present file, each to the one after it, as far back as there are any;
 * FILE.N in any case. hash: of the last record that is known, for a present file that has none yet.
 * -ENOMEM; what cannot be read is not there.
 */
int older_find(const char *path, const char *hash, Older *ret_older);
void older_deinit(Older *older);

/* Number 0 is the present file. A descriptor for reading, the caller's, or -errno. */
int older_open(const Older *older, size_t number);
/* The number of the youngest file that begins with this record or before it; -ENOENT. */
int older_find_record(const Older *older, uint64_t seq);
