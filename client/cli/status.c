/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `certbroker status`: what needs attention comes first, then how much of everything there is. All of it is
 * read from what the caller may see; what he may not see is not counted.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "problems.h"
#include "reached.h"
#include "show.h"
#include "text.h"
#include "waiting.h"

#define EXPIRING_SOON (30 * UINT64_C(86400))
#define PAST_SHOWN    UINT64_C(86400) /* what is over, after the last time */
#define HELD_BACK     "\ncertbroker_signatures_held_back_last_seconds{certificate=\""

typedef struct Status {
        const char *version, *channel;
        uint64_t now;
        size_t n_certificates, n_backends, n_sources;
        size_t n_attention;
        bool is_told_health; /* of the audit log and limits */
        Table *attention; /* object, why */
        Table *waiting;   /* object, what will be */
        size_t n_waiting;
        json_t *json;         /* an array of { object, reason } */
        json_t *json_waiting; /* an array of { object, generation, not-before } */
} Status;

static int add_reason(Status *status, const char *object, const char *reason)
{
        const char *cells[] = { object, reason };
        int r;

        status->n_attention++;
        r = table_add(status->attention, cells);
        if (r == 0)
                r = json_array_append_new(
                        status->json, json_pack("{s:s, s:s}", "object", object, "reason", reason));
        return r;
}

static int add_listed(Status *status, const char *object, const char *format, va_list list)
        PRINTF(3, 0);
static int add_listed(Status *status, const char *object, const char *format, va_list list)
{
        CLEANUP(free_text) char *reason = text_format(format, list);

        return reason ? add_reason(status, object, reason) : -1;
}

static int add_formatted(Status *status, const char *object, const char *format, ...) PRINTF(3, 4);
static int add_formatted(Status *status, const char *object, const char *format, ...)
{
        va_list list;
        int r;

        va_start(list, format);
        r = add_listed(status, object, format, list);
        va_end(list);
        return r;
}

static char *text_of_object(const char *kind, const char *name)
{
        char *object;

        return asprintf(&object, "%s/%s", kind, name) < 0 ? NULL : object;
}

static int attend(Status *status, const char *kind, const char *name, const char *format, ...)
        PRINTF(4, 5);
static int attend(Status *status, const char *kind, const char *name, const char *format, ...)
{
        CLEANUP(free_text) char *object = text_of_object(kind, name);
        va_list list;
        int r;

        if (!object)
                return -1;
        va_start(list, format);
        r = add_listed(status, object, format, list);
        va_end(list);
        return r;
}

static const char *text_of(const cb_value *properties, const char *name)
{
        return cb_value_string(cb_value_get(properties, name), "");
}

static int look_at_source(Status *status, const cb_value *properties)
{
        const char *state = text_of(properties, "State"), *error = text_of(properties, "LastError");

        status->n_sources++;
        if (strcmp(state, "ready") == 0)
                return 0;
        return attend(status, "source", text_of(properties, "Name"), "%s%s%s", state,
                      *error ? ": " : "", error);
}

/* The worst first: what does not work, what will not for long, what was left to say. */
typedef enum Trouble {
        TROUBLE_BROKEN,   /* expired, or its source says that the key is gone */
        TROUBLE_STOPPED,  /* pending, disabled: somebody has to act, or wanted it so */
        TROUBLE_EXPIRING, /* within 30 days */
        TROUBLE_WARNING,
        TROUBLE_NONE,
} Trouble;

static Trouble trouble_of(const Status *status, const cb_value *properties)
{
        const char *state = text_of(properties, "State");
        uint64_t not_after = cb_value_number(cb_value_get(properties, "NotAfter"), 0);

        if (strcmp(state, "expired") == 0 || strcmp(state, "unavailable") == 0)
                return TROUBLE_BROKEN;
        if (strcmp(state, "active") != 0)
                return TROUBLE_STOPPED;
        if (not_after != 0 && not_after <= status->now + EXPIRING_SOON)
                return TROUBLE_EXPIRING;
        return *text_of(properties, "LastError") ? TROUBLE_WARNING : TROUBLE_NONE;
}

