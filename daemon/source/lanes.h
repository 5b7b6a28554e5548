/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who works at what. Signatures have a lane with workers of its own, and whoever manages keys another: one
 * job of each owner at a time, in turn. What was handed in as descriptors is read by a thread of its own
 * before the job has its turn.
 */
#pragma once

#include <stdint.h>

#include "source/driver.h"

typedef struct Lanes Lanes;

/* Called without a lock, by the threads of the lanes but where it says otherwise. */
typedef struct LanesEvents {
        void *userdata;
        /* Answers the request. Its time may be over. */
        void (*work)(void *userdata, const DriverCall *call);
        /* Its time was over before it had its turn: answers it. On the main thread. */
        void (*expired)(void *userdata, const WireRequest *request);
        /* What was handed in with it does not end, and is read on for nobody: answers it. On the main thread. */
        void (*endless)(void *userdata, uint64_t id);
        /* No job of management comes back, and nobody signs. On the main thread. */
        void (*hung)(void *userdata, const char *why);
} LanesEvents;

/* For as long as the process lives. */
int lanes_new(const LanesEvents *events, const DriverWorkers *workers, Lanes **ret_lanes);

/* From the main thread alone. 0: the request is the lanes' (`request` holds nothing any more). */
int lanes_put(Lanes *lanes, WireRequest *request, Failure *failure);
/* The same: answers what is over. Returns for how long poll() may wait, in milliseconds, or -1. */
int lanes_tick(Lanes *lanes);
