/* SPDX-License-Identifier: Apache-2.0 */
/* The link's own: its state (link.c) and what goes out on it (link-out.c). */
#pragma once

#include "broker/bus/room.h"
#include "core/breaker.h"

typedef enum LinkState {
        LINK_DOWN, /* waits for the timer */
        LINK_HELLO,
        LINK_NAMING,
        LINK_UP,
        LINK_STOPPED,
        _LINK_STATE_N
} LinkState;

typedef struct Line {
        DBusConnection *connection;
        BusLoop *loop;
        dbus_uint32_t asked; /* the serial of what waits for an answer; 0: nothing does */
        bool is_greeted;     /* Hello has been answered */
} Line;

/* What the kernel has not taken yet, in order, each on its client's account. */
typedef struct Unsent {
        size_t size;
        Charge charge;
        STAILQ_ENTRY(Unsent) next;
} Unsent;

struct Link {
        Bus *bus;
        char *address;
        LinkState state;
        Line calls, questions;
        Turn turn; /* of the line of calls */
        STAILQ_HEAD(, Unsent) unsent;
        size_t n_unsent;     /* bytes */
        size_t watched_size; /* what the bus had still to read when that was last looked at */
        unsigned n_stuck;    /* how often it was no less than before */
        /* Down: to try again. Until it is up: for an answer. Then: for a bus that is stuck. */
        sd_event_source *timer;
        sd_event_source *wake; /* who waits to answer; NULL: nobody has yet */
        Backoff backoff;
        bool has_been_up;
};

/* Starts, or starts anew, the one timer. */
void link_arm(Link *link, uint64_t delay_usec);
/* The kernel has taken some of what was sent. */
void link_settle(Link *link);
void link_drop_unsent(Link *link);
/* On the timer, while it is up: the bus takes nothing of what it is sent. Else the timer goes on, if it has to. */
bool link_is_stuck(Link *link);

/* "system", "session" or an address; NULL: there is none, or no memory. */
char *bus_address(const char *bus);
