/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libdbus on sd-event: watches (merged per descriptor), timeouts, and dispatching from the loop, a
 * bounded number of messages a turn. By itself, or in turns that the owner gives: then nothing is
 * read, written or dispatched outside of them. libdbus's types are forward-declared: this header
 * includes none of its.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"

typedef struct sd_event sd_event;
struct DBusConnection;
struct DBusServer;

typedef struct BusLoop BusLoop;

/*
 * Who gives the turns. `ready` says that there is something to do, once for each turn; it must not
 * take the turn itself. The priority is that of the event sources which find it out.
 */
typedef struct BusLoopOwner {
        void (*ready)(void *userdata);
        void *userdata;
        int priority;
} BusLoopOwner;

/* Attaches a connection; detached by bus_loop_free(), which neither closes nor unrefs it. owner NULL: by itself. */
int bus_loop_attach_connection(sd_event *event, struct DBusConnection *connection,
                               const BusLoopOwner *owner, BusLoop **ret_loop);
int bus_loop_attach_server(sd_event *event, struct DBusServer *server, const BusLoopOwner *owner,
                           BusLoop **ret_loop);

typedef struct BusTurn {
        unsigned n_max;                /* messages */
        uint64_t until_usec;           /* by clock_monotonic_usec(): no message is begun after it */
        bool (*go_on)(void *userdata); /* asked before reading, and before each message */
        void *userdata;
} BusTurn;

typedef enum BusTurnEnd {
        BUS_TURN_IDLE,    /* ready() tells when there is more */
        BUS_TURN_MORE,    /* there is more now: take another turn, ready() does not ask for it */
        BUS_TURN_STOPPED, /* go_on() said no: nothing is read until a turn in which it says yes */
        BUS_TURN_LOST,    /* the same, and the other end has hung up: only reading would find it out */
} BusTurnEnd;

/*
 * Writes what the socket takes, reads a few kB if nothing is left to dispatch, dispatches. A server
 * accepts n_max connections; go_on is not asked. The loop may be freed by what it calls.
 */
BusTurnEnd bus_loop_turn(BusLoop *loop, const BusTurn *turn);

BusLoop *bus_loop_free(BusLoop *loop);
DEFINE_CLEANUP(BusLoop, bus_loop_free)
