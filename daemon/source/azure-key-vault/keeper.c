/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of a vault. Invariants: the state that is told follows from token, gate and keys alone; while
 * the vault is away it alone goes there, one probe at a time; it never waits longer than a request may.
 * With keys in this process (signing = local) a vault that is away leaves the source degraded, since it
 * still signs; without, unavailable.
 */
#include "source/azure-key-vault/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/strings.h"
#include "source/azure-key-vault/keys.h"

#define ASK_USEC  (10 * USEC_PER_SEC)
#define IDLE_USEC (60 * USEC_PER_SEC)

typedef struct Look {
        bool has_token, closed, ill;
        Failure token_failure;
        uint64_t token_again_usec, probe_usec, asked_until_usec;
        char gate_text[200], permissions[480];
} Look;

static void look(Vault *vault, Look *ret_look)
{
        *ret_look = (Look){ 0 };
        ret_look->has_token =
                tokens_state(&vault->tokens, &ret_look->token_failure, &ret_look->token_again_usec);
        pthread_mutex_lock(&vault->lock);
        ret_look->closed = vault->gate.closed;
        ret_look->ill = vault->gate.n_ill >= GATE_ILL_MAX;
        ret_look->probe_usec = vault->gate.probe_usec;
        ret_look->asked_until_usec = vault->gate.asked_until_usec;
        memcpy(ret_look->gate_text, vault->gate_text, sizeof(ret_look->gate_text));
        permissions_text(&vault->permissions, ret_look->permissions, sizeof(ret_look->permissions));
        pthread_mutex_unlock(&vault->lock);
}

static unsigned long seconds_until(uint64_t then_usec)
{
        uint64_t now_usec = clock_monotonic_usec();

        return then_usec > now_usec ? (unsigned long)((then_usec - now_usec) / USEC_PER_SEC + 1)
                                    : 0;
}

/* The state, and why it is not ready. */
static SourceState reason_of(Vault *vault, const Look *seen, char *ret_text, size_t n)
{
        SourceState away = vault_keys_have_private(vault) ? SOURCE_DEGRADED : SOURCE_UNAVAILABLE;
        const char *local = away == SOURCE_DEGRADED ? "; keys in memory go on signing" : "";

        if (seen->closed) {
                snprintf(ret_text, n, "%.250s; next try in at most %lu s%s", seen->gate_text,
                         seconds_until(seen->probe_usec), local);
                return away;
        }
        if (!seen->has_token) {
                snprintf(ret_text, n, "%.250s; next try in at most %lu s%s",
                         seen->token_failure.text, seconds_until(seen->token_again_usec), local);
                return away;
        }
        if (seen->token_failure.status != 0) {
                snprintf(ret_text, n,
                         "the access token could not be renewed, and the old one is "
                         "still used: %.250s",
                         seen->token_failure.text);
                return SOURCE_DEGRADED;
        }
        if (seen->ill) {
                snprintf(ret_text, n,
                         "the vault answers, but signs with none of several keys: %.250s",
                         seen->gate_text);
                return SOURCE_DEGRADED;
        }
        if (seen->asked_until_usec > clock_monotonic_usec()) {
                snprintf(ret_text, n, "the vault has asked to be left alone for %lu s",
                         seconds_until(seen->asked_until_usec));
                return SOURCE_DEGRADED;
        }
        *ret_text = '\0';
        return SOURCE_READY;
}

/* With what the identity was seen to be permitted, which says as much whether the vault is there or away. */
static SourceState state_of(Vault *vault, const Look *seen, char *ret_text, size_t n)
{
        SourceState state = reason_of(vault, seen, ret_text, n);
        size_t n_reason = strlen(ret_text);

        if (*seen->permissions)
                snprintf(ret_text + n_reason, n - n_reason, "%s%s", n_reason > 0 ? "; " : "",
                         seen->permissions);
        return state;
}

static void tell(Vault *vault)
{
        char text[sizeof(vault->told_text)];
        SourceState state;
        Look seen;

        look(vault, &seen);
        if (!seen.has_token && seen.token_failure.status == 0 && !seen.closed)
                return; /* it starts, or is just asking anew */
        state = state_of(vault, &seen, text, sizeof(text));
        if (state == vault->told_state && strcmp(text, vault->told_text) == 0)
                return;
        vault->told_state = state;
        snprintf(vault->told_text, sizeof(vault->told_text), "%s", text);
        vault->host.changed(vault->host.userdata, state, *text ? text : NULL);
}

