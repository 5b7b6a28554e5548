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
        char name[64];       /* unique; "": Hello has not been answered */
} Line;

/* What the kernel has not taken yet, in order, each on its client's account. */
typedef struct Unsent {
        size_t size;
        Charge charge;
        STAILQ_ENTRY(Unsent) next;
} Unsent;

/* link-watch.c */
typedef struct Watch {
        dbus_uint32_t mark; /* the serial of the one that has not come; 0: none */
        dbus_uint32_t sign; /* of the question that has not been answered */
        size_t n_before;    /* bytes: what the bus had to read before the mark */
        size_t n_signs;     /* since then */
} Watch;

struct Link {
        Bus *bus;
        char *address;
        LinkState state;
        Line calls, questions;
        Turn turn; /* of the line of calls */
        STAILQ_HEAD(, Unsent) unsent;
        size_t n_unsent; /* bytes */
        Watch watch;
        /* Down: to try again. Until it is up: for an answer. Then: for the mark that was sent. */
        sd_event_source *timer;
        sd_event_source *wake; /* who waits to answer; NULL: nobody has yet */
        Backoff backoff;
        bool has_been_up;
};

/* Starts, or starts anew, the one timer. */
void link_arm(Link *link, uint64_t delay_usec);
/* On the line of calls; does not take it. */
bool link_put(Link *link, DBusMessage *message, dbus_uint32_t *ret_serial);
/* The kernel has taken some of what was sent. */
void link_settle(Link *link);
void link_drop_unsent(Link *link);
/* What the bus has still to read, of all that was sent: in the kernel as well. */
size_t link_unread_size(const Link *link);

/* Something was sent. */
void link_watch(Link *link);
/* On the timer, while the link is up. */
void link_watch_on_timer(Link *link);
/* What came on the line of questions. */
typedef enum LinkSign { LINK_NO_SIGN, LINK_SIGN_OF_LIFE, LINK_IS_STUCK } LinkSign;
LinkSign link_watch_on_message(Link *link, DBusMessage *message);

/* "system", "session" or an address; NULL: there is none, or no memory. */
char *bus_address(const char *bus);
