/* SPDX-License-Identifier: Apache-2.0 */
/* `certbroker metrics`. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "prometheus.h"
#include "show.h"
#include "text.h"

#define METRICS_FILE_MODE 0644 /* who scrapes is another user */

static int choose_format(Cli *cli, const char *text, char **ret_text)
{
        const char *format = arguments_value(cli->arguments, "--format");

        if (!format || strcmp(format, "openmetrics") == 0)
                *ret_text = strdup(text);
        else if (prometheus_of(text, ret_text))
                *ret_text = NULL;
        return *ret_text ? 0 : cli_out_of_memory(cli);
}

static int check_format(Cli *cli)
{
        const char *format = arguments_value(cli->arguments, "--format");

        if (!format || strcmp(format, "openmetrics") == 0 || strcmp(format, "prometheus") == 0)
                return 0;
        return cli_usage(cli, "The format is openmetrics or prometheus, not %s.", format);
}

static int verb_metrics(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        CLEANUP(free_text) char *text = NULL;
        int r = check_format(cli);

        if (r == 0)
                r = cb_call(cli->client, &(cb_method){ .member = "GetMetrics", .repeatable = true },
                            &reply, &cli->error, "");
        if (r == 0)
                r = choose_format(cli, cb_value_string(cb_value_at(reply, 0), ""), &text);
        if (r)
                return r;
        if (file_is_output(cli))
                return file_put(cli, text, strlen(text), METRICS_FILE_MODE);
        if (arguments->json)
                return show_document(cli, json_pack("{s:s}", "metrics", text));
        return text_print_lines(text, stdout) ? cli_out_of_memory(cli) : 0;
}

static const Option metrics_options[] = {
        { "--format", "FORMAT",
          "openmetrics (the default), or prometheus: the older text, which node_exporter reads", false,
          false },
        { "--output", "FILE", "write to FILE (-o FILE), which is never seen half-written", false, false },
        { NULL },
};

const Verb metrics_verbs[] = {
        { "",
          { NULL },
          metrics_options,
          verb_metrics,
          "Print the daemon's counters",
          "Counters and states, for a monitoring system. It needs the operation audit.",
          "certbroker metrics --format prometheus "
          "-o /var/lib/prometheus/node-exporter/certbroker.prom" },
        { NULL },
};
