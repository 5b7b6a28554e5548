/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns: changes of one object run one after the other, in the order in which they were asked for. A turn is
 * embedded in the job that it orders; the next one starts when it is left, from a flat loop.
 */
#pragma once

#include <stdbool.h>

#include "base/map.h"

typedef struct Turn Turn;
typedef struct Turns Turns;
typedef struct TurnQueue TurnQueue;

struct Turn {
        Turns *turns;
        TurnQueue *queue; /* NULL: not entered */
        Turn *next;
        void (*run)(void *userdata);
        void *userdata;
};

struct Turns {
        Map queues; /* key → TurnQueue */
};

void turns_init(Turns *turns);
void turns_deinit(Turns *turns); /* nobody may be waiting any more */

/* Calls run() when it is this one's turn: at once if nobody is before it. 0 or -ENOMEM (not entered). */
int turn_enter(Turns *turns, const char *key, Turn *turn, void (*run)(void *userdata),
               void *userdata);
/* Gives the turn to the next. Fine on one that was never entered. */
void turn_leave(Turn *turn);
