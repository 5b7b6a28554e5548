/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate before a vault: how many requests it may be sent, when it asked to be left alone, and whether
 * it is there at all; what is the trouble of one object alone is none of it (objects.h). Pure: the time and
 * the random number are arguments; its owner has the lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/breaker.h"

/*
 * A vault serves 4000 simple transactions in any ten seconds, and fewer of those that cost it more. A
 * unit is one simple one; burst and rate together never exceed that.
 */
#define GATE_UNITS_BURST   2000
#define GATE_UNITS_PER_SEC 200
/*
 * Of these, what management has for itself: so much that it gets on beside any load of signatures. It gets what
 * signatures leave besides: what they could not keep for later themselves.
 */
#define GATE_UNITS_TO_MANAGE         40
#define GATE_UNITS_TO_MANAGE_PER_SEC 4

/* What a request is for. One that manages never stands in the way of one that signs. */
typedef enum GateUse { GATE_SIGNS, GATE_MANAGES, _GATE_USE_N } GateUse;

typedef enum GateAnswer {
        GATE_OPEN,
        GATE_SPENT,  /* the budget is used up */
        GATE_ASKED,  /* the vault has asked to wait */
        GATE_CLOSED, /* the vault is away: only a probe goes there */
        _GATE_ANSWER_N
} GateAnswer;

typedef enum GateOutcome {
        GATE_ANSWERED,
        GATE_GREETED, /* 401: it is there, which says nothing of what is behind its door */
        GATE_THROTTLED,
        GATE_FAILED,      /* 5xx, or an answer that was cut or did not come: of what was asked for */
        GATE_UNREACHABLE, /* no connection */
        GATE_INSECURE,    /* TLS said no: closed at once, and tried again seldom */
        GATE_OURS,        /* our own memory: nothing was learnt */
        _GATE_OUTCOME_N
} GateOutcome;

/* What became of a request. */
typedef struct GateNote {
        GateUse use;
        GateOutcome outcome;
        bool probe, with_token;
        uint64_t retry_after_usec; /* as the vault says; UINT64_MAX: it does not */
        uint64_t now_usec;
        uint32_t random;
} GateNote;

/* So many different keys, none of which signs: that is more than their own trouble. */
#define GATE_ILL_MAX 3

typedef struct Gate {
        uint64_t milli_units[_GATE_USE_N]; /* that are left */
        uint64_t filled_usec; /* until when they are counted; 0: never yet */
        uint64_t asked_until_usec;    /* nothing goes before that */
        uint64_t managing_until_usec; /* nothing that manages */
        Backoff throttled, managing_throttled;
        unsigned n_failures;          /* to connect, in a row, of what signs */
        unsigned n_managing_failures; /* of what manages */
        bool doubted;                 /* by those, or by an object's failures: a probe is to tell */
        bool closed, probing;
        bool failing;         /* closed by what it answers to a token: without one nothing opens it */
        uint64_t probe_usec;  /* when the next probe may go */
        uint64_t probed_usec; /* when the last one went */
        Backoff away, insecure;
        uint64_t ill[GATE_ILL_MAX]; /* hashes of objects that began to fail since one was signed with */
        unsigned n_ill;
        uint64_t try_usec; /* with so many of them: when the next may be tried */
        Backoff trying;
} Gate;

void gate_init(Gate *gate);
/* cost: units. *ret_wait_usec: after how long to come back, where it is not open. */
GateAnswer gate_enter(Gate *gate, GateUse use, unsigned cost, uint64_t now_usec,
                      uint64_t *ret_wait_usec);
/*
 * May it be tried whether an object that failed signs again? Where the vault signs with none of several, one
 * at a time; what did not fail is not asked for.
 */
bool gate_may_try(Gate *gate, uint64_t now_usec, uint64_t *ret_wait_usec);
void gate_note(Gate *gate, const GateNote *note);
/* Requests for this object fail, `first`: since now. Is it alone in that? A probe is to tell. */
void gate_doubt(Gate *gate, const GateNote *note, uint64_t object, bool first);
/* One probe at a time: true, and the next is put off, where one may go now. */
bool gate_probe(Gate *gate, uint64_t now_usec);
/* Someone asks for it: the next probe may go now, and all back-offs begin anew. */
void gate_hurry(Gate *gate, uint64_t now_usec);
