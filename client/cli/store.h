/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's store, from beside it: where its audit log ended, and a copy of it. */
#pragma once

#include "cli.h"

/* Of DIRECTORY/certbroker.sqlite; it needs no daemon. ret_hash holds 65. CB_FAILED: there is none. */
int store_read_audit_head(Cli *cli, const char *directory, uint64_t *ret_seq, char *ret_hash);

/* How many records were lost that the log does not tell of yet; 0 where nobody knows. */
uint64_t store_read_lost(const char *directory);

/* Copies it to `file` while the daemon goes on writing; `file` appears whole or not at all, with mode 0600. */
int store_copy(Cli *cli, const char *directory, const char *file, uint64_t *ret_n_bytes);