static int look_at_certificate(Status *status, const cb_value *properties, Trouble trouble)
{
        const char *id = text_of(properties, "Id"), *state = text_of(properties, "State");
        const char *error = text_of(properties, "LastError");
        const char *between = *error ? ": " : "";
        char text[TIME_TEXT_MAX];

        if (trouble_of(status, properties) != trouble)
                return 0;
        time_format(cb_value_number(cb_value_get(properties, "NotAfter"), 0), text);
        switch (trouble) {
        case TROUBLE_BROKEN:
        case TROUBLE_STOPPED:
                if (strcmp(state, "expired") == 0)
                        return attend(status, "certificate", id, "expired at %s%s%s", text, between,
                                      error);
                return attend(status, "certificate", id, "%s%s%s", state, between, error);
        case TROUBLE_EXPIRING:
                return attend(status, "certificate", id, "expires at %s%s%s", text, between, error);
        case TROUBLE_WARNING:
                return attend(status, "certificate", id, "%s", error);
        case TROUBLE_NONE:
                break;
        }
        return 0;
}

static int look_at_broken(Status *status, const cb_value *properties)
{
        status->n_certificates++;
        return look_at_certificate(status, properties, TROUBLE_BROKEN);
}

static int look_at_stopped(Status *status, const cb_value *properties)
{
        return look_at_certificate(status, properties, TROUBLE_STOPPED);
}

static int look_at_expiring(Status *status, const cb_value *properties)
{
        return look_at_certificate(status, properties, TROUBLE_EXPIRING);
}

static int look_at_warning(Status *status, const cb_value *properties)
{
        return look_at_certificate(status, properties, TROUBLE_WARNING);
}

static int look_at_backend(Status *status, const cb_value *properties)
{
        bool chain = cb_value_boolean(cb_value_get(properties, "ValidateChain"), true);
        bool name = cb_value_boolean(cb_value_get(properties, "ValidateName"), true);
        bool pinned = cb_value_length(cb_value_get(properties, "ServerThumbprints")) > 0;
        uint64_t until = cb_value_number(cb_value_get(properties, "SkipUntil"), 0);
        const char *reason = text_of(properties, "SkipReason");
        char text[TIME_TEXT_MAX];

        status->n_backends++;
        if (until != 0 && until <= status->now)
                return 0;
        if ((chain || pinned) && name)
                return 0;
        time_format(until, text);
        return attend(status, "backend", text_of(properties, "Name"), "%s not verified%s%s%s%s",
                      !chain && !pinned ? (name ? "chain is" : "chain and name are") : "name is",
                      until ? " until " : "", until ? text : "", *reason ? ": " : "", reason);
}

/* Not what needs attention, but what an administrator has arranged, or a source has. */
static int add_waiting(void *userdata, const char *id, uint64_t generation, uint64_t from)
{
        Status *status = userdata;
        CLEANUP(free_text) char *object = text_of_object("certificate", id);
        char when[TIME_TEXT_MAX], what[TIME_TEXT_MAX + 96];
        const char *cells[] = { object, what };

        if (!object)
                return -1;
        time_format(from, when);
        (void)snprintf(what, sizeof(what),
                       from != 0 && from <= status->now
                               ? "generation %" PRIu64 " is valid since %s, and was not made current yet"
                               : "generation %" PRIu64 " becomes current at %s",
                       generation, when);
        status->n_waiting++;
        if (json_array_append_new(status->json_waiting,
                                  json_pack("{s:s, s:I, s:I}", "object", object, "generation",
                                            (json_int_t)generation, "not-before", (json_int_t)from)))
                return -1;
        return table_add(status->waiting, cells);
}

static int look_at_waiting(Cli *cli, Status *status, const Objects *certificates)
{
        int r = 0;

        for (size_t k = 0; k < certificates->n_dicts && r == 0; k++)
                r = waiting_each(cli, certificates->dicts[k], add_waiting, status);
        return r;
}

typedef enum Kind { KIND_SOURCE, KIND_CERTIFICATE, KIND_BACKEND, _KIND_N } Kind;

static const char *const kinds[_KIND_N] = {
        [KIND_SOURCE] = "source",
        [KIND_CERTIFICATE] = "certificate",
        [KIND_BACKEND] = "backend",
};

typedef struct Everything {
        Objects of[_KIND_N];
} Everything;

static void everything_deinit(Everything *all)
{
        for (Kind kind = 0; kind < _KIND_N; kind++)
                objects_deinit(&all->of[kind]);
}

