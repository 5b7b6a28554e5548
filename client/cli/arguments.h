/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, by tables: nouns, their verbs, and what each verb takes. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct Cli Cli;
typedef struct Arguments Arguments;

typedef struct Option {
        const char *name;  /* "--source" */
        const char *value; /* what it takes, as the help calls it; NULL: nothing */
        const char *help;
        bool required, repeats;
} Option;

/* More than certbrokerd takes of any: so it is what says how many it takes. */
#define OPTIONS_MAX     1100
#define POSITIONALS_MAX 4

typedef struct Verb {
        const char *name;
        const char *positionals[POSITIONALS_MAX]; /* as the help calls them; all are needed */
        const Option *options;                    /* ends with a name of NULL; or NULL */
        int (*run)(Cli *cli, const Arguments *arguments);
        const char *summary; /* one line */
        const char *text;    /* what a newcomer needs to know */
        const char *example; /* lines to copy */
} Verb;

typedef struct Noun {
        const char *name;
        const Verb
                *verbs; /* ends with a run of NULL; a noun that is its own verb has one, named "" */
        const char *summary;
        const char *text;
} Noun;

/* What was given. Everything is borrowed from argv. */
struct Arguments {
        const char *bus;
        bool json, help;
        const Noun *noun;
        const Verb *verb;
        const char *positionals[POSITIONALS_MAX];
        size_t n_positionals;
        struct {
                const Option *option;
                const char *value;
        } options[OPTIONS_MAX];
        size_t n_options;
};

/*
 * Global options may stand anywhere, others after the verb; `--name=value` and `--name value` are
 * the same; after `--` nothing is an option. 0, or -EINVAL with a sentence in ret_why; whatever was
 * understood is in ret_arguments then too, so that the help can be of what was meant.
 */
int arguments_parse(const Noun *nouns, size_t n_nouns, int argc, char **argv,
                    Arguments *ret_arguments, char *ret_why, size_t n_why);

bool arguments_has(const Arguments *arguments, const char *name);
/* The last value, or NULL. */
const char *arguments_value(const Arguments *arguments, const char *name);
/* All of them, in order; values has room for OPTIONS_MAX. */
size_t arguments_values(const Arguments *arguments, const char *name, const char **values);
