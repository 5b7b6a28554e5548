/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of a file of the audit log, by which its place in the chain is known. */
#pragma once

#include <stdbool.h>

#include "chain.h"

typedef struct LogEnds {
        bool has_record; /* near its beginning and its end; else nothing else is known */
        uint64_t seq_first, seq_last;
        uint8_t prev[HASH_LENGTH]; /* what its first record holds of the one before it */
        uint8_t hash[HASH_LENGTH]; /* of its last record */
} LogEnds;

/* It changes nothing, neither the file nor where it is read. */
void log_ends_read(int fd, uint64_t size, LogEnds *ret_ends);

/* Does the second file go on where the first one ends? */
bool log_ends_follow(const LogEnds *older, const LogEnds *newer);
