/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source is started as it would be, and its first word that says yes or no is the answer: ready, locked or
 * unavailable. What is asked of the broker on the way (a vault that logs in with a certificate of another source) is refused:
 * there is no broker. Nothing is tried again.
 */
#include "broker/source-check.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/strings.h"
#include "broker/broker.h"
#include "broker/config/config.h"
#include "broker/sources/sources.h"

/* A module that hangs, a vault that does not answer: each has limits of its own, which are shorter. */
#define LIMIT_USEC (90 * UINT64_C(1000000))

typedef struct Trial {
        sd_event *event;
        FILE *to;
        const char *name;
        bool is_over;
        int status; /* the exit status */
} Trial;

static void end_trial(Trial *trial, const char *state, const char *text, int status)
{
        json_t *line;

        if (trial->is_over)
                return;
        trial->is_over = true;
        trial->status = status;
        line = json_pack("{s:s, s:s, s:s}", "name", trial->name, "state", state, "text", text);
        if (!line || json_dumpf(line, trial->to, JSON_COMPACT) < 0 || fputc('\n', trial->to) == EOF ||
            fflush(trial->to) == EOF)
                trial->status = BROKER_EXIT_INTERNAL;
        json_decref(line);
        (void)sd_event_exit(trial->event, 0);
}

static void on_changed(void *userdata, Source *source)
{
        Trial *trial = userdata;
        const char *text = source_last_error(source);

        switch (source_state(source)) {
        case SOURCE_READY:
                end_trial(trial, "ready", text, BROKER_EXIT_OK);
                break;
        case SOURCE_DEGRADED:
                end_trial(trial, "degraded", text, BROKER_EXIT_OK);
                break;
        case SOURCE_LOCKED:
                end_trial(trial, "locked", text, BROKER_EXIT_BUS);
                break;
        case SOURCE_UNAVAILABLE:
                end_trial(trial, "unavailable", text, BROKER_EXIT_BUS);
                break;
        case SOURCE_STARTING:
        case _SOURCE_STATE_N:
                break;
        }
}

static void on_starter_lost(void *userdata)
{
        end_trial(userdata, "unavailable", "the process that starts sources has ended",
                  BROKER_EXIT_INTERNAL);
}

static int on_late(sd_event_source *source, uint64_t usec, void *userdata)
{
        end_trial(userdata, "unavailable", "it has not said within 90 s whether it serves",
                  BROKER_EXIT_BUS);
        return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
        end_trial(userdata, "unavailable", "interrupted", BROKER_EXIT_BUS);
        return 0;
}

static int listen_to(Trial *trial)
{
        int r = sd_event_new(&trial->event);

        if (r >= 0)
                r = sd_event_add_time_relative(trial->event, NULL, CLOCK_MONOTONIC, LIMIT_USEC, 0,
                                               on_late, trial);
        if (r >= 0)
                r = sd_event_add_signal(trial->event, NULL, SIGTERM, on_signal, trial);
        if (r >= 0)
                r = sd_event_add_signal(trial->event, NULL, SIGINT, on_signal, trial);
        return r;
}

static int run_trial(Trial *trial, Starter *starter, const Config *config)
{
        static const SourcesEvents events = { .changed = on_changed, .starter_lost = on_starter_lost };
        CLEANUP(sources_freep) Sources *sources = NULL;
        int r;

        r = sources_new(trial->event, starter, &events, trial, &sources);
        if (r == 0)
                r = sources_configure(sources, config);
        if (r >= 0)
                r = sd_event_loop(trial->event);
        trial->is_over = true; /* what its end says is no answer */
        return r;
}

/* The one of that name; NULL: there is none. */
static SourceConfig *find(const Config *config, const char *name)
{
        for (size_t i = 0; i < config->n_sources; i++)
                if (string_equal(config->sources[i]->name, name))
                        return config->sources[i];
        return NULL;
}

int source_check(const char *path, const char *name, Starter *starter, FILE *to)
{
        CLEANUP(config_freep) Config *config = NULL;
        Trial trial = { .to = to, .name = name, .status = BROKER_EXIT_INTERNAL };
        Failure failure = { 0 };
        SourceConfig *one;
        Config only;
        int r;

        r = config_load(path, &config, &failure);
        if (r != 0) {
                fprintf(stderr, "%s\n", failure.text);
                return r == -ENOMEM ? BROKER_EXIT_INTERNAL : BROKER_EXIT_CONFIG;
        }
        one = find(config, name);
        if (!one) {
                fprintf(stderr, "certbrokerd: no source of the configuration is called '%s'\n", name);
                return BROKER_EXIT_USAGE;
        }
        only = *config; /* borrowed */
        only.sources = &one;
        only.n_sources = 1;
        r = listen_to(&trial);
        if (r >= 0)
                r = run_trial(&trial, starter, &only);
        sd_event_unref(trial.event);
        return r < 0 ? BROKER_EXIT_INTERNAL : trial.status;
}
