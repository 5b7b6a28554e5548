/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First come, first served, for each key. At most one turn of a key runs; leaving inside of run() does not
 * recurse: the loop that called run() goes on with the next.
 */
#include "broker/manage/turn.h"

#include <errno.h>
#include <stdlib.h>

#include "base/strings.h"

struct TurnQueue {
        char *key; /* borrowed from the map's entry: the queue lives as long as it */
        Turn *first;
        Turn **end;
        bool busy;
        bool draining;
};

void turns_init(Turns *turns)
{
        map_init(&turns->queues);
}

void turns_deinit(Turns *turns)
{
        MAP_FOREACH (&turns->queues, entry) {
                free(((TurnQueue *)entry->value)->key);
                free(entry->value);
        }
        map_deinit(&turns->queues);
}

static TurnQueue *queue_of(Turns *turns, const char *key)
{
        TurnQueue *queue = map_find(&turns->queues, key);

        if (queue)
                return queue;

        queue = calloc(1, sizeof(*queue));
        if (!queue)
                return NULL;

        queue->end = &queue->first;
        if (string_set(&queue->key, key) < 0 || map_put(&turns->queues, key, queue) < 0) {
                free(queue->key);
                free(queue);
                return NULL;
        }
        return queue;
}

static void queue_drain(Turns *turns, TurnQueue *queue)
{
        if (queue->draining)
                return;

        queue->draining = true;
        while (!queue->busy && queue->first) {
                Turn *turn = queue->first;

                queue->first = turn->next;
                if (!queue->first)
                        queue->end = &queue->first;
                turn->next = NULL;
                queue->busy = true;
                turn->run(turn->userdata);
        }
        queue->draining = false;

        if (queue->busy)
                return;

        map_remove(&turns->queues, queue->key);
        free(queue->key);
        free(queue);
}

int turn_enter(Turns *turns, const char *key, Turn *turn, void (*run)(void *userdata),
               void *userdata)
{
        TurnQueue *queue = queue_of(turns, key);

        if (!queue)
                return -ENOMEM;

        *turn = (Turn){ .turns = turns, .queue = queue, .run = run, .userdata = userdata };
        *queue->end = turn;
        queue->end = &turn->next;
        queue_drain(turns, queue);
        return 0;
}

void turn_leave(Turn *turn)
{
        TurnQueue *queue = turn->queue;

        if (!queue)
                return;

        turn->queue = NULL;
        queue->busy = false;
        queue_drain(turn->turns, queue);
}
