/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One source: its process, what it said last about itself, and the requests in flight to it.
 *
 * Two things have a state. The SourceState is what the process says of its token, and what a caller
 * is shown; the Phase is where the process itself is in its life. Invariants: requests are in
 * flight only while there is a socket; a process that is given up is answered for (its requests,
 * its state) before anything else happens; at most one process of a source exists at a time, but for one
 * that not even SIGKILL ends.
 *
 * It knows no driver and no secret: settings go through as they are.
 */
#include "broker/sources/source.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"

/* --- state, as callers see it --- */

static void source_set_state(Source *source, SourceState state, enum log_level level, const char *text)
{
        CLEANUP(freep) char *escaped = NULL;
        bool same = state == source->state;

        escaped =
                text_escape(string_or_empty(text), strlen(string_or_empty(text)), SOURCE_TEXT_MAX);
        if (state == SOURCE_READY || source->state == SOURCE_READY)
                source->last_ready_sec = clock_realtime_sec();
        if (same && string_equal(string_or_empty(escaped), source_last_error(source)))
                return;

        source->served_sec = source_served_sec(source);
        source->state = state;
        free(source->last_error);
        source->last_error = TAKE(escaped);
        if (source->leaving)
                return;
        log_line(level, "source '%s' is %s%s%s", source_name(source), source_state_name(state),
                 *source_last_error(source) ? ": " : "", source_last_error(source));
        if (source->sources->events.changed)
                source->sources->events.changed(source->sources->userdata, source);
}

static enum log_level level_of(SourceState state)
{
        return state == SOURCE_READY || state == SOURCE_STARTING ? LOG_LEVEL_INFO
                                                                 : LOG_LEVEL_WARNING;
}

void source_on_event(Source *source, const WireReply *reply)
{
        /* Above all: a new process says that it starts; what a person must unlock stays locked. */
        if (!source_state_may_follow(source->state, reply->state)) {
                log_debug("source '%s' stays %s: %s may not follow", source_name(source),
                          source_state_name(source->state), source_state_name(reply->state));
                return;
        }
        source_set_state(source, reply->state, level_of(reply->state), reply->state_text);
}

/* --- phases of the process --- */

/* clang-format off */
static const bool phase_may_follow[_PHASE_N][_PHASE_N] = {
        /* to:                 WAITING CONFIGURING RUNNING STOPPING */
        [PHASE_WAITING]     = { true,  true,       false,  false },
        [PHASE_CONFIGURING] = { true,  false,      true,   true },
        [PHASE_RUNNING]     = { true,  false,      false,  true },
        [PHASE_STOPPING]    = { true,  false,      false,  false },
};
/* clang-format on */

void source_arm_phase(Source *source, uint64_t delay_usec)
{
        (void)sd_event_source_set_time_relative(source->phase_timer, delay_usec);
        (void)sd_event_source_set_enabled(source->phase_timer, SD_EVENT_ONESHOT);
}

static void phase_enter(Source *source, Phase phase)
{
        assert_always(phase_may_follow[source->phase][phase]);
        source->phase = phase;
        (void)sd_event_source_set_enabled(source->phase_timer, SD_EVENT_OFF);
        heartbeat_end(source);
        switch (phase) {
        case PHASE_WAITING:
                if (source->leaving)
                        sources_sweep_soon(source->sources);
                else
                        source_arm_phase(source, source->restart_usec);
                return;
        case PHASE_CONFIGURING:
                return;
        case PHASE_RUNNING:
                heartbeat_begin(source);
                return;
        case PHASE_STOPPING:
                source->killed = false;
                source_arm_phase(source, source->sources->timing.stop_usec);
                return;
        case _PHASE_N:
                break;
        }
        assert_always(false);
}

/*
 * A thread of it is in a call that the kernel does not end, such as a read from a file system whose server
 * does not answer: that may last, and signing does not wait for it. The starter reaps it whenever it ends.
 */
static void source_orphan(Source *source)
{
        log_error("source '%s': its process %d cannot be ended, and is left behind",
                  source_name(source), (int)source->pid);
        source_forget_process(source);
        phase_enter(source, PHASE_WAITING);
}

static int source_on_phase_time(sd_event_source *event_source, uint64_t usec, void *userdata)
{
        Source *source = userdata;

        (void)event_source;
        (void)usec;
        switch (source->phase) {
        case PHASE_WAITING:
                source_spawn(source);
                return 0;
        case PHASE_CONFIGURING:
        case PHASE_RUNNING:
                if (source->at_eof)
                        source_lost(source, "its process closed the connection without ending");
                return 0;
        case PHASE_STOPPING:
                if (source->killed) {
                        source_orphan(source);
                        return 0;
                }
                (void)starter_kill(source->sources->starter, source->process);
                source->killed = true;
                source_arm_phase(source, source->sources->timing.stop_usec);
                return 0;
        case _PHASE_N:
                break;
        }
        return 0;
}

static void source_close(Source *source)
{
        source->io = sd_event_source_disable_unref(source->io);
        source->fd = close_fd(source->fd);
        source->at_eof = false;
}

/* --- the end of a process --- */

