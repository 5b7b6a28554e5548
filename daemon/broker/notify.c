/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What systemd is told. `systemctl status` shows the line, where administrators look first: so it
 * names what does not work, the worst first, and only then what does. The invariant: it is sent
 * where it differs from the one before, and ten times a second at the most, whatever happens. Where
 * certbrokerd was not started by a service manager, nothing is done.
 */
#include "broker/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "base/strings.h"

#define TOUCH_USEC (100 * USEC_PER_MSEC)
#define LINE_MAX_TEXT 512
#define NAMED_MAX  4 /* sources; the rest is counted */

typedef struct Line {
        char text[LINE_MAX_TEXT];
        size_t n;
} Line;

struct Notify {
        ReportRooms rooms;
        uint64_t wait_usec;
        sd_event_source *timer;    /* when it is touched */
        sd_event_source *deadline; /* of the wait for sources */
        bool is_waiting, is_ready, is_stopping, is_refused;
        Line line; /* as it was sent */
};

/* --- the line --- */

static void add(Line *line, const char *format, ...) PRINTF(2, 3);
static void add(Line *line, const char *format, ...)
{
        va_list list;
        int n;

        va_start(list, format);
        n = vsnprintf(line->text + line->n, sizeof(line->text) - line->n, format, list);
        va_end(list);
        if (n > 0)
                line->n = MIN(line->n + (size_t)n, sizeof(line->text) - 1);
}

static void add_problem(Line *line, const char *text)
{
        add(line, "%s%s", line->n > 0 ? "; " : "", text);
}

static void add_files(Line *line, const ReportRooms *rooms)
{
        if (ledger_is_failing(rooms->ledger))
                add_problem(line, "audit log cannot be written");
        else if (ledger_problem(rooms->ledger)[0])
                add_problem(line, "audit log is not as it was written");
        if (store_problem(rooms->store)[0])
                add_problem(line, "store cannot be written");
        if (ledger_rollback(rooms->ledger)[0])
                add_problem(line, "store is older than the audit log");
}

static void add_missing(void *userdata, const char *source, const char *text)
{
        Line *line = userdata;

        (void)text;
        add(line, "%ssource %s is not configured", line->n > 0 ? "; " : "", source);
}

/* Returns how many are ready. */
static size_t add_sources(Line *line, const Sources *sources)
{
        size_t n_ready = 0, n_named = 0;

        for (size_t i = 0; i < sources_count(sources); i++) {
                const Source *source = sources_at(sources, i);
                SourceState state = source_state(source);

                if (state == SOURCE_READY)
                        n_ready++;
                else if (n_named++ < NAMED_MAX)
                        add(line, "%ssource %s %s", line->n > 0 ? "; " : "", source_name(source),
                            source_state_name(state));
        }
        if (n_named > NAMED_MAX)
                add(line, "; %zu more sources not ready", n_named - NAMED_MAX);
        return n_ready;
}

static const char *plural(size_t n)
{
        return n == 1 ? "" : "s";
}

static void make_line(const Notify *notify, Line *line)
{
        const ReportRooms *rooms = &notify->rooms;
        size_t n = sources_count(rooms->sources), n_ready;
        size_t n_certificates = catalog_certificates(rooms->catalog)->n;

        *line = (Line){ 0 };
        add_files(line, rooms);
        if (notify->is_refused)
                add_problem(line, "the configuration is wrong, and the one before is in force");
        n_ready = add_sources(line, rooms->sources);
        manage_each_missing(rooms->manage, add_missing, line);
        if (line->n > 0)
                add(line, "; ");
        if (n == 0)
                add(line, "no source is configured, ");
        else if (n_ready == n)
                add(line, "%zu source%s ready, ", n, plural(n));
        else
                add(line, "%zu of %zu source%s ready, ", n_ready, n, plural(n));
        add(line, "%zu certificate%s", n_certificates, plural(n_certificates));
}

static void tell_line(Notify *notify)
{
        Line line;

        if (!notify->is_ready && !notify->is_waiting)
                return;
        make_line(notify, &line);
        if (strcmp(line.text, notify->line.text) == 0)
                return;
        notify->line = line;
        (void)sd_notifyf(0, "STATUS=%s", line.text);
}

