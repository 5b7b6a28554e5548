/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timer on CLOCK_REALTIME: it comes with the date, also when someone sets the clock. It keeps one date
 * and does not know what it is for.
 */
#include "broker/wake.h"

#include <errno.h>
#include <stdlib.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "base/macro.h"

struct Wake {
        sd_event_source *timer;
        wake_call call;
        void *userdata;
};

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
        Wake *wake = userdata;

        wake->call(wake->userdata);
        return 0;
}

int wake_new(sd_event *event, wake_call call, void *userdata, Wake **ret_wake)
{
        Wake *wake = calloc(1, sizeof(*wake));
        int r;

        if (!wake)
                return -ENOMEM;
        wake->call = call;
        wake->userdata = userdata;
        r = sd_event_add_time(event, &wake->timer, CLOCK_REALTIME, 0, USEC_PER_SEC, on_time, wake);
        if (r >= 0)
                r = sd_event_source_set_enabled(wake->timer, SD_EVENT_OFF);
        if (r < 0) {
                wake_free(wake);
                return r;
        }
        *ret_wake = wake;
        return 0;
}

Wake *wake_free(Wake *wake)
{
        if (!wake)
                return NULL;
        sd_event_source_disable_unref(wake->timer);
        free(wake);
        return NULL;
}

void wake_at(Wake *wake, uint64_t realtime_sec)
{
        if (realtime_sec == 0) {
                (void)sd_event_source_set_enabled(wake->timer, SD_EVENT_OFF);
                return;
        }
        realtime_sec = MIN(realtime_sec, UINT64_MAX / USEC_PER_SEC - 1);
        (void)sd_event_source_set_time(wake->timer, realtime_sec * USEC_PER_SEC);
        (void)sd_event_source_set_enabled(wake->timer, SD_EVENT_ONESHOT);
}
