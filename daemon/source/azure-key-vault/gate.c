/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budget, waiting and breaker in one place. Invariants: in any ten seconds at most burst + 10 × rate units
 * pass; nothing passes before the time that the vault has named; while it is closed, one probe at a time
 * is all that is sent. What closes it is a word about the vault as a whole: no connection, or a probe that
 * fails after signatures did; and what opens it says something of what failed. What manages has a share of
 * its own, and what is over of what signs has: nothing that the vault makes of it, but for TLS, closes the gate to a signature: neither
 * "leave me alone" nor a failure. It keeps no clock and sends nothing.
 */
#include "source/azure-key-vault/gate.h"

#include "base/macro.h"

#define FAILURES_MAX 3
#define SURE_USEC    (60 * USEC_PER_SEC) /* so long a probe's word for an object's trouble holds */
#define PROBE_USEC   (10 * USEC_PER_SEC) /* a probe that gives no answer is given up after it */
#define MILLI        UINT64_C(1000)

static const uint64_t burst_milli[_GATE_USE_N] = {
        [GATE_SIGNS] = (GATE_UNITS_BURST - GATE_UNITS_TO_MANAGE) * MILLI,
        [GATE_MANAGES] = GATE_UNITS_TO_MANAGE * MILLI,
};
static const uint64_t units_per_sec[_GATE_USE_N] = {
        [GATE_SIGNS] = GATE_UNITS_PER_SEC - GATE_UNITS_TO_MANAGE_PER_SEC,
        [GATE_MANAGES] = GATE_UNITS_TO_MANAGE_PER_SEC,
};

void gate_init(Gate *gate)
{
        *gate = (Gate){
                .milli_units = { burst_milli[GATE_SIGNS], burst_milli[GATE_MANAGES] },
                .throttled = { .first_usec = USEC_PER_SEC, .max_usec = 64 * USEC_PER_SEC },
                .managing_throttled = { .first_usec = USEC_PER_SEC, .max_usec = 64 * USEC_PER_SEC },
                .away = { .first_usec = 500 * USEC_PER_MSEC, .max_usec = 4 * USEC_PER_SEC },
                .trying = { .first_usec = 500 * USEC_PER_MSEC, .max_usec = 4 * USEC_PER_SEC },
                .insecure = { .first_usec = 5 * USEC_PER_SEC, .max_usec = 60 * USEC_PER_SEC },
        };
}

/* What the share for signatures has no room for goes to management, and is lost where that has none either. */
static void fill(Gate *gate, uint64_t now_usec)
{
        uint64_t elapsed_usec = now_usec - gate->filled_usec, *units = gate->milli_units, sum;

        if (gate->filled_usec == 0 || elapsed_usec > 3600 * USEC_PER_SEC) {
                units[GATE_SIGNS] = burst_milli[GATE_SIGNS];
                units[GATE_MANAGES] = burst_milli[GATE_MANAGES];
                gate->filled_usec = now_usec;
                return;
        }
        if (elapsed_usec * units_per_sec[GATE_MANAGES] < USEC_PER_MSEC)
                return; /* the rest of a step is not lost */
        sum = units[GATE_SIGNS] + elapsed_usec * units_per_sec[GATE_SIGNS] / USEC_PER_MSEC;
        units[GATE_SIGNS] = MIN(sum, burst_milli[GATE_SIGNS]);
        units[GATE_MANAGES] = MIN(units[GATE_MANAGES] + sum - units[GATE_SIGNS] +
                                          elapsed_usec * units_per_sec[GATE_MANAGES] / USEC_PER_MSEC,
                                  burst_milli[GATE_MANAGES]);
        gate->filled_usec = now_usec;
}

/* What signatures leave may be there at once, and nobody knows how much that is going to be. */
static uint64_t wait_for_units(const Gate *gate, GateUse use, uint64_t wanted)
{
        uint64_t rate = use == GATE_SIGNS ? units_per_sec[use] : GATE_UNITS_PER_SEC;

        return (wanted - gate->milli_units[use]) * USEC_PER_MSEC / rate + 1;
}

