/* SPDX-License-Identifier: Apache-2.0 */
/* What drivers ask the broker for, until it answers: a few at most, each waited for by its own thread. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire/message.h"

typedef struct Ask Ask;
struct Ask {
        Ask *next;
        uint64_t number;
        bool answered;
        WireRequest answer; /* owned once answered */
};

typedef struct Asks {
        pthread_mutex_t lock;
        pthread_cond_t answered; /* monotonic */
        Ask *first;
        uint64_t last_number;
} Asks;

void asks_init(Asks *asks);
/* The question's number. The ask lies on its thread's stack. */
uint64_t asks_begin(Asks *asks, Ask *ask);
/* Waits for the answer, and hands it out. CB_SOURCE_DENIED where the broker says no. */
int asks_end(Asks *asks, Ask *ask, uint64_t deadline_usec, BytesList *ret_chain,
             Bytes *ret_signature, Failure *failure);
/* Takes the request's members along where somebody waits for it. */
void asks_answer(Asks *asks, WireRequest *answer);
