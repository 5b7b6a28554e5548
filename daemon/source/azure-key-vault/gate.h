/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate before a vault: how many requests it may be sent, when it asked to be left alone, and whether
 * it is there at all. Pure: the time and the random number are arguments; its owner has the lock.
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
/* What management leaves for signatures: at once as many as it may use itself. */
#define GATE_UNITS_TO_SIGN 1000

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
        GATE_THROTTLED,
        GATE_FAILED,   /* no answer, or 5xx */
        GATE_INSECURE, /* TLS said no: closed at once, and tried again seldom */
        _GATE_OUTCOME_N
} GateOutcome;

typedef struct Gate {
        uint64_t milli_units; /* that are left */
        uint64_t filled_usec; /* until when they are counted; 0: never yet */
        uint64_t asked_until_usec;    /* nothing goes before that */
        uint64_t managing_until_usec; /* nothing that manages */
        Backoff throttled, managing_throttled;
        unsigned n_failures;          /* in a row, of what signs and of probes */
        unsigned n_managing_failures; /* of what manages */
        bool doubted;                 /* by those: a probe is to tell */
        bool closed, probing;
        uint64_t probe_usec; /* when the next probe may go */
        Backoff away, insecure;
} Gate;

void gate_init(Gate *gate);
/* cost: units. *ret_wait_usec: after how long to come back, where it is not open. */
GateAnswer gate_enter(Gate *gate, GateUse use, unsigned cost, uint64_t now_usec,
                      uint64_t *ret_wait_usec);
/* Of a probe: GATE_SIGNS. retry_after_usec: as the vault says; UINT64_MAX: it does not. */
void gate_note(Gate *gate, GateUse use, GateOutcome outcome, uint64_t retry_after_usec,
               uint64_t now_usec, uint32_t random);
/* One probe at a time: true, and the next is put off, where one may go now. */
bool gate_probe(Gate *gate, uint64_t now_usec);
/* Someone asks for it: the next probe may go now. */
void gate_hurry(Gate *gate, uint64_t now_usec);
