/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of a token.
 *
 * Invariants: log-in happens on the keeper's thread only, so it is single-flight; C_Finalize and C_Logout are called only
 * when no session is taken; a state is published before anyone who has asked for it is answered. A token that
 * is away is looked for with back-off, by C_Finalize and C_Initialize: known modules do not see it come back
 * otherwise.
 */
#include "source/pkcs11/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "source/pkcs11/keys.h"
#include "source/pkcs11/login.h"
#include "source/pkcs11/rv.h"

#define POLL_USEC    (2 * USEC_PER_SEC)  /* and as much as half of it more, by chance */
#define HEALTHY_USEC (10 * USEC_PER_SEC) /* as long ready, and the next fault is a new one */
#define DRAIN_USEC   (60 * USEC_PER_SEC)

/* State */

static void enter(Token *token, SourceState state, const char *text)
{
        bool told = token->told_state == state && strcmp(token->told_text, text) == 0;

        token->told_state = state;
        snprintf(token->told_text, sizeof(token->told_text), "%s", text);
        /* With the lock held: the broker hears of it before what waited for it is answered. */
        pthread_mutex_lock(&token->lock);
        token->state = state;
        snprintf(token->text, sizeof(token->text), "%s", text);
        if (!told)
                token->host.changed(token->host.userdata, state, *text ? text : NULL);
        token_tell_locked(token);
        pthread_mutex_unlock(&token->lock);
}

static void enter_failure(Token *token, int r, const Failure *failure)
{
        const char *text = failure->status == r ? failure->text : strerror(r < 0 ? -r : EIO);

        enter(token, r == CB_SOURCE_LOCKED ? SOURCE_LOCKED : SOURCE_UNAVAILABLE, text);
}

static void enter_ready(Token *token)
{
        token->ready_since_usec = clock_monotonic_usec();
        if (token->slot.serial)
                enter(token, SOURCE_DEGRADED,
                      "the module cannot be used by several threads: one request at a time");
        else
                enter(token, SOURCE_READY, "");
}

static bool is_open(const Token *token)
{
        return token->has_login_session;
}

/* Open and close */

static void reset_pool_locked(Token *token)
{
        CK_ULONG max = token->info.ulMaxSessionCount;

        token->n_open = token->n_idle = 0;
        token->n_open_limit = token->n_sign_max + MANAGE_SESSIONS;
        /* 0 and (CK_ULONG)-1: not limited, not known. One is the log-in's. */
        if (max > 1 && max != CK_UNAVAILABLE_INFORMATION && max - 1 < token->n_open_limit)
                token->n_open_limit = (unsigned)(max - 1);
        token->n_open_max = token->n_open_limit;
}

/* Its module cannot know why it gets no connection. */
static int find_token(Token *token, Failure *failure)
{
        Failure why = { 0 };
        int r;

        r = modules_initialize(token->modules, &why);
        if (r == 0)
                r = modules_find_token(token->modules, token->uri, &token->slot, &token->info, &why);
        if (r > 0 && !token->has_network)
                return fail(failure, r, "%s; a token in the network needs `network = true`",
                            why.text);
        if (r != 0)
                *failure = why;
        return r;
}

static int open_token(Token *token, Failure *failure)
{
        CK_SESSION_HANDLE session;
        CK_RV rv;
        int r;

        if (!token->modules) {
                r = modules_load(token->module_path, &token->modules, failure);
                if (r != 0)
                        return r;
        }
        r = find_token(token, failure);
        if (r != 0)
                return r;
        token->mechanisms = slot_mechanisms(&token->slot);
        token->login_required = token->info.flags & CKF_LOGIN_REQUIRED;
        rv = token->slot.f->C_OpenSession(token->slot.id, CKF_SERIAL_SESSION, NULL, NULL, &session);
        if (rv != CKR_OK)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "no session with the token: %s (0x%lx) in C_OpenSession", rv_name(rv),
                            rv);
        token->login_session = session;
        token->has_login_session = true;
        pthread_mutex_lock(&token->lock);
        reset_pool_locked(token);
        pthread_mutex_unlock(&token->lock);
        return 0;
}

/* The state says already that nothing is served, so no session is taken any more. Handles of keys end with what follows. */
static void drain_locked(Token *token)
{
        uint64_t deadline_usec = clock_monotonic_usec() + DRAIN_USEC;

        while (token->n_taken[0] + token->n_taken[1] > 0)
                if (token_wait_locked(token, &token->given, deadline_usec) < 0 &&
                    token->n_taken[0] + token->n_taken[1] > 0)
                        token->host.give_up(token->host.userdata,
                                            "a call into the PKCS#11 module does not return");
        keys_clear_locked(token);
}

static void close_token(Token *token)
{
        pthread_mutex_lock(&token->lock);
        drain_locked(token);
        token->down = false;
        pthread_mutex_unlock(&token->lock);

        token->has_login_session = false;
        modules_finalize(token->modules);
}

