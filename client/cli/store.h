/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's store, from beside it: where its audit log ended, and a copy of it. */
#pragma once

#include "cli.h"

/* Of DIRECTORY/certbroker.sqlite; it needs no daemon. ret_hash holds 65. CB_FAILED: there is none. */
int store_read_audit_head(Cli *cli, const char *directory, uint64_t *ret_seq, char *ret_hash);

/* How many records were lost that the log does not tell of yet; 0 where nobody knows. */
uint64_t store_read_lost(const char *directory);

/* A copy of a store, whole and in memory. */
typedef struct StoreCopy StoreCopy;
/* For the store in DIRECTORY: its owner's and root's, and nobody else's. */
int store_load(Cli *cli, const char *file, const char *directory, StoreCopy **ret_copy);
StoreCopy *store_copy_free(StoreCopy *copy);
DEFINE_CLEANUP(StoreCopy *, store_copy_free)
/* Where its audit log ended, or a moment before; 0: it knows of none. */
uint64_t store_copy_audit_seq(const StoreCopy *copy);
/* Held, no certbrokerd starts there, and it is made where none ever has; CB_IN_USE: one runs. */
int store_lock(Cli *cli, const char *directory, int *ret_fd);
/* In place of the store in DIRECTORY. What was there gets another name, which is *ret_aside; NULL: there was none. */
int store_put(Cli *cli, const StoreCopy *copy, const char *directory, char **ret_aside);

/* Copies it to `file` while the daemon goes on writing; `file` appears whole or not at all, with mode 0600. */
int store_copy(Cli *cli, const char *directory, const char *file, uint64_t *ret_n_bytes);
