/* SPDX-License-Identifier: Apache-2.0 */
/* Questions go to standard error: standard output is for what came of them. */
#include "prompt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "text.h"

#define LINE_MAX_ 1024

bool prompt_can(void)
{
        return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static int read_answer(Cli *cli, char line[LINE_MAX_])
{
        size_t n;

        (void)fflush(stderr);
        if (!fgets(line, LINE_MAX_, stdin))
                return cli_usage(cli, "No answer was given; nothing was changed.");
        n = strlen(line);
        while (n > 0 && strchr(" \t\r\n", line[n - 1]))
                line[--n] = '\0';
        return 0;
}

int prompt_line(Cli *cli, const char *question, const char *fallback, char **ret_answer)
{
        char line[LINE_MAX_];
        int r;

        do {
                (void)fprintf(stderr, "%s", question);
                if (fallback && *fallback)
                        (void)fprintf(stderr, " [%s]", fallback);
                (void)fputs(": ", stderr);
                r = read_answer(cli, line);
                if (r)
                        return r;
        } while (!line[0] && !fallback);
        *ret_answer = strdup(line[0] ? line : fallback);
        return *ret_answer ? 0 : cli_out_of_memory(cli);
}

static const Choice *chosen(const Choice *choices, size_t n, const char *answer)
{
        char *end;
        unsigned long number = strtoul(answer, &end, 10);

        if (*answer && !*end && number >= 1 && number <= n)
                return &choices[number - 1];
        for (size_t i = 0; i < n; i++)
                if (strcmp(choices[i].word, answer) == 0)
                        return &choices[i];
        return NULL;
}

int prompt_choice(Cli *cli, const char *question, const Choice *choices, size_t n,
                  const Choice **ret_choice)
{
        (void)fprintf(stderr, "%s\n", question);
        for (size_t i = 0; i < n; i++) {
                /* Both may be a token's own words. */
                CLEANUP(free_text) char *word = text_harmless(choices[i].word);
                CLEANUP(free_text) char *text =
                        text_harmless(choices[i].text ? choices[i].text : "");

                (void)fprintf(stderr, "  %zu  %s%s%s\n", i + 1, word ? word : "?",
                              text && *text ? ": " : "", text ? text : "");
        }
        for (;;) {
                CLEANUP(free_text) char *answer = NULL;
                int r = prompt_line(cli, "Which", "1", &answer);

                if (r)
                        return r;
                *ret_choice = chosen(choices, n, answer);
                if (*ret_choice)
                        return 0;
        }
}

int prompt_yes(Cli *cli, const char *question, bool yes, bool *ret_answer)
{
        char line[LINE_MAX_];
        int r;

        for (;;) {
                (void)fprintf(stderr, "%s [%s] ", question, yes ? "Y/n" : "y/N");
                r = read_answer(cli, line);
                if (r)
                        return r;
                if (!line[0] || strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0) {
                        *ret_answer = line[0] ? true : yes;
                        return 0;
                }
                if (strcasecmp(line, "n") == 0 || strcasecmp(line, "no") == 0) {
                        *ret_answer = false;
                        return 0;
                }
        }
}
