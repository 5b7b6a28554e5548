/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenMetrics text format (https://openmetrics.io, 1.0.0). It knows no metric, only how one is written. */
#include "broker/metrics/exposition.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"

int exposition_init(Exposition *exposition)
{
        *exposition = (Exposition){ 0 };
        exposition->stream = open_memstream(&exposition->text, &exposition->n);
        return exposition->stream ? 0 : -errno;
}

static void put(Exposition *exposition, const char *format, ...) PRINTF(2, 3);
static void put(Exposition *exposition, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        if (vfprintf(exposition->stream, format, arguments) < 0)
                exposition->failed = true;
        va_end(arguments);
}

void exposition_family(Exposition *exposition, const char *name, const char *type, const char *unit,
                       const char *help)
{
        exposition->family = name;
        put(exposition, "# TYPE %s %s\n", name, type);
        if (unit)
                put(exposition, "# UNIT %s %s\n", name, unit);
        put(exposition, "# HELP %s %s\n", name, help);
}

static void put_value(Exposition *exposition, const char *value)
{
        for (const char *c = string_or_empty(value); *c; c++) {
                if (*c == '\n')
                        put(exposition, "\\n");
                else if (*c == '"' || *c == '\\')
                        put(exposition, "\\%c", *c);
                else
                        put(exposition, "%c", *c);
        }
}

void exposition_sample(Exposition *exposition, const char *suffix, const MetricLabel *labels,
                       double value)
{
        put(exposition, "%s%s", exposition->family, suffix);
        for (const MetricLabel *label = labels; label && label->name; label++) {
                put(exposition, "%s%s=\"", label == labels ? "{" : ",", label->name);
                put_value(exposition, label->value);
                put(exposition, "\"");
        }
        if (labels && labels->name)
                put(exposition, "}");
        put(exposition, " %.15g\n", value);
}

int exposition_finish(Exposition *exposition, char **ret_text)
{
        put(exposition, "# EOF\n");
        /* Where there is no memory for its last byte, the stream is closed all the same, without a text. */
        if (fclose(exposition->stream) != 0 || exposition->failed || !exposition->text) {
                free(exposition->text);
                return -ENOMEM;
        }
        *ret_text = exposition->text;
        return 0;
}
