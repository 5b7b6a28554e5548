/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collection of sources: what runs is what is configured. A source that is removed stays in the
 * list of the leaving until its process is reaped, and is freed from the loop, never from within a
 * call.
 *
 * SIGCHLD must be blocked in every thread: the loop reaps the processes (sd_event_add_child(3)).
 */
#include "broker/sources/sources.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "base/strings.h"
#include "broker/sources/process.h"
#include "broker/sources/source.h"

static const SourcesTiming default_timing = {
        .backoff_first_usec = 1 * USEC_PER_SEC,
        .backoff_max_usec = 60 * USEC_PER_SEC,
        .death_window_usec = 60 * USEC_PER_SEC,
        .good_life_usec = 60 * USEC_PER_SEC,
        .hang_grace_usec = 1 * USEC_PER_SEC,
        .eof_grace_usec = 500 * USEC_PER_MSEC,
        .stop_usec = 2 * USEC_PER_SEC,
};

void sources_set_timing(Sources *sources, const SourcesTiming *timing)
{
        sources->timing = *timing;
}

static int sources_on_sweep(sd_event_source *event_source, void *userdata)
{
        Sources *sources = userdata;
        Source **place = &sources->leaving;

        (void)event_source;
        while (*place) {
                Source *source = *place;

                if (source_pid(source) > 0) {
                        place = source_next_leaving(source);
                        continue;
                }
                *place = *source_next_leaving(source);
                source_free(source);
        }
        return 0;
}

void sources_sweep_soon(Sources *sources)
{
        (void)sd_event_source_set_enabled(sources->sweep, SD_EVENT_ONESHOT);
}

void sources_reserve(void)
{
        (void)process_reserve(); /* where it is taken, a start can wait for what others have handed in */
}

int sources_new(sd_event *event, const char *helper, const SourcesEvents *events, void *userdata,
                Sources **ret_sources)
{
        CLEANUP(sources_freep) Sources *sources = NULL;
        sigset_t blocked;
        int r;

        if (sigprocmask(SIG_SETMASK, NULL, &blocked) < 0)
                return -errno;
        if (!sigismember(&blocked, SIGCHLD))
                return -EBUSY;

        sources = calloc(1, sizeof(*sources));
        if (!sources)
                return -ENOMEM;
        sources->event = sd_event_ref(event);
        sources->events = *events;
        sources->userdata = userdata;
        sources->timing = default_timing;
        sources->helper = strdup(helper);
        sources->buffer = malloc(WIRE_PACKET_MAX);
        if (!sources->helper || !sources->buffer)
                return -ENOMEM;
        r = sd_event_add_defer(event, &sources->sweep, sources_on_sweep, sources);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(sources->sweep, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret_sources = TAKE(sources);
        return 0;
}

static size_t leaving_count(Sources *sources)
{
        size_t n = 0;

        for (Source *source = sources->leaving; source; source = *source_next_leaving(source))
                n++;
        return n;
}

static void sources_release(Source *source, pid_t *pids, size_t *n)
{
        pid_t pid = source_abandon(source);

        if (pids)
                pids[(*n)++] = pid;
        else
                process_reap_all(&pid, 1, 0);
}

/* Closes all sockets first, so that all processes end at the same time; then waits for them. */
void sources_stop(Sources *sources)
{
        size_t n = 0;
        CLEANUP(freep) pid_t *pids = calloc(sources->n + leaving_count(sources) + 1, sizeof(*pids));

        /*
         * Who is answered here may still ask for any of them: so all are shut before one is freed.
         */
        for (size_t i = 0; i < sources->n; i++)
                source_shut(sources->items[i]);
        for (size_t i = 0; i < sources->n; i++)
                sources_release(sources->items[i], pids, &n);
        for (Source *source = sources->leaving; source; source = *source_next_leaving(source))
                sources_release(source, pids, &n);
        if (pids)
                process_reap_all(pids, n, sources->timing.stop_usec);

        for (size_t i = 0; i < sources->n; i++)
                source_free(sources->items[i]);
        sources->n = 0;
        while (sources->leaving) {
                Source *source = sources->leaving;

                sources->leaving = *source_next_leaving(source);
                source_free(source);
        }
}

Sources *sources_free(Sources *sources)
{
        if (!sources)
                return NULL;
        sources_stop(sources);
        sd_event_source_disable_unref(sources->sweep);
        sd_event_unref(sources->event);
        free(sources->items);
        free(sources->helper);
        free(sources->buffer);
        free(sources);
        return NULL;
}

static void sources_remove(Sources *sources, Source *source)
{
        CLEANUP(freep) char *name = strdup(source_name(source));

        *source_next_leaving(source) = sources->leaving;
        sources->leaving = source;
        source_leave(source);
        log_info("source '%s' is no longer configured", source_name(source));
        if (sources->events.removed)
                sources->events.removed(sources->userdata, name ?: "");
}

static bool config_names(const Config *config, const char *name)
{
        for (size_t i = 0; i < config->n_sources; i++) {
                if (string_equal(config->sources[i]->name, name))
                        return true;
        }
        return false;
}

/* Takes what is no longer configured out of the list. */
static void sources_drop_others(Sources *sources, const Config *config)
{
        size_t n_kept = 0, n = sources->n;

        for (size_t i = 0; i < n; i++) {
                if (config_names(config, source_name(sources->items[i])))
                        n_kept++;
        }
        if (n_kept == n)
                return;

        /* First the list, then the calls: whoever is told finds it as it will be. */
        for (size_t i = 0, place = 0; i < n; i++) {
                Source *source = sources->items[i];

                if (!config_names(config, source_name(source)))
                        continue;
                sources->items[i] = sources->items[place];
                sources->items[place++] = source;
        }
        sources->n = n_kept;
        for (size_t i = n_kept; i < n; i++)
                sources_remove(sources, sources->items[i]);
}

static int sources_add(Sources *sources, const SourceConfig *config)
{
        Source *source = NULL;
        size_t index = 0;
        int r;

        r = source_new(sources, config, &source);
        if (r < 0)
                return r;
        while (index < sources->n && strcmp(source_name(sources->items[index]), config->name) < 0)
                index++;
        memmove(&sources->items[index + 1], &sources->items[index],
                (sources->n - index) * sizeof(*sources->items));
        sources->items[index] = source;
        sources->n++;
        if (sources->events.added)
                sources->events.added(sources->userdata, source);
        source_start(source);
        return 0;
}

static int sources_apply(Sources *sources, const SourceConfig *config)
{
        Source *source = sources_find(sources, config->name);

        if (!source)
                return sources_add(sources, config);
        if (source_config_equal(source_config(source), config))
                return 0;
        return source_reconfigure(source, config);
}

int sources_configure(Sources *sources, const Config *config)
{
        Source **items;
        int r;

        sources->request_timeout_usec = config->request_timeout_usec;
        items = reallocarray(sources->items, sources->n + config->n_sources + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        sources->items = items;

        sources_drop_others(sources, config);
        for (size_t i = 0; i < config->n_sources; i++) {
                r = sources_apply(sources, config->sources[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

size_t sources_count(const Sources *sources)
{
        return sources->n;
}

Source *sources_at(const Sources *sources, size_t index)
{
        assert_always(index < sources->n);
        return sources->items[index];
}

Source *sources_find(const Sources *sources, const char *name)
{
        for (size_t i = 0; i < sources->n; i++) {
                if (string_equal(source_name(sources->items[i]), name))
                        return sources->items[i];
        }
        return NULL;
}
