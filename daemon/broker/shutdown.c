/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the broker ends: whoever has stopped taking requests hands in a question that is asked after each
 * turn of the loop. It stops nothing by itself, and frees nothing.
 */
#include "broker/shutdown.h"

#include <stdint.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "base/log.h"
#include "base/macro.h"

#define LIMIT_USEC (5 * USEC_PER_SEC)

static int on_limit(sd_event_source *source, uint64_t usec, void *userdata)
{
        Shutdown *shutdown = userdata;

        log_warning("requests are still in flight after 5 s: ending without them");
        return sd_event_exit(shutdown->event, 0);
}

static int on_look(sd_event_source *source, void *userdata)
{
        Shutdown *shutdown = userdata;

        return shutdown->is_done(shutdown->userdata) ? sd_event_exit(shutdown->event, 0) : 0;
}

int shutdown_begin(Shutdown *shutdown, sd_event *event, bool (*is_done)(void *userdata),
                   void *userdata)
{
        int r;

        *shutdown = (Shutdown){
                .has_begun = true,
                .event = event,
                .is_done = is_done,
                .userdata = userdata,
        };
        r = sd_event_add_post(event, &shutdown->look, on_look, shutdown);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &shutdown->limit, CLOCK_MONOTONIC, LIMIT_USEC,
                                               USEC_PER_MSEC, on_limit, shutdown);
        return r < 0 ? r : 0;
}

void shutdown_deinit(Shutdown *shutdown)
{
        sd_event_source_disable_unref(shutdown->look);
        sd_event_source_disable_unref(shutdown->limit);
        *shutdown = (Shutdown){ 0 };
}
