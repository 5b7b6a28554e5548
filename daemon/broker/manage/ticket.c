/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First come, first served, for each key. At most one ticket of a key has its turn; returning it inside of run() does not
 * recurse: the loop that called run() goes on with the next.
 */
#include "broker/manage/ticket.h"

#include <errno.h>
#include <stdlib.h>

#include "base/strings.h"

struct TicketQueue {
        char *key; /* borrowed from the map's entry: the queue lives as long as it */
        Ticket *first;
        Ticket **end;
        bool busy;
        bool draining;
};

void tickets_init(Tickets *tickets)
{
        map_init(&tickets->queues);
}

void tickets_deinit(Tickets *tickets)
{
        MAP_FOREACH (&tickets->queues, entry) {
                free(((TicketQueue *)entry->value)->key);
                free(entry->value);
        }
        map_deinit(&tickets->queues);
}

static TicketQueue *queue_of(Tickets *tickets, const char *key)
{
        TicketQueue *queue = map_find(&tickets->queues, key);

        if (queue)
                return queue;

        queue = calloc(1, sizeof(*queue));
        if (!queue)
                return NULL;

        queue->end = &queue->first;
        if (string_set(&queue->key, key) < 0 || map_put(&tickets->queues, key, queue) < 0) {
                free(queue->key);
                free(queue);
                return NULL;
        }
        return queue;
}

static void queue_drain(Tickets *tickets, TicketQueue *queue)
{
        if (queue->draining)
                return;

        queue->draining = true;
        while (!queue->busy && queue->first) {
                Ticket *ticket = queue->first;

                queue->first = ticket->next;
                if (!queue->first)
                        queue->end = &queue->first;
                ticket->next = NULL;
                queue->busy = true;
                ticket->run(ticket->userdata);
        }
        queue->draining = false;

        if (queue->busy)
                return;

        map_remove(&tickets->queues, queue->key);
        free(queue->key);
        free(queue);
}

int ticket_take(Tickets *tickets, const char *key, Ticket *ticket, void (*run)(void *userdata),
                void *userdata)
{
        TicketQueue *queue = queue_of(tickets, key);

        if (!queue)
                return -ENOMEM;

        *ticket = (Ticket){ .tickets = tickets, .queue = queue, .run = run, .userdata = userdata };
        *queue->end = ticket;
        queue->end = &ticket->next;
        queue_drain(tickets, queue);
        return 0;
}

void ticket_return(Ticket *ticket)
{
        TicketQueue *queue = ticket->queue;

        if (!queue)
                return;

        ticket->queue = NULL;
        queue->busy = false;
        queue_drain(ticket->tickets, queue);
}
