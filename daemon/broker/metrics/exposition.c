/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenMetrics text format (https://openmetrics.io, 1.0.0). It knows no metric, only how one is written. */
#include "broker/metrics/exposition.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"

int exposition_init(Exposition *exposition)
{
        *exposition = (Exposition){ 0 };
        exposition->stream = open_memstream(&exposition->text, &exposition->n);
        return exposition->stream ? 0 : -errno;
}

void exposition_family(Exposition *exposition, const char *name, const char *type, const char *unit,
                       const char *help)
{
        exposition->family = name;
        fprintf(exposition->stream, "# TYPE %s %s\n", name, type);
        if (unit)
                fprintf(exposition->stream, "# UNIT %s %s\n", name, unit);
        fprintf(exposition->stream, "# HELP %s %s\n", name, help);
}

static void put_value(FILE *stream, const char *value)
{
        for (const char *c = string_or_empty(value); *c; c++) {
                if (*c == '\n')
                        fputs("\\n", stream);
                else if (*c == '"' || *c == '\\')
                        fprintf(stream, "\\%c", *c);
                else
                        fputc(*c, stream);
        }
}

void exposition_sample(Exposition *exposition, const char *suffix, const MetricLabel *labels,
                       double value)
{
        FILE *stream = exposition->stream;

        fprintf(stream, "%s%s", exposition->family, suffix);
        for (const MetricLabel *label = labels; label && label->name; label++) {
                fprintf(stream, "%s%s=\"", label == labels ? "{" : ",", label->name);
                put_value(stream, label->value);
                fputc('"', stream);
        }
        if (labels && labels->name)
                fputc('}', stream);
        fprintf(stream, " %.15g\n", value);
}

int exposition_finish(Exposition *exposition, char **ret_text)
{
        bool failed;

        fputs("# EOF\n", exposition->stream);
        failed = ferror(exposition->stream) != 0;
        if (fclose(exposition->stream) != 0 || failed) {
                free(exposition->text);
                return -ENOMEM;
        }
        *ret_text = exposition->text;
        return 0;
}
