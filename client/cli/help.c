/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The help at each level, made of the same tables as the commands: it cannot name what is not
 * there.
 */
#include "help.h"

#define INDENT "  "

void help_usage(const Arguments *arguments, FILE *to)
{
        const Verb *verb = arguments->verb;

        (void)fprintf(to, "Usage: certbroker [--bus BUS] [--json] %s",
                      arguments->noun ? arguments->noun->name : "COMMAND …");
        if (arguments->noun && !verb)
                (void)fputs(" VERB …", to);
        if (verb) {
                (void)fprintf(to, "%s%s", *verb->name ? " " : "", verb->name);
                for (size_t i = 0; i < POSITIONALS_MAX && verb->positionals[i]; i++)
                        (void)fprintf(to, " %s", verb->positionals[i]);
                for (const Option *o = verb->options; o && o->name; o++)
                        (void)fprintf(to, o->required ? " %s%s%s%s" : " [%s%s%s]%s", o->name,
                                      o->value ? " " : "", o->value ? o->value : "",
                                      o->repeats ? "…" : "");
        }
        (void)fputc('\n', to);
}

static void print_example(const char *example, FILE *to)
{
        (void)fputs("\nExample:\n" INDENT, to);
        for (const char *p = example; *p; p++) {
                (void)fputc(*p, to);
                if (*p == '\n')
                        (void)fputs(INDENT, to);
        }
        (void)fputc('\n', to);
}

static void print_verb(const Arguments *arguments, FILE *to)
{
        const Verb *verb = arguments->verb;

        help_usage(arguments, to);
        (void)fprintf(to, "\n%s.\n\n%s\n", verb->summary, verb->text);
        if (verb->options && verb->options->name)
                (void)fputs("\nOptions:\n", to);
        for (const Option *o = verb->options; o && o->name; o++) {
                (void)fprintf(to, INDENT "%s%s%s\n" INDENT INDENT INDENT "%s%s\n", o->name,
                              o->value ? " " : "", o->value ? o->value : "", o->help,
                              o->repeats ? "; may be given several times" : "");
        }
        print_example(verb->example, to);
}

static void print_noun(const Arguments *arguments, FILE *to)
{
        help_usage(arguments, to);
        (void)fprintf(to, "\n%s\n\n", arguments->noun->text);
        for (const Verb *verb = arguments->noun->verbs; verb->run; verb++)
                (void)fprintf(to, INDENT "%-10s %s\n", verb->name, verb->summary);
        (void)fprintf(to, "\n`certbroker %s VERB --help` tells more.\n", arguments->noun->name);
        print_example(arguments->noun->verbs->example, to);
}

static void print_all(const Noun *nouns, size_t n_nouns, const Arguments *arguments, FILE *to)
{
        help_usage(arguments, to);
        (void)fputs("\nGives gateways certificates whose private keys never leave a token or key "
                    "vault,\n"
                    "by way of the daemon certbrokerd.\n\n",
                    to);
        for (size_t i = 0; i < n_nouns; i++)
                (void)fprintf(to, INDENT "%-12s %s\n", nouns[i].name, nouns[i].summary);
        (void)fputs(
                "\nOptions of every command:\n" INDENT "--bus BUS    where certbrokerd is: system "
                                                       "(default; or $CERTBROKER_BUS), session,\n"
                "               or a D-Bus address\n" INDENT
                "--json       print one JSON document\n" INDENT
                "--help       say more: also `certbroker certificate --help`,\n"
                "               `certbroker certificate import --help`\n" INDENT
                "--version    print the version\n"
                "\nExit status: 0 done, 1 failed, 2 called in a wrong way, 3 not found, 4 access\n"
                "denied, 5 in use, 6 source or daemon not available.\n",
                to);
        print_example("certbroker certificate import orders orders.p12 --source hsm\n"
                      "certbroker backend create orders-api --url https://orders.example "
                      "--certificate orders\n"
                      "certbroker backend check orders-api",
                      to);
}

void help_print(const Noun *nouns, size_t n_nouns, const Arguments *arguments, FILE *to)
{
        if (arguments->verb)
                print_verb(arguments, to);
        else if (arguments->noun)
                print_noun(arguments, to);
        else
                print_all(nouns, n_nouns, arguments, to);
}
