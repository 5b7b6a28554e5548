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

typedef enum SecretNeed {
        SECRET_NONE,  /* there is nothing to unlock: nobody is asked */
        SECRET_MAYBE, /* it may be empty, and is where nobody can be asked */
        SECRET_ONCE,
        SECRET_TWICE, /* asked for again, since nothing can check it */
} SecretNeed;

/*
 * The secret of --passphrase-file; else, as the need is, what is typed at the terminal after `what` and a
 * colon, or the empty one. The caller closes the memfd.
 */
int secret_open(Cli *cli, const char *what, SecretNeed need, int *ret_fd);
/* The same by another option than --passphrase-file. */
int secret_open_option(Cli *cli, const char *option, const char *what, SecretNeed need, int *ret_fd);
/* One that nobody has chosen, of SECRET_MADE hexadecimal digits. */
#define SECRET_MADE 32
int secret_make(Cli *cli, int *ret_fd);
/* Where a secret is needed and there is neither file nor terminal: says so, as CLI_USAGE. */
int secret_missing(Cli *cli, const char *what);
/* There is no --passphrase-file, and nobody who could be asked. */
bool secret_is_out_of_reach(const Cli *cli);
