/* SPDX-License-Identifier: Apache-2.0 */
/* Files that verbs read and write. */
#pragma once

#include <sys/types.h>

#include "cli.h"

/* For reading; "-" is standard input. The caller closes it, standard input too. */
int file_open(Cli *cli, const char *name, int *ret_fd);
/* A copy of it for the broker (handover.h). The caller closes it. */
int file_copy(Cli *cli, const char *name, int *ret_fd);
/* For reading, if nobody but root and `owner` can have changed it, whoever asks. */
int file_open_of(Cli *cli, const char *name, uid_t owner, int *ret_fd);

/*
 * Writes it to what --output names: a file, with this mode, made anew and never seen half-written;
 * or a descriptor that this program was started with, the null device or its terminal. Without
 * --output, to standard output.
 */
int file_put(Cli *cli, const void *data, size_t n, mode_t mode);
/* Is it a file? Else nothing more may be said on standard output. */
bool file_is_output(const Cli *cli);
