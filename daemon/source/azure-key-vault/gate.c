/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budget, waiting and breaker in one place. Invariants: in any ten seconds at most burst + 10 × rate units
 * pass; nothing passes before the time that the vault has named; while it is closed, one probe at a time
 * is all that is sent. It keeps no clock and sends nothing.
 */
#include "source/azure-key-vault/gate.h"

#include "base/macro.h"

#define FAILURES_MAX 3
#define PROBE_USEC   (10 * USEC_PER_SEC) /* a probe that gives no answer is given up after it */
#define MILLI        UINT64_C(1000)
#define BURST_MILLI  (GATE_UNITS_BURST * MILLI)

void gate_init(Gate *gate)
{
        *gate = (Gate){
                .milli_units = BURST_MILLI,
                .throttled = { .first_usec = USEC_PER_SEC, .max_usec = 64 * USEC_PER_SEC },
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

GateAnswer gate_enter(Gate *gate, unsigned cost, uint64_t now_usec, uint64_t *ret_wait_usec)
{
        uint64_t wanted = cost * MILLI;

        *ret_wait_usec = 0;
        if (gate->closed) {
                *ret_wait_usec = gate->probe_usec > now_usec ? gate->probe_usec - now_usec : 0;
                return GATE_CLOSED;
        }
        if (gate->asked_until_usec > now_usec) {
                *ret_wait_usec = gate->asked_until_usec - now_usec;
                return GATE_ASKED;
        }
        fill(gate, now_usec);
        if (gate->milli_units < wanted) {
                *ret_wait_usec = (wanted - gate->milli_units) * USEC_PER_MSEC / GATE_UNITS_PER_SEC;
                return GATE_SPENT;
        }
        gate->milli_units -= wanted;
        return GATE_OPEN;
}

static void open_gate(Gate *gate)
{
        gate->closed = gate->probing = false;
        gate->n_failures = 0;
        backoff_reset(&gate->away);
        backoff_reset(&gate->insecure);
}

void gate_note(Gate *gate, GateOutcome outcome, uint64_t retry_after_usec, uint64_t now_usec,
               uint32_t random)
{
        uint64_t wait_usec;

        switch (outcome) {
        case GATE_ANSWERED:
                open_gate(gate);
                if (gate->asked_until_usec <= now_usec)
                        backoff_reset(&gate->throttled);
                return;
        case GATE_THROTTLED:
                open_gate(gate);
                wait_usec = retry_after_usec != UINT64_MAX && retry_after_usec > 0
                                    ? retry_after_usec
                            : gate->asked_until_usec > now_usec
                                    ? 0 /* one of many that were on their way */
                                    : backoff_next_usec(&gate->throttled, random);
                gate->asked_until_usec = MAX(gate->asked_until_usec, now_usec + wait_usec);
                return;
        case GATE_FAILED:
                if (gate->closed && !gate->probing)
                        return; /* one of many that were on their way */
                if (++gate->n_failures < FAILURES_MAX && !gate->closed)
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
        if (!gate->closed || gate->probe_usec > now_usec)
                return false;
        gate->probe_usec = now_usec + PROBE_USEC;
        gate->probing = true;
        return true;
}

void gate_hurry(Gate *gate, uint64_t now_usec)
{
        gate->probe_usec = now_usec;
}
