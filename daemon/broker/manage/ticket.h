/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tickets: changes of one object run one after the other, in the order in which they were asked for. A ticket is
 * embedded in the job that it orders; the next one starts when it is returned, from a flat loop.
 */
#pragma once

#include <stdbool.h>

#include "base/map.h"

typedef struct Ticket Ticket;
typedef struct Tickets Tickets;
typedef struct TicketQueue TicketQueue;

struct Ticket {
        Tickets *tickets;
        TicketQueue *queue; /* NULL: not taken */
        Ticket *next;
        void (*run)(void *userdata);
        void *userdata;
};

struct Tickets {
        Map queues; /* key → TicketQueue */
};

void tickets_init(Tickets *tickets);
void tickets_deinit(Tickets *tickets); /* nobody may be waiting any more */

/* Calls run() when its turn has come: at once if nobody is before it. 0 or -ENOMEM (not taken). */
int ticket_take(Tickets *tickets, const char *key, Ticket *ticket, void (*run)(void *userdata),
                void *userdata);
/* Gives the turn to the next. Fine on one that was never taken. */
void ticket_return(Ticket *ticket);
