/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a command line against the tables of nouns and verbs. It knows no verb by name and does
 * nothing but sort the words: so that every verb takes its options in the same way, and a new one
 * is a row.
 */
#include "arguments.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "macro.h"

typedef struct Parser {
        const Noun *nouns;
        size_t n_nouns;
        int argc, next;
        char **argv;
        Arguments *args;
        char *why;
        size_t n_why;
} Parser;

static int wrong(Parser *p, const char *format, ...) PRINTF(2, 3);
static int wrong(Parser *p, const char *format, ...)
{
        va_list list;

        va_start(list, format);
        (void)vsnprintf(p->why, p->n_why, format, list);
        va_end(list);
        return -EINVAL;
}

static const Option global_options[] = {
        { "--bus", "BUS", "", false, false },
        { "--json", NULL, "", false, false },
        { "--help", NULL, "", false, false },
        { NULL },
};

static const Option *find_option(const Option *options, const char *name, size_t n_name)
{
        for (; options && options->name; options++)
                if (strlen(options->name) == n_name && strncmp(options->name, name, n_name) == 0)
                        return options;
        return NULL;
}

static void set_global(Arguments *args, const Option *option, const char *value)
{
        if (option == &global_options[0])
                args->bus = value;
        else if (option == &global_options[1])
                args->json = true;
        else
                args->help = true;
}

static int add_option(Parser *p, const Option *option, const char *value)
{
        if (p->args->n_options == ELEMENTSOF(p->args->options))
                return wrong(p, "%s is given too often: a command takes at most %d options.",
                             option->name, OPTIONS_MAX);
        if (!option->repeats && arguments_has(p->args, option->name))
                return wrong(p, "%s is given twice.", option->name);
        p->args->options[p->args->n_options].option = option;
        p->args->options[p->args->n_options++].value = value;
        return 0;
}

static int parse_option(Parser *p, const char *word)
{
        const char *equals = strchr(word, '='), *value = NULL;
        size_t n_name = equals ? (size_t)(equals - word) : strlen(word);
        const Option *option;
        bool global;

        if (strcmp(word, "-h") == 0)
                return p->args->help = true, 0;
        if (strcmp(word, "-o") == 0)
                word = "--output", n_name = strlen(word);

        option = find_option(global_options, word, n_name);
        global = option != NULL;
        if (!option)
                option = find_option(p->args->verb ? p->args->verb->options : NULL, word, n_name);
        if (!option)
                return wrong(p, "There is no option %s here.", word);

        if (option->value) {
                if (equals)
                        value = equals + 1;
                else if (p->next < p->argc)
                        value = p->argv[p->next++];
                else
                        return wrong(p, "%s wants a value: %s.", option->name, option->value);
        } else if (equals) {
                return wrong(p, "%s takes no value.", option->name);
        }
        if (!global)
                return add_option(p, option, value);
        set_global(p->args, option, value);
        return 0;
}

static int parse_noun(Parser *p, const char *word)
{
        for (size_t i = 0; i < p->n_nouns; i++)
                if (strcmp(p->nouns[i].name, word) == 0) {
                        p->args->noun = &p->nouns[i];
                        if (p->nouns[i].verbs[0].name[0] == '\0')
                                p->args->verb = &p->nouns[i].verbs[0];
                        return 0;
                }
        return wrong(p, "There is no command %s.", word);
}

static int parse_verb(Parser *p, const char *word)
{
        for (const Verb *verb = p->args->noun->verbs; verb->run; verb++)
                if (strcmp(verb->name, word) == 0) {
                        p->args->verb = verb;
                        return 0;
                }
        return wrong(p, "There is no command %s %s.", p->args->noun->name, word);
}

static size_t count_positionals(const Verb *verb)
{
        size_t n = 0;

        while (n < POSITIONALS_MAX && verb->positionals[n])
                n++;
        return n;
}

static int parse_word(Parser *p, const char *word)
{
        if (!p->args->noun)
                return parse_noun(p, word);
        if (!p->args->verb)
                return parse_verb(p, word);
        if (p->args->n_positionals == count_positionals(p->args->verb))
                return wrong(p, "%s is one argument too many.", word);
        p->args->positionals[p->args->n_positionals++] = word;
        return 0;
}

static int check_complete(Parser *p)
{
        const Verb *verb = p->args->verb;

        if (p->args->help)
                return 0;
        if (!p->args->noun)
                return wrong(p, "A command is missing.");
        if (!verb)
                return wrong(p, "What shall be done with the %s?", p->args->noun->name);
        if (p->args->n_positionals < count_positionals(verb))
                return wrong(p, "%s is missing.", verb->positionals[p->args->n_positionals]);
        for (const Option *option = verb->options; option && option->name; option++)
                if (option->required && !arguments_has(p->args, option->name))
                        return wrong(p, "%s %s is missing.", option->name, option->value);
        return 0;
}

int arguments_parse(const Noun *nouns, size_t n_nouns, int argc, char **argv,
                    Arguments *ret_arguments, char *ret_why, size_t n_why)
{
        Parser p = { .nouns = nouns,
                     .n_nouns = n_nouns,
                     .argc = argc,
                     .next = 1,
                     .argv = argv,
                     .args = ret_arguments,
                     .why = ret_why,
                     .n_why = n_why };
        bool only_words = false;
        int r;

        *ret_arguments = (Arguments){ 0 };
        while (p.next < argc) {
                const char *word = argv[p.next++];

                if (!only_words && strcmp(word, "--") == 0)
                        only_words = true;
                else if (!only_words && word[0] == '-' && word[1]) {
                        r = parse_option(&p, word);
                        if (r)
                                return r;
                } else {
                        r = parse_word(&p, word);
                        if (r)
                                return r;
                }
        }
        return check_complete(&p);
}

bool arguments_has(const Arguments *arguments, const char *name)
{
        for (size_t i = 0; i < arguments->n_options; i++)
                if (strcmp(arguments->options[i].option->name, name) == 0)
                        return true;
        return false;
}

const char *arguments_value(const Arguments *arguments, const char *name)
{
        const char *value = NULL;

        for (size_t i = 0; i < arguments->n_options; i++)
                if (strcmp(arguments->options[i].option->name, name) == 0)
                        value = arguments->options[i].value;
        return value;
}

size_t arguments_values(const Arguments *arguments, const char *name, const char **values)
{
        size_t n = 0;

        for (size_t i = 0; i < arguments->n_options; i++)
                if (strcmp(arguments->options[i].option->name, name) == 0)
                        values[n++] = arguments->options[i].value;
        return n;
}
