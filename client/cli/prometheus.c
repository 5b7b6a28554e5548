/* SPDX-License-Identifier: Apache-2.0 */
#include "prometheus.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"
#include "written.h"

typedef struct Type {
        const char *name, *as, *suffix;
} Type;

static const Type types[] = {
        { "counter", "counter", "_total" }, { "gauge", "gauge", "" },
        { "histogram", "histogram", "" },   { "summary", "summary", "" },
        { "stateset", "gauge", "" },        { "info", "gauge", "_info" },
};

static const Type unknown = { "unknown", "untyped", "" };

static bool begins(const char *line, const char *with)
{
        return strncmp(line, with, strlen(with)) == 0;
}

static const Type *find_type(const char *name, size_t n)
{
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (strlen(types[i].name) == n && memcmp(types[i].name, name, n) == 0)
                        return &types[i];
        return &unknown;
}

/* "# TYPE family type" or "# HELP family text", without its "# ". The type is of what follows, too. */
static void put_description(const char *line, size_t n, const Type **type, FILE *to)
{
        const size_t n_word = strlen("TYPE ");
        size_t n_family = strcspn(line + n_word, " \n");
        const char *rest = line + n_word + n_family, *end = line + n;
        bool is_type = begins(line, "TYPE ");

        rest += rest < end && *rest == ' ';
        if (is_type)
                *type = find_type(rest, (size_t)(end - rest));
        (void)fprintf(to, "# %.*s%.*s%s ", (int)n_word, line, (int)n_family, line + n_word,
                      (*type)->suffix);
        if (is_type)
                (void)fputs((*type)->as, to);
        else
                (void)fwrite(rest, 1, (size_t)(end - rest), to);
        (void)fputc('\n', to);
}

static void put_lines(const char *text, FILE *to)
{
        const Type *type = &unknown;
        size_t n;

        for (; *text; text += n + (text[n] == '\n')) {
                n = strcspn(text, "\n");
                if (*text != '#')
                        (void)fprintf(to, "%.*s\n", (int)n, text);
                else if (begins(text, "# TYPE ") || begins(text, "# HELP "))
                        put_description(text + 2, n - 2, &type, to);
        }
}

int prometheus_of(const char *openmetrics, char **ret_text)
{
        CLEANUP(written_deinit) Written written;
        int r = written_init(&written);

        if (r)
                return r;
        put_lines(openmetrics, written.to);
        return written_finish(&written, ret_text);
}
