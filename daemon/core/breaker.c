/* SPDX-License-Identifier: Apache-2.0 */
/*
 * States of a source and its back-off. Pure: whoever owns the source asks whether a step is allowed, and
 * when to try again. A locked source has no step that leads out by itself: somebody unlocks it, or it
 * is started anew with other settings.
 */
#include "core/breaker.h"

#include "base/macro.h"

#define STATE_BIT(state) (1u << (state))

static const struct {
        const char *name;
        unsigned followers; /* beside itself: with another text */
        bool serves;
} states[_SOURCE_STATE_N] = {
        [SOURCE_STARTING] = { "starting",
                              STATE_BIT(SOURCE_READY) | STATE_BIT(SOURCE_DEGRADED) |
                                      STATE_BIT(SOURCE_LOCKED) | STATE_BIT(SOURCE_UNAVAILABLE),
                              false },
        [SOURCE_READY] = { "ready",
                           STATE_BIT(SOURCE_DEGRADED) | STATE_BIT(SOURCE_LOCKED) |
                                   STATE_BIT(SOURCE_UNAVAILABLE),
                           true },
        [SOURCE_DEGRADED] = { "degraded",
                              STATE_BIT(SOURCE_READY) | STATE_BIT(SOURCE_LOCKED) |
                                      STATE_BIT(SOURCE_UNAVAILABLE),
                              true },
        [SOURCE_LOCKED] = { "locked",
                            STATE_BIT(SOURCE_READY) | STATE_BIT(SOURCE_DEGRADED) |
                                    STATE_BIT(SOURCE_UNAVAILABLE),
                            false },
        [SOURCE_UNAVAILABLE] = { "unavailable",
                                 STATE_BIT(SOURCE_STARTING) | STATE_BIT(SOURCE_READY) |
                                         STATE_BIT(SOURCE_DEGRADED) | STATE_BIT(SOURCE_LOCKED),
                                 false },
};

const char *source_state_name(SourceState state)
{
        assert_always((unsigned)state < _SOURCE_STATE_N);
        return states[state].name;
}

bool source_state_may_follow(SourceState from, SourceState to)
{
        assert_always((unsigned)from < _SOURCE_STATE_N && (unsigned)to < _SOURCE_STATE_N);
        return from == to || (states[from].followers & STATE_BIT(to)) != 0;
}

bool source_state_serves(SourceState state)
{
        assert_always((unsigned)state < _SOURCE_STATE_N);
        return states[state].serves;
}

bool source_state_takes_requests(SourceState state)
{
        return source_state_serves(state) || state == SOURCE_STARTING;
}

/* first * 2^n_failures, at most max, without overflow. */
static uint64_t full_delay(const Backoff *backoff)
{
        uint64_t delay_usec = backoff->first_usec;

        for (unsigned i = 0; i < backoff->n_failures && delay_usec < backoff->max_usec; i++)
                delay_usec =
                        delay_usec > backoff->max_usec / 2 ? backoff->max_usec : delay_usec * 2;
        return MIN(delay_usec, backoff->max_usec);
}

/* Between the half and the whole: never at once, and never all at the same moment. */
uint64_t backoff_next_usec(Backoff *backoff, uint32_t random)
{
        uint64_t delay_usec = full_delay(backoff), half = delay_usec / 2;

        if (backoff->n_failures < 64)
                backoff->n_failures++;
        return delay_usec - half + half / UINT32_MAX * random +
               half % UINT32_MAX * random / UINT32_MAX;
}

void backoff_reset(Backoff *backoff)
{
        backoff->n_failures = 0;
}