GateAnswer gate_enter(Gate *gate, GateUse use, unsigned cost, uint64_t now_usec,
                      uint64_t *ret_wait_usec)
{
        uint64_t wanted = cost * MILLI, until_usec = gate->asked_until_usec;

        *ret_wait_usec = 0;
        if (gate->closed) {
                *ret_wait_usec = gate->probe_usec > now_usec ? gate->probe_usec - now_usec : 0;
                return GATE_CLOSED;
        }
        if (use == GATE_MANAGES)
                until_usec = MAX(until_usec, gate->managing_until_usec);
        if (until_usec > now_usec) {
                *ret_wait_usec = until_usec - now_usec;
                return GATE_ASKED;
        }
        fill(gate, now_usec);
        if (gate->milli_units[use] < wanted) {
                *ret_wait_usec = wait_for_units(gate, use, wanted);
                return GATE_SPENT;
        }
        gate->milli_units[use] -= wanted;
        return GATE_OPEN;
}

bool gate_may_try(Gate *gate, uint64_t now_usec, uint64_t *ret_wait_usec)
{
        if (gate->n_ill < GATE_ILL_MAX)
                return true;
        if (gate->try_usec > now_usec) {
                *ret_wait_usec = gate->try_usec - now_usec;
                return false;
        }
        gate->try_usec = now_usec + PROBE_USEC; /* until it is known what becomes of this one */
        return true;
}

static void open_gate(Gate *gate)
{
        if (gate->closed) { /* that was the vault's trouble, and not theirs */
                gate->n_ill = 0;
                backoff_reset(&gate->trying);
        }
        gate->closed = gate->probing = gate->doubted = gate->failing = false;
        gate->n_failures = 0;
        backoff_reset(&gate->away);
        backoff_reset(&gate->insecure);
}

/* The vault's own word, where it has one, or the back-off's. */
static uint64_t wait_for(Backoff *backoff, const GateNote *note)
{
        uint64_t wait_usec = backoff_next_usec(backoff, note->random);

        return note->retry_after_usec == UINT64_MAX ? wait_usec
                                                    : MAX(wait_usec, note->retry_after_usec);
}

static void close_gate(Gate *gate, Backoff *backoff, const GateNote *note)
{
        gate->probe_usec = note->now_usec + wait_for(backoff, note);
        gate->closed = true;
        gate->probing = gate->doubted = false;
        gate->failing = note->outcome == GATE_FAILED && note->with_token;
}

static void throttle(uint64_t *until_usec, Backoff *backoff, const GateNote *note)
{
        uint64_t wait_usec = note->retry_after_usec != UINT64_MAX && note->retry_after_usec > 0
                                     ? note->retry_after_usec
                             : *until_usec > note->now_usec
                                     ? 0 /* one of many that were on their way */
                                     : backoff_next_usec(backoff, note->random);

        *until_usec = MAX(*until_usec, note->now_usec + wait_usec);
}

static void note_answered(Gate *gate, const GateNote *note)
{
        open_gate(gate);
        gate->n_managing_failures *= note->use == GATE_SIGNS;
        if (note->use == GATE_SIGNS && !note->probe) {
                gate->n_ill = 0;
                backoff_reset(&gate->trying);
        }
        if (gate->asked_until_usec <= note->now_usec)
                backoff_reset(&gate->throttled);
        if (note->use == GATE_MANAGES && gate->managing_until_usec <= note->now_usec)
                backoff_reset(&gate->managing_throttled);
}

/* Who closed it by its answers to a token may still greet who has none. */
static void note_greeted(Gate *gate, const GateNote *note)
{
        bool doubted = gate->doubted;

        if (!gate->closed || !gate->failing) {
                open_gate(gate);
                gate->doubted = doubted && !note->probe;
        } else if (note->probe) {
                gate->probe_usec = note->now_usec + wait_for(&gate->away, note);
                gate->probing = false;
        }
}

