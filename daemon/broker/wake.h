/* SPDX-License-Identifier: Apache-2.0 */
/* A call at a date: one timer on the real-time clock. */
#pragma once

#include <stdint.h>

typedef struct sd_event sd_event;
typedef struct Wake Wake;

typedef void (*wake_call)(void *userdata);

int wake_new(sd_event *event, wake_call call, void *userdata, Wake **ret_wake);
Wake *wake_free(Wake *wake);
/* Replaces an earlier date; 0: never. Also when someone sets the clock past it. */
void wake_at(Wake *wake, uint64_t realtime_sec);