static void probe(Vault *vault)
{
        Failure failure = { 0 };
        bool due;

        pthread_mutex_lock(&vault->lock);
        due = gate_probe(&vault->gate, clock_monotonic_usec());
        pthread_mutex_unlock(&vault->lock);
        if (due)
                (void)vault_probe(vault, true, clock_monotonic_usec() + ASK_USEC, &failure);
}

/* Until when there is nothing to do. */
static uint64_t next_due(Vault *vault, uint64_t token_usec)
{
        uint64_t due_usec = MIN(token_usec, clock_monotonic_usec() + IDLE_USEC);

        pthread_mutex_lock(&vault->lock);
        if (vault->gate.closed || vault->gate.doubted)
                due_usec = MIN(due_usec, vault->gate.probe_usec);
        if (vault->gate.asked_until_usec > clock_monotonic_usec())
                due_usec = MIN(due_usec, vault->gate.asked_until_usec);
        pthread_mutex_unlock(&vault->lock);
        return due_usec;
}

static void wait_until(Vault *vault, uint64_t due_usec)
{
        struct timespec until = { .tv_sec = (time_t)(due_usec / USEC_PER_SEC),
                                  .tv_nsec = (long)(due_usec % USEC_PER_SEC) * 1000 };

        pthread_mutex_lock(&vault->lock);
        while (!vault->stir && pthread_cond_timedwait(&vault->stirred, &vault->lock, &until) == 0)
                ;
        vault->stir = false;
        pthread_mutex_unlock(&vault->lock);
}

static void *keeper_main(void *userdata)
{
        Vault *vault = userdata;

        for (;;) {
                uint64_t due_usec;

                probe(vault);
                due_usec = tokens_renew(&vault->tokens, vault_fetch_token, vault,
                                        clock_monotonic_usec() + ASK_USEC);
                tell(vault);
                pthread_mutex_lock(&vault->lock);
                vault->n_rounds++;
                pthread_cond_broadcast(&vault->stirred);
                pthread_mutex_unlock(&vault->lock);
                wait_until(vault, next_due(vault, due_usec));
        }
        return NULL;
}

int vault_keeper_start(Vault *vault)
{
        pthread_t thread;
        int r = pthread_create(&thread, NULL, keeper_main, vault);

        if (r != 0)
                return -r;
        pthread_detach(thread);
        return 0;
}

static bool wait_round(Vault *vault, uint64_t deadline_usec)
{
        struct timespec until = { .tv_sec = (time_t)(deadline_usec / USEC_PER_SEC),
                                  .tv_nsec = (long)(deadline_usec % USEC_PER_SEC) * 1000 };
        uint64_t round;
        bool in_time = true;

        pthread_mutex_lock(&vault->lock);
        gate_hurry(&vault->gate, clock_monotonic_usec());
        round = vault->n_rounds + 1; /* the one that runs may have looked already */
        vault->stir = true;
        pthread_cond_broadcast(&vault->stirred);
        while (in_time && vault->n_rounds <= round) {
                vault->stir = true;
                pthread_cond_broadcast(&vault->stirred);
                in_time = pthread_cond_timedwait(&vault->stirred, &vault->lock, &until) == 0;
        }
        pthread_mutex_unlock(&vault->lock);
        return in_time;
}

int vault_keeper_refresh(Vault *vault, uint64_t deadline_usec, Failure *failure)
{
        char text[sizeof(vault->told_text)];
        Look seen;
        SourceState state;

        vault_forget(vault);
        tokens_hurry(&vault->tokens);
        if (!wait_round(vault, deadline_usec - USEC_PER_SEC / 2))
                return fail(failure, CB_SOURCE_UNAVAILABLE, "the vault gave no answer in time");
        look(vault, &seen);
        state = state_of(vault, &seen, text, sizeof(text));
        if (source_state_serves(state))
                return 0;
        return fail(failure,
                    !seen.closed && seen.token_failure.status > 0 ? seen.token_failure.status
                                                                  : CB_SOURCE_UNAVAILABLE,
                    "%s", text);
}
