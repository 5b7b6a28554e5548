/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collection of sources: what runs is what is configured. A source that is removed stays in the
 * list of the leaving until its process has ended, and is freed from the loop, never from within a
 * call.
 */
#include "broker/sources/sources.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/sources/source.h"

static const SourcesTiming default_timing = {
        .backoff_first_usec = 1 * USEC_PER_SEC,
        .backoff_max_usec = 60 * USEC_PER_SEC,
        .death_window_usec = 60 * USEC_PER_SEC,
        .good_life_usec = 60 * USEC_PER_SEC,
        .hang_grace_usec = 1 * USEC_PER_SEC,
        .eof_grace_usec = 500 * USEC_PER_MSEC,
        .stop_usec = 2 * USEC_PER_SEC,
        .heartbeat_usec = 5 * USEC_PER_SEC,
};

#define KILLED_USEC USEC_PER_SEC /* in which whatever can be killed is gone */

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

                if (source_process(source) > 0) {
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

/* --- what the starter tells --- */

/* NULL: it has been given up. */
static Source *sources_of_process(const Sources *sources, uint64_t process)
{
        for (size_t i = 0; i < sources->n; i++) {
                if (source_process(sources->items[i]) == process)
                        return sources->items[i];
        }
        for (Source *source = sources->leaving; source; source = *source_next_leaving(source)) {
                if (source_process(source) == process)
                        return source;
        }
        return NULL;
}

static int sources_on_report(sd_event_source *event_source, int fd, uint32_t revents,
                             void *userdata)
{
        Sources *sources = userdata;
        StarterReport report;
        int r;

        (void)fd;
        (void)revents;
        while ((r = starter_receive(sources->starter, 0, &report)) > 0) {
                Source *source = sources_of_process(sources, report.id);

                if (source)
                        source_on_report(source, &report);
        }
        if (r < 0) {
                (void)sd_event_source_set_enabled(event_source, SD_EVENT_OFF);
                if (sources->events.starter_lost)
                        sources->events.starter_lost(sources->userdata);
        }
        return 0;
}

/* Before what comes of the processes themselves: which of them there are is known first. */
static int sources_listen(Sources *sources)
{
        int r;

        r = sd_event_add_io(sources->event, &sources->reports, starter_fd(sources->starter),
                            EPOLLIN, sources_on_report, sources);
        if (r >= 0)
                r = sd_event_source_set_priority(sources->reports, SD_EVENT_PRIORITY_IMPORTANT);
        return r;
}

/* --- the whole collection --- */

int sources_new(sd_event *event, Starter *starter, const SourcesEvents *events, void *userdata,
                Sources **ret_sources)
{
        CLEANUP(sources_freep) Sources *sources = NULL;
        int r;

        sources = calloc(1, sizeof(*sources));
        if (!sources)
                return -ENOMEM;
        sources->event = sd_event_ref(event);
        sources->starter = starter;
        sources->events = *events;
        sources->userdata = userdata;
        sources->timing = default_timing;
        sources->buffer = malloc(WIRE_PACKET_MAX);
        if (!sources->buffer)
                return -ENOMEM;
        r = sd_event_add_defer(event, &sources->sweep, sources_on_sweep, sources);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(sources->sweep, SD_EVENT_OFF);
        if (r >= 0)
                r = sources_listen(sources);
        if (r < 0)
                return r;
        *ret_sources = TAKE(sources);
        return 0;
}

/* Until each process of the leaving has ended, or the time is over. */
static void sources_await_ends(Sources *sources, uint64_t timeout_usec)
{
        uint64_t until_usec = clock_monotonic_usec() + timeout_usec;

        for (Source *source = sources->leaving; source; source = *source_next_leaving(source)) {
                while (source_process(source) > 0) {
                        uint64_t now_usec = clock_monotonic_usec();
                        StarterReport report;
                        Source *ended;
                        int r;

                        if (now_usec >= until_usec)
                                return;
                        r = starter_receive(sources->starter, until_usec - now_usec, &report);
                        if (r < 0)
                                return; /* they have ended with the starter */
                        ended = r > 0 && report.event != STARTER_STARTED
                                        ? sources_of_process(sources, report.id)
                                        : NULL;
                        if (ended)
                                source_forget_process(ended);
                }
        }
}

static void sources_kill(Sources *sources)
{
        for (Source *source = sources->leaving; source; source = *source_next_leaving(source)) {
                if (source_process(source) > 0)
                        (void)starter_kill(sources->starter, source_process(source));
        }
}

static void sources_put_away(Sources *sources)
{
        for (size_t i = 0; i < sources->n; i++) {
                *source_next_leaving(sources->items[i]) = sources->leaving;
                sources->leaving = sources->items[i];
        }
        sources->n = 0;
}

/* Closes all sockets first, so that all processes end at the same time; then waits for them. */
void sources_stop(Sources *sources)
{
        /*
         * Who is answered here may still ask for any of them: so all are shut before one is freed.
         */
        for (size_t i = 0; i < sources->n; i++)
                source_shut(sources->items[i]);
        for (size_t i = 0; i < sources->n; i++)
                source_abandon(sources->items[i]);
        sources_put_away(sources);
        sources_await_ends(sources, sources->timing.stop_usec);
        sources_kill(sources);
        sources_await_ends(sources, KILLED_USEC);

        while (sources->leaving) {
                Source *source = sources->leaving;

                sources->leaving = *source_next_leaving(source);
                source_forget_process(source); /* in a call into the kernel that does not return */
                source_free(source);
        }
}

Sources *sources_free(Sources *sources)
{
        if (!sources)
                return NULL;
        sources_stop(sources);
        sd_event_source_disable_unref(sources->reports);
        sd_event_source_disable_unref(sources->sweep);
        sd_event_unref(sources->event);
        free(sources->items);
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

static void on_looked(void *userdata, WireReply *reply)
{
        (void)userdata; /* what it has found is in its state */
        (void)reply;
}

/* What locks a source may have been mended in a file that the configuration names: its PIN. */
static void look_again(Source *source)
{
        Failure failure = { 0 };
        WireRequest request;

        if (source_state(source) != SOURCE_LOCKED || !source_setting(source, "pin-file"))
                return;
        wire_request_init(&request, WIRE_REFRESH);
        (void)source_submit(source, &request, on_looked, NULL, &failure);
}

static int sources_apply(Sources *sources, const SourceConfig *config)
{
        Source *source = sources_find(sources, config->name);

        if (!source)
                return sources_add(sources, config);
        if (source_config_equal(source_config(source), config)) {
                look_again(source);
                return 0;
        }
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
