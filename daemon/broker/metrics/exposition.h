/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text in the OpenMetrics format (version 1.0), written family by family. The first failure sticks and is told at the
 * end. Names and help are ours; label values are escaped.
 */
#pragma once

#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct Exposition {
        FILE *stream;
        char *text;
        size_t n;
        bool failed; /* a stream into memory does not remember it */
        const char *family;
} Exposition;

typedef struct MetricLabel {
        const char *name; /* NULL ends a list */
        const char *value;
} MetricLabel;

int exposition_init(Exposition *exposition);
/* type: "counter", "gauge", "histogram", "stateset". */
void exposition_family(Exposition *exposition, const char *name, const char *type, const char *unit,
                       const char *help);
/* suffix: "", "_total", "_bucket" …; labels: ended by a row without a name, or NULL. */
void exposition_sample(Exposition *exposition, const char *suffix, const MetricLabel *labels,
                       double value);
/* Ends it with "# EOF". The text is the caller's; -ENOMEM. */
int exposition_finish(Exposition *exposition, char **ret_text);