/* --- ready --- */

static bool is_any_starting(const Sources *sources)
{
        for (size_t i = 0; i < sources_count(sources); i++)
                if (source_state(sources_at(sources, i)) == SOURCE_STARTING)
                        return true;
        return false;
}

static void become_ready(Notify *notify)
{
        notify->is_waiting = false;
        notify->is_ready = true;
        (void)sd_event_source_set_enabled(notify->deadline, SD_EVENT_OFF);
        (void)sd_notify(0, "READY=1");
        log_info("ready");
        tell_line(notify);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
        Notify *notify = userdata;

        if (notify->is_waiting)
                become_ready(notify);
        return 0;
}

static int on_touched(sd_event_source *source, uint64_t usec, void *userdata)
{
        Notify *notify = userdata;

        if (notify->is_waiting && !is_any_starting(notify->rooms.sources))
                become_ready(notify);
        else
                tell_line(notify);
        return 0;
}

void notify_owned(Notify *notify)
{
        if (notify->is_ready) {
                log_info("ready");
                return;
        }
        if (notify->is_waiting)
                return;
        if (notify->wait_usec == 0 || !is_any_starting(notify->rooms.sources)) {
                become_ready(notify);
                return;
        }
        notify->is_waiting = true;
        (void)sd_event_source_set_time_relative(notify->deadline, notify->wait_usec);
        (void)sd_event_source_set_enabled(notify->deadline, SD_EVENT_ONESHOT);
        tell_line(notify);
}

void notify_touch(Notify *notify)
{
        int enabled = SD_EVENT_OFF;

        if (notify->is_stopping || (!notify->is_ready && !notify->is_waiting))
                return;
        (void)sd_event_source_get_enabled(notify->timer, &enabled);
        if (enabled != SD_EVENT_OFF)
                return;
        (void)sd_event_source_set_time_relative(notify->timer, TOUCH_USEC);
        (void)sd_event_source_set_enabled(notify->timer, SD_EVENT_ONESHOT);
}

void notify_reloading(Notify *notify)
{
        if (notify->is_ready)
                (void)sd_notify(0, "RELOADING=1");
}

void notify_reloaded(Notify *notify, bool is_refused)
{
        notify->is_refused = is_refused;
        if (notify->is_ready)
                (void)sd_notify(0, "READY=1");
        notify_touch(notify);
}

void notify_stopping(Notify *notify)
{
        notify->is_stopping = true;
        (void)sd_event_source_set_enabled(notify->timer, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(notify->deadline, SD_EVENT_OFF);
        (void)sd_notify(0, "STOPPING=1\nSTATUS=finishing what is in flight");
}

/* --- */

static int make_timer(sd_event *event, sd_event_time_handler_t on_time, Notify *notify,
                      sd_event_source **ret_timer)
{
        int r = sd_event_add_time_relative(event, ret_timer, CLOCK_MONOTONIC, 0, TOUCH_USEC,
                                           on_time, notify);

        return r < 0 ? r : sd_event_source_set_enabled(*ret_timer, SD_EVENT_OFF);
}

int notify_new(sd_event *event, const ReportRooms *rooms, uint64_t wait_usec, Notify **ret_notify)
{
        CLEANUP(notify_freep) Notify *notify = calloc(1, sizeof(*notify));
        int r;

        if (!notify)
                return -ENOMEM;
        notify->rooms = *rooms;
        notify->wait_usec = wait_usec;
        r = make_timer(event, on_touched, notify, &notify->timer);
        if (r >= 0)
                r = make_timer(event, on_deadline, notify, &notify->deadline);
        if (r < 0)
                return r;
        *ret_notify = TAKE(notify);
        return 0;
}

Notify *notify_free(Notify *notify)
{
        if (!notify)
                return NULL;
        sd_event_source_disable_unref(notify->timer);
        sd_event_source_disable_unref(notify->deadline);
        free(notify);
        return NULL;
}