/* 0: at once, for the first that dies after a good life. */
static uint64_t source_next_delay(Source *source)
{
        const SourcesTiming *timing = &source->sources->timing;
        uint64_t now_usec = clock_monotonic_usec(), delay_usec, oldest_usec;
        uint32_t random = 0;

        if (now_usec - source->started_usec >= timing->good_life_usec) {
                backoff_reset(&source->backoff);
                source->n_deaths = 0;
        }
        source->deaths_usec[source->n_deaths++ % SOURCE_DEATHS_MAX] = now_usec;
        if (source->n_deaths == 1)
                return 0;
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
                random = (uint32_t)now_usec;
        delay_usec = backoff_next_usec(&source->backoff, random);
        if (source->n_deaths >= SOURCE_DEATHS_MAX) {
                oldest_usec = source->deaths_usec[source->n_deaths % SOURCE_DEATHS_MAX];
                if (now_usec - oldest_usec <= timing->death_window_usec)
                        delay_usec = MAX(delay_usec, timing->backoff_max_usec);
        }
        return delay_usec;
}

/*
 * Gives the process up: killed if it is there, its requests answered, the next one waited for. Where that is started at
 * once, new requests wait for it, as at the first start.
 */
void source_lost(Source *source, const char *why)
{
        char text[SOURCE_TEXT_MAX];

        source_close(source);
        source->restart_usec = source_next_delay(source);
        if (source->process > 0)
                (void)starter_kill(source->sources->starter, source->process);
        phase_enter(source, source->process > 0 ? PHASE_STOPPING : PHASE_WAITING);

        if (source->restart_usec == 0)
                snprintf(text, sizeof(text), "%s; it is started again", why);
        else
                snprintf(text, sizeof(text), "%s; it is started again in %" PRIu64 " s", why,
                         (source->restart_usec + USEC_PER_SEC - 1) / USEC_PER_SEC);
        if (source->state == SOURCE_LOCKED)
                log_warning("source '%s': %s", source_name(source), text);
        else
                source_set_state(source,
                                 source->restart_usec == 0 ? SOURCE_STARTING : SOURCE_UNAVAILABLE,
                                 LOG_LEVEL_WARNING, text);
        source_answer_all(source, why);
}

static void describe_end(const Source *source, const StarterReport *report, char *ret_text,
                         size_t n)
{
        if (report->event == STARTER_FAILED)
                snprintf(ret_text, n, "its process %s cannot be started: %s",
                         starter_helper(source->sources->starter), strerror(report->detail));
        else if (report->code == CLD_EXITED)
                snprintf(ret_text, n, "its process ended with status %d", report->detail);
        else
                snprintf(ret_text, n, "its process was killed by signal %d (%s)", report->detail,
                         string_or_empty(sigabbrev_np(report->detail)));
}

static void source_on_end(Source *source, const StarterReport *report)
{
        bool expected = source->phase == PHASE_STOPPING;
        char why[256];

        describe_end(source, report, why, sizeof(why));
        source_forget_process(source);

        /* What it answered before it ended counts. */
        while (source_has_socket(source) && !source->at_eof && source_receive(source) > 0)
                ;
        if (expected)
                phase_enter(source, PHASE_WAITING);
        else if (source->process == 0 && source->phase != PHASE_WAITING)
                source_lost(source, why);
}

void source_on_report(Source *source, const StarterReport *report)
{
        if (report->event == STARTER_STARTED)
                source->pid = report->detail;
        else
                source_on_end(source, report);
}

void source_forget_process(Source *source)
{
        source->process = 0;
        source->pid = 0;
}

/* Lets a process that did nothing wrong end. */
static void source_stop(Source *source)
{
        source_close(source);
        if (source->process > 0 && source->phase != PHASE_STOPPING)
                phase_enter(source, PHASE_STOPPING);
}

/* --- the start of a process --- */

static void source_on_configured(void *userdata, WireReply *reply)
{
        Source *source = userdata;

        /*
         * Answered for a process that has been given up, or late: then the hang check has its turn.
         */
        if (source->phase != PHASE_CONFIGURING || reply->failure.status == CB_TIMED_OUT)
                return;
        if (reply->failure.status == 0)
                phase_enter(source, PHASE_RUNNING);
        else
                source_lost(source, reply->failure.text);
}

static int source_send_settings(Source *source)
{
        WireRequest request;
        Failure failure = { 0 };
        char text[512];
        int r;

        wire_request_init(&request, WIRE_CONFIGURE);
        r = strv_copy(source->config->settings, &request.settings);
        if (r == 0) {
                snprintf(text, sizeof(text), "name=%s", source->config->name);
                r = strv_append(&request.settings, text);
        }
        if (r == 0) {
                snprintf(text, sizeof(text), "driver=%s", source->config->driver);
                r = strv_append(&request.settings, text);
        }
        if (r == 0)
                r = source_submit(source, &request, source_on_configured, source, &failure);
        wire_request_deinit(&request);
        return r;
}

