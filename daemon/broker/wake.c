/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timer that keeps one time and does not know what it is for. On CLOCK_REALTIME it comes with the
 * date, also when someone sets the clock; on another it comes when that long has passed.
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

int wake_new(sd_event *event, clockid_t clock, wake_call call, void *userdata, Wake **ret_wake)
{
        Wake *wake = calloc(1, sizeof(*wake));
        int r;

        if (!wake)
                return -ENOMEM;
        wake->call = call;
        wake->userdata = userdata;
        r = sd_event_add_time(event, &wake->timer, clock, 0, USEC_PER_SEC, on_time, wake);
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

void wake_at(Wake *wake, uint64_t usec)
{
        if (usec == 0) {
                (void)sd_event_source_set_enabled(wake->timer, SD_EVENT_OFF);
                return;
        }
        (void)sd_event_source_set_time(wake->timer, usec);
        (void)sd_event_source_set_enabled(wake->timer, SD_EVENT_ONESHOT);
}
