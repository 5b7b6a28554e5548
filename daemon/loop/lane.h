/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lane: a bounded queue, its worker thread, and completions back on the loop. The broker has one,
 * for what must be durable; jobs run in the order of submission, and complete in that order.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

typedef struct sd_event sd_event;
typedef struct Lane Lane;

int lane_new(sd_event *event, size_t n_queue_max, Lane **ret_lane);
/* Finishes what is queued (without calling `done`), then joins the thread. */
Lane *lane_free(Lane *lane);
DEFINE_CLEANUP(Lane, lane_free)

typedef int (*lane_work)(void *userdata);         /* on the worker's thread */
typedef void (*lane_done)(void *userdata, int r); /* on the loop, with what `work` returned */

/* -EBUSY when the queue is full: nothing was taken. */
int lane_submit(Lane *lane, lane_work work, lane_done done, void *userdata);
size_t lane_pending(const Lane *lane);
/* For how long the job under way has been; 0: none is. What makes one long is a disk that does not answer. */
uint64_t lane_busy_usec(Lane *lane);
/* Runs completions until all that was submitted is done: at shutdown. */
void lane_drain(Lane *lane);
