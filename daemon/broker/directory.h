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

/* One broker to a directory: CB_ALREADY_EXISTS while another has it. The lock goes with the descriptor. */
int directory_lock(const char *path, int *ret_fd, Failure *failure);

/* State: ours alone, and locked. Runtime: to be entered by everybody, for the channel is in it. */
int directories_prepare(const char *state, const char *runtime, int *ret_lock_fd, Failure *failure);
