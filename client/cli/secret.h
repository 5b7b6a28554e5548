/* SPDX-License-Identifier: Apache-2.0 */
/* Passphrases and PINs: from a file or the terminal, on to the broker as a sealed memfd. */
#pragma once

#include "cli.h"

/* The option of every verb that takes a secret. */
#define OPTION_PASSPHRASE                                                                          \
        {                                                                                          \
                "--passphrase-file", "FILE",                                                       \
                        "the secret is in FILE, or `-`: on standard input; else it is asked for "  \
                        "on the "                                                                  \
                        "terminal",                                                                \
                        false, false                                                               \
        }

/*
 * The secret of --passphrase-file; else, if wanted, what is typed at the terminal after `prompt`;
 * else the empty one. twice: it is asked for again, since nothing can check it. The caller closes
 * the memfd.
 */
int secret_open(Cli *cli, const char *prompt, bool wanted, bool twice, int *ret_fd);