/* Its settings wait in the socket for it. */
void source_spawn(Source *source)
{
        Sources *sources = source->sources;
        char why[256];
        int r;

        source->started_usec = clock_monotonic_usec();
        r = starter_start(sources->starter, sources->last_process + 1, &source->fd);
        phase_enter(source, PHASE_CONFIGURING);
        if (r == 0) {
                source->process = ++sources->last_process;
                r = sd_event_add_io(sources->event, &source->io, source->fd, EPOLLIN, source_on_io,
                                    source);
        }
        if (r >= 0)
                r = source_send_settings(source);
        if (r == CB_SOURCE_UNAVAILABLE && source->process > 0)
                return; /* it has ended already: how, is about to be reported */
        if (r != 0) {
                snprintf(why, sizeof(why), "its process %s cannot be started: %s",
                         starter_helper(sources->starter), r < 0 ? strerror(-r) : status_word(r));
                source_lost(source, why);
        }
}

void source_start(Source *source)
{
        source_spawn(source);
}

/* --- life --- */

static int source_add_timer(Source *source, sd_event_time_handler_t handler,
                            sd_event_source **ret_timer)
{
        int r;

        r = sd_event_add_time(source->sources->event, ret_timer, CLOCK_MONOTONIC, UINT64_MAX,
                              USEC_PER_MSEC, handler, source);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(*ret_timer, SD_EVENT_OFF);
}

int source_new(Sources *sources, const SourceConfig *config, Source **ret_source)
{
        CLEANUP(source_freep) Source *source = NULL;
        int r;

        source = calloc(1, sizeof(*source));
        if (!source)
                return -ENOMEM;
        source->sources = sources;
        source->fd = -1;
        source->state = SOURCE_STARTING;
        source->backoff = (Backoff){
                .first_usec = sources->timing.backoff_first_usec,
                .max_usec = sources->timing.backoff_max_usec,
        };
        r = source_config_copy(config, &source->config);
        if (r == 0)
                r = pending_new(&source->pending);
        if (r == 0)
                r = source_add_timer(source, source_on_phase_time, &source->phase_timer);
        if (r == 0)
                r = source_add_timer(source, source_on_deadline, &source->deadline_timer);
        if (r == 0)
                r = heartbeat_new(source);
        if (r < 0)
                return r;
        *ret_source = TAKE(source);
        return 0;
}

Source *source_free(Source *source)
{
        if (!source)
                return NULL;
        assert_always(source->process == 0);
        source_close(source);
        sd_event_source_disable_unref(source->phase_timer);
        sd_event_source_disable_unref(source->deadline_timer);
        sd_event_source_disable_unref(source->heartbeat);
        pending_free(source->pending);
        source_config_free(source->config);
        free(source->last_error);
        free(source);
        return NULL;
}

int source_reconfigure(Source *source, const SourceConfig *config)
{
        SourceConfig *copy = NULL;
        int r;

        r = source_config_copy(config, &copy);
        if (r < 0)
                return r;
        source_config_free(source->config);
        source->config = copy;

        backoff_reset(&source->backoff);
        source->n_deaths = 0;
        source->restart_usec = 0;
        source_stop(source);
        source_answer_all(source, "its configuration has changed");
        source_set_state(source, SOURCE_STARTING, LOG_LEVEL_INFO, "its configuration has changed");
        if (source->phase == PHASE_WAITING)
                source_arm_phase(source, 0);
        return 0;
}

void source_leave(Source *source)
{
        source->leaving = true;
        source_stop(source);
        source_answer_all(source, "it is no longer configured");
        if (source->phase == PHASE_WAITING)
                phase_enter(source, PHASE_WAITING);
}

void source_shut(Source *source)
{
        source->leaving = true;
        source_close(source);
}

void source_abandon(Source *source)
{
        source_shut(source);
        source_answer_all(source, "the broker ends");
}

uint64_t source_process(const Source *source)
{
        return source->process;
}

pid_t source_pid(const Source *source)
{
        return source->pid;
}

Source **source_next_leaving(Source *source)
{
        return &source->next_leaving;
}

const SourceConfig *source_config(const Source *source)
{
        return source->config;
}

const char *source_name(const Source *source)
{
        return source->config->name;
}

const char *source_driver(const Source *source)
{
        return source->config->driver;
}

size_t source_in_flight(const Source *source)
{
        return pending_count(source->pending);
}

uint64_t source_max_stale_sec(const Source *source)
{
        const char *usec = source_config_get(source->config, "max-stale");

        return usec ? strtoull(usec, NULL, 10) / USEC_PER_SEC : UINT64_MAX;
}

uint64_t source_served_sec(const Source *source)
{
        return source_state_serves(source->state) ? clock_realtime_sec() : source->served_sec;
}

void source_recall_served(Source *source, uint64_t sec)
{
        source->served_sec = MAX(source->served_sec, sec);
}

const char *source_setting(const Source *source, const char *key)
{
        return source_config_get(source->config, key);
}

const char *source_uri(const Source *source)
{
        return string_or_empty(source_config_get(source->config, "uri"));
}

SourceState source_state(const Source *source)
{
        return source->state;
}

const char *source_last_error(const Source *source)
{
        return string_or_empty(source->last_error);
}

uint64_t source_last_ready_sec(const Source *source)
{
        return source->last_ready_sec;
}
