/* SPDX-License-Identifier: Apache-2.0 */
/* A call at a time: one timer, on the clock of dates or on one that nobody sets. */
#pragma once

#include <stdint.h>
#include <time.h>

typedef struct sd_event sd_event;
typedef struct Wake Wake;

typedef void (*wake_call)(void *userdata);

/* clock: CLOCK_REALTIME, or CLOCK_MONOTONIC for what only has to wait. */
int wake_new(sd_event *event, clockid_t clock, wake_call call, void *userdata, Wake **ret_wake);
Wake *wake_free(Wake *wake);
/* Replaces an earlier time; 0: never. On the clock of dates also when someone sets it past that. */
void wake_at(Wake *wake, uint64_t usec);
