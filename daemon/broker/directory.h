/* SPDX-License-Identifier: Apache-2.0 */
/* The directories that certbrokerd needs, made and tightened at start. */
#pragma once

#include <sys/types.h>

#include "base/failure.h"

/*
 * Makes the directory, and those above it, where they are missing; what is there must be a directory of
 * ours. mode: what it has afterwards.
 */
int directory_prepare(const char *path, mode_t mode, Failure *failure);

/*
 * One broker to a directory: CB_ALREADY_EXISTS while another has it. The lock is on a file in it that nobody else can
 * open: one on the directory itself could be taken by whoever may enter it, or once could. It goes with the descriptor.
 */
int directory_lock(const char *path, const char *name, int *ret_fd, Failure *failure);

typedef struct DirectoryLocks {
        int state_fd, runtime_fd;
} DirectoryLocks;
#define NO_LOCKS ((DirectoryLocks){ -1, -1 })
void locks_deinit(DirectoryLocks *locks);

/* State: ours alone. Runtime: to be entered by everybody, for the channel is in it. Both are locked. */
int directories_prepare(const char *state, const char *runtime, DirectoryLocks *ret_locks,
                        Failure *failure);