/* What fails may be one kind of request alone: whether the vault is there, a probe tells. */
static void note_unreachable(Gate *gate, const GateNote *note)
{
        if (note->use == GATE_MANAGES && !note->probe) {
                if (gate->closed || gate->doubted || ++gate->n_managing_failures < FAILURES_MAX)
                        return;
                gate->n_managing_failures = 0;
                gate->doubted = true;
                gate->probe_usec = note->now_usec;
                return;
        }
        if (!note->probe && (gate->closed || ++gate->n_failures < FAILURES_MAX))
                return; /* or: one of many that were on their way */
        close_gate(gate, &gate->away, note);
}

/* A probe that fails where no signature did says nothing about signatures. */
static void note_failed(Gate *gate, const GateNote *note)
{
        if (!note->probe) {
                if (note->use == GATE_SIGNS && gate->n_ill >= GATE_ILL_MAX)
                        gate->try_usec = note->now_usec + wait_for(&gate->trying, note);
                return;
        }
        if (gate->closed || gate->n_ill > 0 || !note->with_token) {
                close_gate(gate, &gate->away, note);
                return;
        }
        gate->probing = gate->doubted = false;
        if (note->retry_after_usec != UINT64_MAX)
                throttle(&gate->managing_until_usec, &gate->managing_throttled, note);
}

void gate_note(Gate *gate, const GateNote *note)
{
        switch (note->outcome) {
        case GATE_ANSWERED:
                note_answered(gate, note);
                return;
        case GATE_GREETED:
                note_greeted(gate, note);
                return;
        case GATE_THROTTLED:
                open_gate(gate);
                if (note->use == GATE_MANAGES)
                        throttle(&gate->managing_until_usec, &gate->managing_throttled, note);
                else
                        throttle(&gate->asked_until_usec, &gate->throttled, note);
                return;
        case GATE_FAILED:
                note_failed(gate, note);
                return;
        case GATE_UNREACHABLE:
                note_unreachable(gate, note);
                return;
        case GATE_INSECURE:
                if (!gate->closed || note->probe)
                        close_gate(gate, &gate->insecure, note);
                return;
        case GATE_OURS:
                if (note->probe) {
                        gate->probing = false;
                        gate->probe_usec = note->now_usec + wait_for(&gate->away, note);
                }
                return;
        case _GATE_OUTCOME_N:
                break;
        }
        assert_always(false);
}

static void note_ill(Gate *gate, const GateNote *note, uint64_t object)
{
        for (unsigned i = 0; i < gate->n_ill; i++)
                if (gate->ill[i] == object)
                        return;
        if (gate->n_ill >= GATE_ILL_MAX)
                return;
        gate->ill[gate->n_ill++] = object;
        if (gate->n_ill == GATE_ILL_MAX)
                gate->try_usec = note->now_usec + wait_for(&gate->trying, note);
}

void gate_doubt(Gate *gate, const GateNote *note, uint64_t object, bool first)
{
        uint64_t gap_usec = first ? gate->away.max_usec : SURE_USEC;

        if (note->use == GATE_SIGNS && first)
                note_ill(gate, note, object);
        if (gate->closed || gate->doubted || gate->probing)
                return;
        if (!first && gate->probed_usec + gap_usec > note->now_usec)
                return; /* it was alone in that a moment ago */
        gate->doubted = true;
        gate->probe_usec = gate->probed_usec ? MAX(note->now_usec, gate->probed_usec + gap_usec)
                                             : note->now_usec;
}

bool gate_probe(Gate *gate, uint64_t now_usec)
{
        if ((!gate->closed && !gate->doubted) || gate->probe_usec > now_usec)
                return false;
        gate->doubted = false;
        gate->probe_usec = now_usec + PROBE_USEC;
        gate->probed_usec = now_usec;
        gate->probing = true;
        return true;
}

void gate_hurry(Gate *gate, uint64_t now_usec)
{
        gate->probe_usec = now_usec;
        gate->n_ill = 0;
        backoff_reset(&gate->away);
        backoff_reset(&gate->insecure);
        backoff_reset(&gate->trying);
}
