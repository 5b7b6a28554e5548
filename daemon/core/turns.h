/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose turn it is: time is shared out among classes by their weights, in a class among users, evenly, and among a
 * user's own in the order in which they came; what is slow alternates with the rest. A class may be capped: then it gets
 * a share of all time, and a burst.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/macro.h"

#define TURNS_CLASSES_MAX 8

typedef struct TurnClass {
        unsigned weight;
        unsigned percent; /* of all time; 0: not capped */
        uint64_t burst_usec;
} TurnClass;

typedef struct Turns Turns;
typedef struct TurnUser TurnUser;

/* Embedded in who takes turns. */
typedef struct Turn {
        Turns *turns;
        TurnUser *user;
        bool is_wanted;
        bool is_slow; /* set before it is wanted: however many of these a user has, its others have every second turn */
        TAILQ_ENTRY(Turn) entry;
        void (*take)(void *userdata);
        void *userdata;
} Turn;

int turns_new(const TurnClass *classes, size_t n_classes, Turns **ret_turns);
Turns *turns_free(Turns *turns); /* when all turns are gone */
DEFINE_CLEANUP(Turns, turns_free)

int turn_init(Turn *turn, Turns *turns, size_t class, uint32_t uid); /* -ENOMEM */
void turn_deinit(Turn *turn);
/* Another class for the same uid: -ENOMEM leaves it where it is. */
int turn_move(Turn *turn, size_t class);

void turn_want(Turn *turn);
/*
 * The next one, which is not wanted any more. NULL: nobody wants one, or all who do have to wait, until *ret_wait_usec
 * from now (UINT64_MAX: nobody).
 */
Turn *turns_next(Turns *turns, uint64_t now_usec, uint64_t *ret_wait_usec);
/* How long its turn was: it may be gone by now, so its user is named as turn_user() had it. */
typedef struct TurnPayer {
        size_t class;
        uint32_t uid;
} TurnPayer;
TurnPayer turn_payer(const Turn *turn);
void turns_spend(Turns *turns, TurnPayer payer, uint64_t usec);

size_t turns_users(const Turns *turns); /* that are remembered */
