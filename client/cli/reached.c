/* SPDX-License-Identifier: Apache-2.0 */
/* Reads four families of the metrics side by side, by their labels. */
#include "reached.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FAMILY "certbroker_limit_reached_"

typedef struct Sample {
        char what[32], limit[48], standing[32];
        uint64_t value;
} Sample;

static int read_sample(const char *line, size_t n, Sample *ret_sample)
{
        char copy[256]; /* sscanf() looks for the end of the text, which may have a megabyte */

        if (n >= sizeof(copy) || strncmp(line, FAMILY, strlen(FAMILY)) != 0)
                return -1;
        memcpy(copy, line, n);
        copy[n] = '\0';
        return sscanf(copy,
                      FAMILY "%31[a-z_]{limit=\"%47[^\"]\",standing=\"%31[^\"]\"} %" SCNu64,
                      ret_sample->what, ret_sample->limit, ret_sample->standing,
                      &ret_sample->value) == 4
                       ? 0
                       : -1;
}

static Limit *find_or_add(const Sample *sample, Limit *limits, size_t *n)
{
        for (size_t i = 0; i < *n; i++)
                if (strcmp(limits[i].name, sample->limit) == 0 &&
                    strcmp(limits[i].standing, sample->standing) == 0)
                        return &limits[i];
        if (*n == LIMITS_MAX)
                return NULL;
        limits[*n] = (Limit){ 0 };
        memcpy(limits[*n].name, sample->limit, sizeof(sample->limit));
        memcpy(limits[*n].standing, sample->standing, sizeof(sample->standing));
        return &limits[(*n)++];
}

static void take(const Sample *sample, Limit *limit)
{
        if (strcmp(sample->what, "total") == 0)
                limit->n_reached = sample->value;
        else if (strcmp(sample->what, "first_seconds") == 0)
                limit->first_sec = sample->value;
        else if (strcmp(sample->what, "last_seconds") == 0)
                limit->last_sec = sample->value;
        else if (strcmp(sample->what, "uid") == 0)
                limit->uid = sample->value;
}

size_t limits_read(const char *metrics, Limit ret_limits[LIMITS_MAX])
{
        const char *end;
        size_t n = 0;

        for (const char *line = metrics; *line; line = *end ? end + 1 : end) {
                Sample sample = { 0 };
                Limit *limit;

                end = line + strcspn(line, "\n");
                limit = read_sample(line, (size_t)(end - line), &sample) == 0
                                ? find_or_add(&sample, ret_limits, &n)
                                : NULL;
                if (limit)
                        take(&sample, limit);
        }
        return n;
}

const char *limit_describe_standing(const char *standing)
{
        static const char *const texts[][2] = {
                { "stranger", "no grant; such users share their limits" },
                { "group", "a grant by a group" },
                { "named", "a grant by name" },
                { "owner", "root, or who runs certbrokerd" },
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                if (strcmp(texts[i][0], standing) == 0)
                        return texts[i][1];
        return standing;
}
