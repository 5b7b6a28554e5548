/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one family of OpenMetrics text, certbroker_problem. What it does not understand is passed over. */
#include "problems.h"

#include <stdlib.h>
#include <string.h>

#include "macro.h"

#define SAMPLE "certbroker_problem_info{object=\""
#define REASON ",reason=\""

/* Up to its closing quote; *at is after that then. NULL: it has none, or there is no memory. */
static char *read_label(const char **at)
{
        const char *from = *at;
        char *text = malloc(strcspn(from, "\n") + 1), *to = text;

        if (!text)
                return NULL;
        for (; *from && *from != '\n' && *from != '"'; from++) {
                bool is_escaped = from[0] == '\\' && from[1] && from[1] != '\n';

                from += is_escaped;
                *to++ = is_escaped && *from == 'n' ? '\n' : *from;
        }
        *to = '\0';
        if (*from != '"') {
                free(text);
                return NULL;
        }
        *at = from + 1;
        return text;
}

static bool read_sample(const char *line, char **ret_object, char **ret_reason)
{
        CLEANUP(free_text) char *object = NULL, *reason = NULL;

        if (strncmp(line, SAMPLE, strlen(SAMPLE)) != 0)
                return false;
        line += strlen(SAMPLE);
        object = read_label(&line);
        if (!object || strncmp(line, REASON, strlen(REASON)) != 0)
                return false;
        line += strlen(REASON);
        reason = read_label(&line);
        if (!reason)
                return false;
        *ret_object = TAKE(object);
        *ret_reason = TAKE(reason);
        return true;
}

bool problem_next(const char **at, char **ret_object, char **ret_reason)
{
        while (**at) {
                const char *line = *at;

                *at += strcspn(*at, "\n");
                *at += **at == '\n';
                if (read_sample(line, ret_object, ret_reason))
                        return true;
        }
        return false;
}
