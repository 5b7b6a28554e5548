/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to a person at the terminal. */
#pragma once

#include "cli.h"

/* Is there somebody to ask? */
bool prompt_can(void);
/*
 * A line: what was typed after `question`, or, where that is empty, `fallback` (NULL: it is asked again). The caller frees it.
 * CLI_USAGE at the end of the input.
 */
int prompt_line(Cli *cli, const char *question, const char *fallback, char **ret_answer);

typedef struct Choice {
        const char *word; /* what is chosen */
        char *text;       /* what it is to a person; NULL: nothing to say */
} Choice;

/* One of them, by number or word. */
int prompt_choice(Cli *cli, const char *question, const Choice *choices, size_t n,
                  const Choice **ret_choice);
/* yes is the answer to nothing typed. */
int prompt_yes(Cli *cli, const char *question, bool yes, bool *ret_answer);
