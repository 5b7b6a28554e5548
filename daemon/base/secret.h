/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secret: bytes in memory that is locked, left out of core dumps and of forked children, and wiped when
 * freed. Only a source's process and the CLI ever make one; the broker never does.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/failure.h"
#include "base/macro.h"
#include "base/trusted.h"

typedef struct Secret Secret;

/* n_max bytes of room. -EPERM or -ENOMEM where the memory cannot be locked. */
int secret_new(size_t n_max, Secret **ret_secret);
Secret *secret_free(Secret *secret);
uint8_t *secret_data(Secret *secret);
size_t secret_length(const Secret *secret);
size_t secret_room(const Secret *secret);
void secret_set_length(Secret *secret, size_t n); /* the byte after is always NUL */
void secret_chomp(Secret *secret);                /* drops one trailing newline (\n or \r\n) */

/*
 * Reads a descriptor to its end within timeout_usec: a regular file, a memfd or a pipe, else
 * -EINVAL; more than n_max: -EFBIG; no end in time: -ETIMEDOUT.
 */
int secret_read_fd(int fd, size_t n_max, uint64_t timeout_usec, Secret **ret_secret);
/*
 * Reads a file that only root and we can change. TRUSTED_SECRET: and that no others may read.
 * CB_INVALID_ARGUMENT: it is none; why, and what to do, is in failure.
 */
int secret_read_file(const char *path, TrustedKind kind, size_t n_max, Secret **ret_secret,
                     Failure *failure);
/* The same of a file of another service's, which says who may write it: -EPERM unless it is a regular one. */
int secret_read_foreign_file(const char *path, size_t n_max, Secret **ret_secret);
DEFINE_CLEANUP(Secret, secret_free)

/* No core dumps, no ptrace by the same user, no new privileges: for every process that has secrets. */
int secret_harden_process(void);
