/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of this package that answer with one JSON document on standard output. */
#pragma once

#include <pwd.h>

#include "cli.h"

typedef struct json_t json_t; /* jansson's */

/*
 * Its path, from where this program itself is (who could put a file there could replace this program), else where it was to be
 * installed. The caller frees it.
 */
int companion_find(Cli *cli, const char *name, char **ret_path);

typedef struct Companion {
        char *const *argv;
        char *const *environment;
        const char *input;       /* text for its standard input, small; NULL: none */
        const struct passwd *as; /* NULL: our own user */
        unsigned n_seconds;      /* then it is ended by SIGALRM; 0: never */
} Companion;

/*
 * What it answered, the caller's to json_decref(), or NULL where that was no JSON; and its wait status. Its standard error is
 * ours, where it is of our own user; else it has neither that nor our terminal. Fails where it cannot be run.
 */
int companion_ask(Cli *cli, const Companion *companion, json_t **ret_answer, int *ret_status);