static int ask_everything(Cli *cli, Everything *all)
{
        int r = 0;

        for (Kind kind = 0; kind < _KIND_N && r == 0; kind++)
                r = ask_objects(cli, kinds[kind], &all->of[kind]);
        return r;
}

static const struct {
        Kind kind;
        int (*look)(Status *status, const cb_value *properties);
} looks[] = {
        { KIND_SOURCE, look_at_source },       { KIND_CERTIFICATE, look_at_broken },
        { KIND_CERTIFICATE, look_at_stopped }, { KIND_CERTIFICATE, look_at_expiring },
        { KIND_CERTIFICATE, look_at_warning }, { KIND_BACKEND, look_at_backend },
};

static int look_at_all(Status *status, const Everything *all)
{
        for (size_t i = 0; i < ELEMENTSOF(looks); i++) {
                const Objects *objects = &all->of[looks[i].kind];

                for (size_t k = 0; k < objects->n_dicts; k++)
                        if (looks[i].look(status, objects->dicts[k]))
                                return -1;
        }
        return 0;
}

static int show_status(Cli *cli, const Status *status)
{
        CLEANUP(free_text) char *version = text_harmless(status->version);
        CLEANUP(free_text) char *channel = text_harmless(status->channel);

        if (cli->arguments->json)
                return show_document(
                        cli, json_pack("{s:s, s:s, s:I, s:I, s:I, s:O, s:O}", "version", status->version,
                                       "channel", status->channel, "sources", (json_int_t)status->n_sources, "certificates",
                                       (json_int_t)status->n_certificates, "backends",
                                       (json_int_t)status->n_backends, "attention", status->json, "waiting", status->json_waiting));
        if (!version || !channel)
                return cli_out_of_memory(cli);
        (void)printf("certbrokerd %s is running.\n\n", version);
        if (status->n_attention > 0) {
                (void)puts("Needs attention:");
                table_print(status->attention, stdout);
                (void)putchar('\n');
        } else {
                (void)puts("Nothing needs attention.\n");
        }
        if (status->n_waiting > 0) {
                (void)puts("Waits for its time:");
                table_print(status->waiting, stdout);
                (void)putchar('\n');
        }
        (void)printf("Sources %zu, certificates %zu, backends %zu (that you may see).\n",
                     status->n_sources, status->n_certificates, status->n_backends);
        if (*channel)
                (void)printf("Its private channel, for CERTBROKER_BUS where a bus is out of reach: %s\n",
                             channel);
        if (!status->is_told_health)
                (void)puts("How the audit log and the limits are is told with the operation "
                           "\"audit\".");
        return 0;
}

/* Of the daemon itself, in its own words: before all else, for what is below may not be so. */
static int look_at_problems(Status *status, const char *metrics)
{
        char *object, *reason;
        int r = 0;

        while (r == 0 && problem_next(&metrics, &object, &reason)) {
                r = add_reason(status, object, reason);
                free(object);
                free(reason);
        }
        return r;
}

/* A key that was wrong once and is right again is no less broken. */
static int look_at_held_back(Status *status, const char *metrics)
{
        for (const char *line = metrics; (line = strstr(line, HELD_BACK));
             line += strlen(HELD_BACK)) {
                char id[128], text[TIME_TEXT_MAX];
                uint64_t sec;

                if (sscanf(line + strlen(HELD_BACK), "%127[A-Za-z0-9._-]\"} %" SCNu64, id, &sec) !=
                            2 ||
                    sec + PAST_SHOWN < status->now)
                        continue;
                time_format(sec, text);
                if (attend(status, "certificate", id,
                           "its key made wrong signatures, which were held back, the last at %s: "
                           "check the token or vault",
                           text))
                        return -1;
        }
        return 0;
}

static int look_at_limit(Status *status, const Limit *limit)
{
        char first[TIME_TEXT_MAX], last[TIME_TEXT_MAX];

        if (limit->n_reached == 0 || limit->last_sec + PAST_SHOWN < status->now)
                return 0;
        time_format(limit->first_sec, first);
        time_format(limit->last_sec, last);
        return add_formatted(
                status, "limit",
                "%s: reached %" PRIu64 " times since %s, last by uid %" PRIu64 " (%s) at %s",
                limit->name, limit->n_reached, first, limit->uid,
                limit_describe_standing(limit->standing), last);
}

