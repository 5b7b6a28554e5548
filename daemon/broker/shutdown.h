/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the loop: at once when nothing is left to do, after 5 s in any case. */
#pragma once

#include <stdbool.h>

typedef struct sd_event sd_event;
typedef struct sd_event_source sd_event_source;

typedef struct Shutdown {
        bool has_begun;
        sd_event *event;
        sd_event_source *look;  /* whether all is done, after each turn */
        sd_event_source *limit; /* the 5 s */
        bool (*is_done)(void *userdata);
        void *userdata;
} Shutdown;

/* The loop ends with status 0 as soon as is_done() says yes, or when the time is over. */
int shutdown_begin(Shutdown *shutdown, sd_event *event, bool (*is_done)(void *userdata),
                   void *userdata);
void shutdown_deinit(Shutdown *shutdown);
