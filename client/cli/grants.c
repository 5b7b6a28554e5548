/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `policy list`: the grants, as certbrokerd reads them from the configuration: with their defaults and
 * without what one word implies. It is the daemon's own reader that is asked, so nothing can be understood
 * in another way here than there.
 */
#include "grants.h"

#include <string.h>

#include "local.h"
#include "show.h"
#include "text.h"

/* Appends to a text that was allocated; on failure it is NULL from then on. */
static void append(char **text, const char *between, const char *more)
{
        char *longer;

        if (!*text)
                return;
        if (asprintf(&longer, "%s%s%s", *text, **text ? between : "", more) < 0)
                longer = NULL;
        free(*text);
        *text = longer;
}

static char *joined(const json_t *list)
{
        char *text = strdup("");

        for (size_t i = 0; i < json_array_size(list); i++)
                append(&text, " ", json_string_value(json_array_get(list, i)) ?: "?");
        return text;
}

/* Each that is named must match; a user that has no name any more is shown by number. */
static char *who_text(const json_t *grant)
{
        static const struct {
                const char *key, *number;
        } rows[] = { { "user", "uid" }, { "group", "gid" }, { "unit", NULL }, { "label", NULL } };
        char *text = strdup("");

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const json_t *value = json_object_get(grant, rows[i].key);
                char number[32];

                if (!value)
                        continue;
                if (rows[i].number)
                        (void)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
                                       json_integer_value(json_object_get(grant, rows[i].number)));
                append(&text, ", ", rows[i].key);
                append(&text, " ", json_string_value(value) ?: number);
        }
        return text;
}

static char *limits_text(const json_t *grant)
{
        const json_t *rate = json_object_get(grant, "rate");
        char limits[96] = "";
        char *text = joined(json_object_get(grant, "algorithm"));

        if (rate)
                (void)snprintf(limits, sizeof(limits),
                               "%" JSON_INTEGER_FORMAT "/s, burst %" JSON_INTEGER_FORMAT,
                               json_integer_value(rate),
                               json_integer_value(json_object_get(grant, "burst")));
        append(&text, "; ", limits);
        return text;
}

static int add_grant(Table *table, const json_t *grant)
{
        char *texts[] = {
                strdup(json_string_value(json_object_get(grant, "name")) ?: "?"),
                who_text(grant),
                joined(json_object_get(grant, "allow")),
                joined(json_object_get(grant, "certificate")),
                joined(json_object_get(grant, "backend")),
                joined(json_object_get(grant, "source")),
                limits_text(grant),
        };
        bool ok = true;
        int r = -1;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                ok = ok && texts[i];
        if (ok)
                r = table_add(table, (const char *const *)texts);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                free(texts[i]);
        return r;
}

static int print_grants(Cli *cli, const json_t *grants)
{
        static const char *const titles[] = { "GRANT",        "WHO",      "ALLOW",
                                              "CERTIFICATES", "BACKENDS", "SOURCES", "NARROWED TO" };
        CLEANUP(table_freep) Table *table = NULL;

        if (table_new(titles, ELEMENTSOF(titles), &table))
                return cli_out_of_memory(cli);
        for (size_t i = 0; i < json_array_size(grants); i++)
                if (add_grant(table, json_array_get(grants, i)))
                        return cli_out_of_memory(cli);
        table_print(table, stdout);
        return 0;
}

/* ------------------------------------------------------------------ are they in force? */

/* The daemon tells of its grants no more than their hash, among its metrics. */
static bool has_hash(const char *metrics, const char *hash)
{
        CLEANUP(free_text) char *sample = NULL;

        if (asprintf(&sample, "\ncertbroker_grants_info{sha256=\"%s\"}", hash) < 0) {
                sample = NULL;
                return false;
        }
        return strstr(metrics, sample) != NULL;
}

/* On standard error, so that it is told with --json too. */
static void warn_unless_in_force(Cli *cli, const char *hash)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        CLEANUP(free_text) char *why = NULL;
        cb_error error = { .text = "It is told to those who are granted audit." };
        int r = CB_ACCESS_DENIED;

        if (ask_may_audit(cli))
                r = cb_call(cli->client, &(cb_method){ .member = "GetMetrics", .repeatable = true },
                            &reply, &error, "");
        why = r ? text_harmless(error.text) : NULL;
        if (r)
                (void)fprintf(stderr,
                              "certbroker: These are the grants of the configuration; whether they "
                              "are in force is not known: %s\n",
                              why ?: "out of memory");
        else if (!has_hash(cb_value_string(cb_value_at(reply, 0), ""), hash))
                (void)fputs("certbroker: These are the grants of the configuration as it is now; "
                            "certbrokerd has others in force until it is reloaded.\n",
                            stderr);
}

int verb_policy_list(Cli *cli, const Arguments *arguments)
{
        json_t *config = NULL;
        json_t *grants;
        int r;

        r = local_config(cli, &config);
        if (r)
                return r;
        if (!arguments_has(arguments, "--config"))
                warn_unless_in_force(
                        cli, json_string_value(json_object_get(config, "grants-sha256")) ?: "");
        grants = json_object_get(config, "grant");
        r = arguments->json ? show_document(cli, json_incref(grants)) : print_grants(cli, grants);
        json_decref(config);
        return r;
}

const Option policy_list_options[] = { OPTION_CONFIG, { NULL } };