static int look_at_limits(Status *status, const char *metrics)
{
        Limit limits[LIMITS_MAX];
        size_t n = limits_read(metrics, limits);

        for (size_t i = 0; i < n; i++)
                if (look_at_limit(status, &limits[i]))
                        return -1;
        return 0;
}

/*
 * How the audit log and the limits are is in the metrics. Whoever may not read them is told that he was not told; where
 * there is no answer for another reason, that is the first thing that needs attention.
 */
static int get_metrics(Cli *cli, Status *status, cb_value **ret_reply)
{
        cb_error error = { 0 };
        int r = CB_ACCESS_DENIED;

        if (ask_may_audit(cli))
                r = cb_call(cli->client, &(cb_method){ .member = "GetMetrics", .repeatable = true },
                            ret_reply, &error, "");
        status->is_told_health = r != CB_ACCESS_DENIED;
        if (r == 0 || r == CB_ACCESS_DENIED)
                return 0;
        return add_formatted(status, "metrics", "certbrokerd does not tell how it is: %s",
                             error.text);
}

static int get_manager(Cli *cli, cb_value **ret_reply, Status *status)
{
        const cb_value *properties;
        int r = cb_call(cli->client,
                        &(cb_method){ .interface = "org.freedesktop.DBus.Properties",
                                      .member = "GetAll",
                                      .repeatable = true },
                        ret_reply, &cli->error, "s", "org.certbroker1.Manager");

        if (r)
                return r;
        properties = cb_value_at(*ret_reply, 0);
        status->version = cb_value_string(cb_value_get(properties, "Version"), "?");
        status->channel = cb_value_string(cb_value_get(properties, "ChannelAddress"), "");
        return 0;
}

/* What needs attention has been told: there is no sentence more. What was not told cannot be said to be well. */
static int judge(Cli *cli, const Status *status)
{
        if (status->n_attention > 0)
                return CB_FAILED;
        if (!status->is_told_health)
                return cli_fail(cli, CB_ACCESS_DENIED,
                                "--check needs the operation \"audit\", without which certbrokerd "
                                "does not tell how its audit log and limits are.");
        return 0;
}

static int verb_status(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_value_freep) cb_value *manager = NULL, *metrics = NULL;
        CLEANUP(everything_deinit) Everything all = { 0 };
        CLEANUP(table_freep) Table *attention = NULL, *waiting = NULL;
        CLEANUP(json_freep) json_t *json = json_array();
        CLEANUP(json_freep) json_t *json_waiting = json_array();
        Status status = { .now = (uint64_t)time(NULL), .json = json, .json_waiting = json_waiting };
        const char *text;
        int r;

        if (!json || !json_waiting || table_new(NULL, 2, &attention) ||
            table_new(NULL, 2, &waiting))
                return cli_out_of_memory(cli);
        status.attention = attention;
        status.waiting = waiting;
        r = get_manager(cli, &manager, &status);
        if (r == 0)
                r = ask_everything(cli, &all);
        if (r)
                return r;
        if (get_metrics(cli, &status, &metrics))
                return cli_out_of_memory(cli);
        text = cb_value_string(cb_value_at(metrics, 0), "");
        if (look_at_problems(&status, text) || look_at_held_back(&status, text) ||
            look_at_all(&status, &all) || look_at_limits(&status, text) ||
            look_at_waiting(cli, &status, &all.of[KIND_CERTIFICATE]))
                return cli_out_of_memory(cli);
        r = show_status(cli, &status);
        return r == 0 && arguments_has(arguments, "--check") ? judge(cli, &status) : r;
}

static const Option status_options[] = {
        { "--check", NULL, "exit status 1 where something needs attention, for monitoring", false,
          false },
        { NULL },
};

const Verb status_verbs[] = {
        { "",
          { NULL },
          status_options,
          verb_status,
          "Say how everything is, and what needs attention",
          "Shows whether certbrokerd runs, which sources are not ready, which certificates expire "
          "within\n"
          "30 days or cannot be used, and for which backends a verification is switched off; and\n"
          "which new generations wait for their NotBefore.",
          "certbroker status" },
        { NULL },
};
