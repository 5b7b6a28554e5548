/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of a BusLoop share: its descriptors (bus-loop.c) and its turns (bus-turn.c). */
#pragma once

#include <stddef.h>

#include "loop/bus-loop.h"

typedef struct sd_event_source sd_event_source;
struct DBusWatch;

/* libdbus makes one for reading and one for writing. */
#define DESCRIPTOR_WATCHES_MAX 4

typedef struct Descriptor Descriptor;
struct Descriptor {
        BusLoop *loop;
        int fd; /* libdbus forgets it when it invalidates a watch */
        struct DBusWatch *watches[DESCRIPTOR_WATCHES_MAX];
        sd_event_source *source;
        uint32_t pending; /* what epoll has reported, and no turn has dealt with */
        Descriptor *next;
};

struct BusLoop {
        sd_event *event;
        struct DBusConnection *connection; /* either of the two, with a reference of our own */
        struct DBusServer *server;
        Descriptor *descriptors;
        sd_event_source *dispatch; /* NULL where an owner gives the turns */
        BusLoopOwner owner;
        bool is_ready;      /* the owner has been told, or knows by itself */
        bool in_turn;
        bool is_stopped;    /* the owner wants nothing more to be read */
        unsigned n_running; /* frames of ours that call into libdbus now */
        bool freed;         /* by bus_loop_free(), while n_running was not 0 */
};

/* Around whatever calls into libdbus: what it frees meanwhile is freed after. */
void bus_loop_enter(BusLoop *loop);
void bus_loop_leave(BusLoop *loop);
/* Watches for what libdbus and the owner want now. */
int descriptor_update(Descriptor *descriptor);
/* For its watches of this direction: readable, writable or both. */
void descriptor_handle(Descriptor *descriptor, uint32_t revents, unsigned direction);
