/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budget, waiting and breaker in one place. Invariants: in any ten seconds at most burst + 10 × rate units
 * pass; nothing passes before the time that the vault has named; while it is closed, one probe at a time
 * is all that is sent. What manages leaves units for what signs, and nothing that the vault makes of it, but
 * for TLS, closes the gate to a signature: neither "leave me alone" nor a failure. It keeps no clock and sends
 * nothing.
 */
#include "source/azure-key-vault/gate.h"

#include "base/macro.h"

#define FAILURES_MAX 3
#define PROBE_USEC   (10 * USEC_PER_SEC) /* a probe that gives no answer is given up after it */
#define MILLI        UINT64_C(1000)
#define BURST_MILLI  (GATE_UNITS_BURST * MILLI)
#define KEPT_MILLI   (GATE_UNITS_TO_SIGN * MILLI)

void gate_init(Gate *gate)
{
        *gate = (Gate){
                .milli_units = BURST_MILLI,
                .throttled = { .first_usec = USEC_PER_SEC, .max_usec = 64 * USEC_PER_SEC },
                .managing_throttled = { .first_usec = USEC_PER_SEC, .max_usec = 64 * USEC_PER_SEC },
                .away = { .first_usec = 500 * USEC_PER_MSEC, .max_usec = 4 * USEC_PER_SEC },
                .insecure = { .first_usec = 5 * USEC_PER_SEC, .max_usec = 60 * USEC_PER_SEC },
        };
}

static void fill(Gate *gate, uint64_t now_usec)
{
        uint64_t elapsed_usec = now_usec - gate->filled_usec, more;

        if (gate->filled_usec == 0 || elapsed_usec > 3600 * USEC_PER_SEC) {
                gate->milli_units = BURST_MILLI;
                gate->filled_usec = now_usec;
                return;
        }
        more = elapsed_usec * GATE_UNITS_PER_SEC / USEC_PER_MSEC;
        if (more == 0)
                return; /* the rest of a step is not lost */
        gate->milli_units = MIN(gate->milli_units + more, BURST_MILLI);
        gate->filled_usec = now_usec;
}

GateAnswer gate_enter(Gate *gate, GateUse use, unsigned cost, uint64_t now_usec,
                      uint64_t *ret_wait_usec)
{
        uint64_t wanted = cost * MILLI, needed = wanted, until_usec = gate->asked_until_usec;

        *ret_wait_usec = 0;
        if (gate->closed) {
                *ret_wait_usec = gate->probe_usec > now_usec ? gate->probe_usec - now_usec : 0;
                return GATE_CLOSED;
        }
        if (use == GATE_MANAGES) {
                until_usec = MAX(until_usec, gate->managing_until_usec);
                needed += KEPT_MILLI;
        }
        if (until_usec > now_usec) {
                *ret_wait_usec = until_usec - now_usec;
                return GATE_ASKED;
        }
        fill(gate, now_usec);
        if (gate->milli_units < needed) {
                *ret_wait_usec = (needed - gate->milli_units) * USEC_PER_MSEC / GATE_UNITS_PER_SEC;
                return GATE_SPENT;
        }
        gate->milli_units -= wanted;
        return GATE_OPEN;
}

static void open_gate(Gate *gate)
{
        gate->closed = gate->probing = gate->doubted = false;
        gate->n_failures = 0;
        backoff_reset(&gate->away);
        backoff_reset(&gate->insecure);
}

static void throttle(uint64_t *until_usec, Backoff *backoff, uint64_t retry_after_usec,
                     uint64_t now_usec, uint32_t random)
{
        uint64_t wait_usec = retry_after_usec != UINT64_MAX && retry_after_usec > 0
                                     ? retry_after_usec
                             : *until_usec > now_usec ? 0 /* one of many that were on their way */
                                                      : backoff_next_usec(backoff, random);

        *until_usec = MAX(*until_usec, now_usec + wait_usec);
}

/* What fails may be one kind of request alone: whether the vault is there, a probe tells. */
static void note_managing_failure(Gate *gate, uint64_t now_usec)
{
        if (gate->closed || gate->doubted || ++gate->n_managing_failures < FAILURES_MAX)
                return;
        gate->n_managing_failures = 0;
        gate->doubted = true;
        gate->probe_usec = now_usec;
}

void gate_note(Gate *gate, GateUse use, GateOutcome outcome, uint64_t retry_after_usec,
               uint64_t now_usec, uint32_t random)
{
        switch (outcome) {
        case GATE_ANSWERED:
                open_gate(gate);
                gate->n_managing_failures *= use == GATE_SIGNS;
                if (gate->asked_until_usec <= now_usec)
                        backoff_reset(&gate->throttled);
                if (use == GATE_MANAGES && gate->managing_until_usec <= now_usec)
                        backoff_reset(&gate->managing_throttled);
                return;
        case GATE_THROTTLED:
                open_gate(gate);
                if (use == GATE_MANAGES)
                        throttle(&gate->managing_until_usec, &gate->managing_throttled,
                                 retry_after_usec, now_usec, random);
                else
                        throttle(&gate->asked_until_usec, &gate->throttled, retry_after_usec,
                                 now_usec, random);
                return;
        case GATE_FAILED:
                if (use == GATE_MANAGES) {
                        note_managing_failure(gate, now_usec);
                        return;
                }
                if (gate->closed && !gate->probing)
                        return; /* one of many that were on their way */
                if (!gate->probing && ++gate->n_failures < FAILURES_MAX)
                        return;
                gate->probe_usec = now_usec + backoff_next_usec(&gate->away, random);
                gate->closed = true;
                gate->probing = false;
                return;
        case GATE_INSECURE:
                if (gate->closed && !gate->probing)
                        return;
                gate->n_failures = FAILURES_MAX;
                gate->probing = false;
                gate->probe_usec = now_usec + backoff_next_usec(&gate->insecure, random);
                gate->closed = true;
                return;
        case _GATE_OUTCOME_N:
                break;
        }
        assert_always(false);
}

bool gate_probe(Gate *gate, uint64_t now_usec)
{
        if ((!gate->closed && !gate->doubted) || gate->probe_usec > now_usec)
                return false;
        gate->doubted = false;
        gate->probe_usec = now_usec + PROBE_USEC;
        gate->probing = true;
        return true;
}

void gate_hurry(Gate *gate, uint64_t now_usec)
{
        gate->probe_usec = now_usec;
}