/*
 * The state says that the source is locked, and so shall the token: a log-in that went on would have the next PIN taken
 * unseen. Others' log-ins are their processes' own.
 */
static void log_out(Token *token)
{
        pthread_mutex_lock(&token->lock);
        drain_locked(token);
        pthread_mutex_unlock(&token->lock);
        token_call_begin(token);
        (void)token->slot.f->C_Logout(token->login_session); /* whoever is not logged in is told so */
        token_call_end(token);
}

static void fill_unlock(Token *token, Secret **ret_given)
{
        pthread_mutex_lock(&token->lock);
        *ret_given = TAKE(token->unlock);
        pthread_mutex_unlock(&token->lock);
}

/* What a person has asked for may try a PIN that is not tried by itself. */
static bool is_asked(unsigned wanted)
{
        return wanted & (WANT_UNLOCK | WANT_AFRESH);
}

static void try_open(Token *token, unsigned wanted)
{
        Failure failure = { 0 };
        Secret *given;
        int r;

        r = open_token(token, &failure);
        if (r == 0) {
                fill_unlock(token, &given);
                r = login_try(token, given, is_asked(wanted), &failure);
        }
        if (r == 0) {
                enter_ready(token);
                return;
        }
        enter_failure(token, r, &failure);
        if (r == CB_SOURCE_LOCKED)
                return; /* open, and watched */
        if (token->modules)
                close_token(token);
}

/* Watching */

static void fall(Token *token, const char *text)
{
        bool fresh = clock_monotonic_usec() - token->ready_since_usec > HEALTHY_USEC;

        enter(token, SOURCE_UNAVAILABLE, text);
        close_token(token);
        if (fresh) {
                backoff_reset(&token->backoff);
                try_open(token, 0); /* often enough it is the session alone that is lost */
        }
}

static void lock(Token *token, const Failure *failure)
{
        enter_failure(token, CB_SOURCE_LOCKED, failure);
        log_out(token);
}

static void login_again(Token *token, Secret *given, unsigned wanted)
{
        Failure failure = { 0 };
        int r;

        r = login_try(token, given, is_asked(wanted), &failure);
        if (r == 0)
                enter_ready(token);
        else if (r == CB_SOURCE_LOCKED)
                lock(token, &failure);
        else
                fall(token, failure.text);
}

static bool is_locked(Token *token)
{
        bool locked;

        pthread_mutex_lock(&token->lock);
        locked = token->state == SOURCE_LOCKED;
        pthread_mutex_unlock(&token->lock);
        return locked;
}

/* Sessions that others had may be free again. */
static void forgive_shortage(Token *token)
{
        pthread_mutex_lock(&token->lock);
        if (token->n_open_max != token->n_open_limit) {
                token->n_open_max = token->n_open_limit;
                pthread_cond_broadcast(&token->given);
        }
        pthread_mutex_unlock(&token->lock);
}

/* Is the token there, the same, and is somebody logged in? */
static void look(Token *token)
{
        CK_TOKEN_INFO info = { 0 };
        CK_SESSION_INFO session = { 0 };
        CK_RV rv;
        bool logged_in;

        token_call_begin(token);
        rv = token->slot.f->C_GetTokenInfo(token->slot.id, &info);
        if (rv == CKR_OK)
                rv = token->slot.f->C_GetSessionInfo(token->login_session, &session);
        token_call_end(token);
        if (rv != CKR_OK) {
                Failure failure;

                fail(&failure, CB_SOURCE_UNAVAILABLE, "the token is gone: %s (0x%lx)", rv_name(rv),
                     rv);
                fall(token, failure.text);
                return;
        }
        if (!token_same(&info, &token->info)) {
                fall(token, "another token is in its place");
                return;
        }
        forgive_shortage(token);
        logged_in =
                session.state == CKS_RO_USER_FUNCTIONS || session.state == CKS_RW_USER_FUNCTIONS;
        if (token->login_required && !logged_in && !is_locked(token))
                login_again(token, NULL, 0);
}

/*
 * The module is initialised anew, though the token is there. Who comes meanwhile waits for it, as at a start; the broker
 * need not know unless it fails.
 */
static void renew(Token *token)
{
        pthread_mutex_lock(&token->lock);
        token->state = SOURCE_STARTING;
        token->started_usec = clock_monotonic_usec();
        token->n_odd = token->n_faults = 0;
        token_tell_locked(token);
        pthread_mutex_unlock(&token->lock);
        close_token(token);
        try_open(token, 0);
}

static bool has_failed_lately(Token *token)
{
        bool failed;

        pthread_mutex_lock(&token->lock);
        failed = token->n_odd > 0 || token->n_faults > 0;
        pthread_mutex_unlock(&token->lock);
        return failed;
}

