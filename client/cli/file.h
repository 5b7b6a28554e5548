/* SPDX-License-Identifier: Apache-2.0 */
/* Files that verbs read and write. */
#pragma once

#include <sys/types.h>

#include "cli.h"

/* For reading; "-" is standard input. The caller closes it, standard input too. */
int file_open(Cli *cli, const char *name, int *ret_fd);

/*
 * Writes it to the file of --output with this mode (a file that is there is replaced as a whole: it
 * is never seen half-written), or to standard output.
 */
int file_put(Cli *cli, const void *data, size_t n, mode_t mode);
