/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a source's process still there? While it runs it is asked every few seconds, and its reading thread, which waits
 * for nothing, answers at once: so one that stands still is found before somebody waits for it. Whether its workers get
 * on is told by the deadlines of requests.
 *
 * Its socket is read before it is judged, and only at the second beat without a word: it may be we who stood still.
 */
#include <systemd/sd-event.h>

#include "broker/sources/source.h"

#define SILENT_BEATS_MAX 2

static void arm(Source *source)
{
        (void)sd_event_source_set_time_relative(source->heartbeat,
                                                source->sources->timing.heartbeat_usec);
        (void)sd_event_source_set_enabled(source->heartbeat, SD_EVENT_ONESHOT);
}

static int on_beat(sd_event_source *event_source, uint64_t usec, void *userdata)
{
        Source *source = userdata;

        (void)event_source;
        (void)usec;
        source_drain(source);
        if (source->phase != PHASE_RUNNING || source->at_eof)
                return 0;
        source->n_silent = source->is_heard ? 0 : source->n_silent + 1;
        source->is_heard = false;
        if (source->n_silent >= SILENT_BEATS_MAX) {
                source_lost(source, "its process did not respond and was killed");
                return 0;
        }
        source_ping(source);
        arm(source);
        return 0;
}

int heartbeat_new(Source *source)
{
        int r;

        r = sd_event_add_time(source->sources->event, &source->heartbeat, CLOCK_MONOTONIC,
                              UINT64_MAX, USEC_PER_MSEC, on_beat, source);
        return r < 0 ? r : sd_event_source_set_enabled(source->heartbeat, SD_EVENT_OFF);
}

void heartbeat_begin(Source *source)
{
        source->n_silent = 0;
        source->is_heard = true;
        source_ping(source);
        arm(source);
}

void heartbeat_end(Source *source)
{
        (void)sd_event_source_set_enabled(source->heartbeat, SD_EVENT_OFF);
}
