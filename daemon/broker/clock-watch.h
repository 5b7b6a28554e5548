/* SPDX-License-Identifier: Apache-2.0 */
/* Logs that somebody has set the clock, or that the host was suspended. */
#pragma once

#include "base/macro.h"

typedef struct sd_event sd_event;
typedef struct ClockWatch ClockWatch;

int clock_watch_new(sd_event *event, ClockWatch **ret_watch);
ClockWatch *clock_watch_free(ClockWatch *watch);
/* Compares the clocks with what they showed when they were looked at last. */
void clock_watch_look(ClockWatch *watch);

DEFINE_CLEANUP(ClockWatch, clock_watch_free)
