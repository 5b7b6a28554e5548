/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the broker. Invariant: an answer goes to the one that has its number, once; one that comes
 * when nobody waits any more is dropped. The main thread, which brings the answers, never waits here.
 */
#include "source/asks.h"

#include <errno.h>
#include <time.h>

#include "base/macro.h"
#include "base/strings.h"

void asks_init(Asks *asks)
{
        pthread_condattr_t attributes;

        *asks = (Asks){ 0 };
        pthread_mutex_init(&asks->lock, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&asks->answered, &attributes);
        pthread_condattr_destroy(&attributes);
}

uint64_t asks_begin(Asks *asks, Ask *ask)
{
        *ask = (Ask){ 0 };
        wire_request_init(&ask->answer, WIRE_ANSWER);
        pthread_mutex_lock(&asks->lock);
        ask->number = ++asks->last_number;
        ask->next = asks->first;
        asks->first = ask;
        pthread_mutex_unlock(&asks->lock);
        return ask->number;
}

static void remove_locked(Asks *asks, const Ask *ask)
{
        Ask **place = &asks->first;

        while (*place != ask)
                place = &(*place)->next;
        *place = ask->next;
}

int asks_end(Asks *asks, Ask *ask, uint64_t deadline_usec, BytesList *ret_chain,
             Bytes *ret_signature, Failure *failure)
{
        struct timespec until = { .tv_sec = (time_t)(deadline_usec / USEC_PER_SEC),
                                  .tv_nsec = (long)(deadline_usec % USEC_PER_SEC) * 1000 };
        int r = 0;

        pthread_mutex_lock(&asks->lock);
        while (!ask->answered && pthread_cond_timedwait(&asks->answered, &asks->lock, &until) == 0)
                ;
        remove_locked(asks, ask);
        pthread_mutex_unlock(&asks->lock);
        if (!ask->answered)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "the broker gave no signature in time for this source to prove itself");
        if (ask->answer.name)
                r = fail(failure, CB_SOURCE_DENIED, "%s", ask->answer.name);
        if (r == 0) {
                *ret_chain = ask->answer.chain;
                *ret_signature = ask->answer.input;
                ask->answer.chain = (BytesList){ 0 };
                ask->answer.input = (Bytes){ 0 };
        }
        wire_request_deinit(&ask->answer);
        return r;
}

void asks_answer(Asks *asks, WireRequest *answer)
{
        pthread_mutex_lock(&asks->lock);
        for (Ask *ask = asks->first; ask; ask = ask->next) {
                uint64_t id = answer->id;

                if (ask->number != answer->generation || ask->answered)
                        continue;
                ask->answer = *answer;
                wire_request_init(answer, WIRE_ANSWER);
                answer->id = id;
                ask->answered = true;
                pthread_cond_broadcast(&asks->answered);
                break;
        }
        pthread_mutex_unlock(&asks->lock);
}
