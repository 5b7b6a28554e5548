/* SPDX-License-Identifier: Apache-2.0 */
/* Files whose content decides something: only who is trusted with that can have changed them. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * For reading. It is root's, ours or that of `owner`, a daemon's user, and nobody else may write to it
 * or to a folder on the way. -errno; 1: others could have changed it, and why[] says which file or
 * folder, and the command that mends it.
 */
int believed_open(const char *path, uid_t owner, int *ret_fd, char *why, size_t n_why);
