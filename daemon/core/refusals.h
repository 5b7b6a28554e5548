/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which calls that failed the audit log gets one by one, and the sums of the others. So that nobody fills the disk,
 * and nobody hides behind a flood: a few of each kind from each user are never summed up, and of the others is kept
 * whose they were, how many, of which kind, from when to when. Time is an argument.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

typedef struct Refusals Refusals;

/* Constants of the program: kept as they are. */
typedef struct Refusal {
        uint32_t uid;
        bool has_grant; /* some grant is for whoever asked */
        unsigned kind;  /* a budget of its own, for each user */
        const char *event, *result;
} Refusal;

/*
 * What was left out of one kind. Of several users these are the lowest and the highest uid, which lie in one block of
 * 65,536 or, `is_rest`, anywhere; n_users is exact, of the rest at least so many. event and result NULL: any.
 */
typedef struct RefusalSum {
        uint32_t uid, uid_last;
        uint32_t n_users;
        bool is_rest;
        const char *event, *result;
        uint64_t n;
        uint64_t since_usec, until_usec; /* since 1970 */
} RefusalSum;

int refusals_new(Refusals **ret_refusals);
Refusals *refusals_free(Refusals *refusals);
DEFINE_CLEANUP(Refusals, refusals_free)

/* true: it is to be recorded by itself. false: it has been added to the sums. now_usec is monotonic. */
bool refusals_take(Refusals *refusals, const Refusal *refusal, uint64_t now_usec,
                   uint64_t realtime_usec);
/* When the sums are to be told (monotonic); UINT64_MAX: there are none. */
uint64_t refusals_due(const Refusals *refusals);
uint64_t refusals_summed(const Refusals *refusals); /* since the beginning */
/* Takes the next sum out; false: there are no more, and the next are due later. */
bool refusals_next(Refusals *refusals, uint64_t now_usec, RefusalSum *ret_sum);