static void close_idle(Token *token)
{
        unsigned long idle[ELEMENTSOF(token->idle)];
        unsigned n;

        pthread_mutex_lock(&token->lock);
        n = token->n_idle;
        memcpy(idle, token->idle, n * sizeof(idle[0]));
        token->n_idle = 0;
        pthread_mutex_unlock(&token->lock);
        token_call_begin(token);
        for (unsigned i = 0; i < n; i++)
                (void)token->slot.f->C_CloseSession(idle[i]);
        token_call_end(token);
        pthread_mutex_lock(&token->lock);
        token->n_open -= n; /* only now: they were open until now */
        pthread_cond_broadcast(&token->given);
        pthread_mutex_unlock(&token->lock);
}

/* A person thinks that something is wrong: what is kept is given up, and the token found again. */
static void look_afresh(Token *token)
{
        CK_TOKEN_INFO info;
        Failure failure = { 0 };
        Slot slot;
        int r;

        if (has_failed_lately(token)) {
                renew(token);
                return;
        }
        close_idle(token);
        token_call_begin(token);
        r = modules_find_token(token->modules, token->uri, &slot, &info, &failure);
        token_call_end(token);
        if (r == 0 && (slot.f != token->slot.f || slot.id != token->slot.id))
                r = fail(&failure, CB_SOURCE_UNAVAILABLE, "the token is in another slot now");
        if (r == 0)
                look(token);
        else
                fall(token, failure.status == r ? failure.text : strerror(r < 0 ? -r : EIO));
}

/* The PIN was good and is not any more, as a call has found that needs it once a signature. */
static void lock_after_refusal(Token *token)
{
        CLEANUP(secret_freep) Secret *pin = NULL;
        Failure failure = { 0 };

        pthread_mutex_lock(&token->lock);
        pin = TAKE(token->refused);
        pthread_mutex_unlock(&token->lock);
        if (!pin)
                return;
        login_refused(token, pin, CKR_PIN_INCORRECT, &failure);
        lock(token, &failure);
}

static void serve_open(Token *token, unsigned wanted)
{
        Secret *given;

        if (wanted & WANT_LOCK) {
                lock_after_refusal(token);
                return;
        }
        if (is_locked(token) && (wanted & (WANT_UNLOCK | WANT_LOOK))) {
                fill_unlock(token, &given);
                login_again(token, given, wanted);
                return;
        }
        if ((wanted & WANT_RENEW) && !is_locked(token)) {
                renew(token);
                return;
        }
        if ((wanted & WANT_LOGIN) && !is_locked(token)) {
                login_again(token, NULL, 0);
                return;
        }
        fill_unlock(token,
                    &given); /* not locked: the PIN is not needed, and could not be checked */
        secret_free(given);
        if ((wanted & WANT_AFRESH) && !is_locked(token))
                look_afresh(token);
        else
                look(token);
}

typedef struct Round {
        unsigned wanted;
        uint64_t ticket;
        bool down;
        char down_text[512];
} Round;

static uint64_t wait_usec(Token *token)
{
        uint32_t chance;

        if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
                chance = 0;
        if (is_open(token))
                return POLL_USEC + chance % (POLL_USEC / 2);
        return backoff_next_usec(&token->backoff, chance);
}

static void next_round(Token *token, uint64_t deadline_usec, Round *round)
{
        pthread_mutex_lock(&token->lock);
        while (!token->wanted && !token->down)
                if (token_wait_locked(token, &token->changed, deadline_usec) < 0)
                        break;
        round->wanted = token->wanted;
        round->ticket = token->n_asked;
        round->down = token->down;
        memcpy(round->down_text, token->down_text, sizeof(round->down_text));
        token->wanted = 0;
        token->down = false;
        pthread_mutex_unlock(&token->lock);
}

static void answer_round(Token *token, const Round *round)
{
        pthread_mutex_lock(&token->lock);
        token->n_answered = round->ticket;
        pthread_cond_broadcast(&token->changed);
        pthread_mutex_unlock(&token->lock);
}

static void *keeper_main(void *userdata)
{
        Token *token = userdata;
        Round round = { 0 };

        for (;;) {
                if (round.down && is_open(token))
                        fall(token, round.down_text);
                else if (is_open(token))
                        serve_open(token, round.wanted);
                else
                        try_open(token, round.wanted);
                answer_round(token, &round);
                next_round(token, clock_monotonic_usec() + wait_usec(token), &round);
        }
        return NULL;
}

int keeper_start(Token *token)
{
        pthread_t thread;
        int r;

        token->host.changed(token->host.userdata, SOURCE_STARTING, NULL);
        r = pthread_create(&thread, NULL, keeper_main, token);
        if (r != 0)
                return -r;
        pthread_detach(thread);
        return 0;
}
