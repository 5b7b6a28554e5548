/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What workers and keeper share of a token: its state, what workers ask the keeper for, and what they find out by their
 * calls. Invariant: a token that a call has found gone serves no further request, from that moment on; the keeper, which
 * alone may change more than that, is woken.
 */
#include "source/pkcs11/token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/strings.h"
#include "source/pkcs11/rv.h"
#include "source/pkcs11/uri.h"

#define SESSIONS_DEFAULT   8
#define BACKOFF_FIRST_USEC (1 * USEC_PER_SEC)
#define BACKOFF_MAX_USEC   (5 * USEC_PER_SEC)
#define FAULTS_MAX         3
#define ODD_MIN            8 /* and for as long as this: */
#define ODD_FIRST_USEC     (5 * USEC_PER_SEC)
#define ODD_MAX_USEC       (600 * USEC_PER_SEC)

/* Waiting */

int token_wait_locked(Token *token, pthread_cond_t *condition, uint64_t deadline_usec)
{
        struct timespec when = { .tv_sec = (time_t)(deadline_usec / USEC_PER_SEC),
                                 .tv_nsec = (long)(deadline_usec % USEC_PER_SEC) * 1000 };

        return pthread_cond_timedwait(condition, &token->lock, &when) == ETIMEDOUT ? -ETIMEDOUT : 0;
}

int token_refuse_locked(Token *token, Failure *failure)
{
        switch (token->state) {
        case SOURCE_READY:
        case SOURCE_DEGRADED:
                return 0;
        case SOURCE_STARTING:
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "source '%s' is still starting; try again", token->name);
        case SOURCE_LOCKED:
                return fail(failure, CB_SOURCE_LOCKED, "source '%s' is locked: %s", token->name,
                            token->text);
        case SOURCE_UNAVAILABLE:
        case _SOURCE_STATE_N:
                break;
        }
        return fail(failure, CB_SOURCE_UNAVAILABLE, "source '%s' is unavailable: %s", token->name,
                    token->text);
}

static int token_ask_locked(Token *token, TokenWant want, uint64_t deadline_usec, Failure *failure)
{
        uint64_t ticket = ++token->n_asked;

        token->wanted |= want;
        pthread_cond_broadcast(&token->changed);
        while (token->n_answered < ticket)
                if (token_wait_locked(token, &token->changed, deadline_usec) < 0)
                        return fail(failure, CB_TIMED_OUT,
                                    "source '%s': the token gave no answer in time", token->name);
        return token_refuse_locked(token, failure);
}

int token_ask(Token *token, TokenWant want, uint64_t deadline_usec, Failure *failure)
{
        int r;

        pthread_mutex_lock(&token->lock);
        r = token_ask_locked(token, want, deadline_usec, failure);
        pthread_mutex_unlock(&token->lock);
        return r;
}

int token_unlock(Token *token, Secret *pin, uint64_t deadline_usec, Failure *failure)
{
        int r;

        pthread_mutex_lock(&token->lock);
        secret_free(token->unlock);
        token->unlock = pin;
        r = token_ask_locked(token, WANT_UNLOCK, deadline_usec, failure);
        pthread_mutex_unlock(&token->lock);
        return r;
}

/* Who waits for a session must see a state too. */
void token_tell_locked(Token *token)
{
        pthread_cond_broadcast(&token->changed);
        pthread_cond_broadcast(&token->given);
}

void token_call_begin(Token *token)
{
        if (token->slot.serial)
                pthread_mutex_lock(&token->call_lock);
}

void token_call_end(Token *token)
{
        if (token->slot.serial)
                pthread_mutex_unlock(&token->call_lock);
}

bool token_same(const CK_TOKEN_INFO *a, const CK_TOKEN_INFO *b)
{
        return memcmp(a->label, b->label, sizeof(a->label)) == 0 &&
               memcmp(a->serialNumber, b->serialNumber, sizeof(a->serialNumber)) == 0;
}

/* What workers find */

static void bring_down(Token *token, const char *function, CK_RV rv)
{
        Failure failure;

        fail(&failure, CB_SOURCE_UNAVAILABLE, "the token is gone: %s (0x%lx)%s%s", rv_name(rv), rv,
             function ? " in " : "", string_or_empty(function));
        pthread_mutex_lock(&token->lock);
        if (token->state == SOURCE_READY || token->state == SOURCE_DEGRADED) {
                token->down = true;
                memcpy(token->down_text, failure.text, sizeof(token->down_text));
                /* At once: who comes next is answered without asking the token. The keeper tells. */
                token->state = SOURCE_UNAVAILABLE;
                memcpy(token->text, failure.text, sizeof(token->text));
                token_tell_locked(token);
        }
        pthread_mutex_unlock(&token->lock);
}

void token_note_refusal(Token *token, Secret *pin)
{
        pins_drop(&token->pins);
        pthread_mutex_lock(&token->lock);
        secret_free(token->refused);
        token->refused = pin;
        token->wanted |= WANT_LOCK;
        token->state = SOURCE_LOCKED;
        snprintf(token->text, sizeof(token->text), "the token refuses the PIN");
        token_tell_locked(token);
        pthread_mutex_unlock(&token->lock);
}

static bool too_many_faults(Token *token)
{
        bool many;

        pthread_mutex_lock(&token->lock);
        many = ++token->n_faults >= FAULTS_MAX;
        pthread_mutex_unlock(&token->lock);
        return many;
}

void token_note_success(Token *token)
{
        pthread_mutex_lock(&token->lock);
        token->n_faults = 0;
        token->n_odd = 0;
        token->odd_usec = ODD_FIRST_USEC;
        pthread_mutex_unlock(&token->lock);
}

/*
 * Vendors' codes are mostly of one key or one request. Where nothing else is heard any more it may be the module, and
 * many recover by C_Initialize alone. Each time that has not helped, the next is later.
 */
static void note_odd(Token *token)
{
        uint64_t now_usec = clock_monotonic_usec();

        pthread_mutex_lock(&token->lock);
        if (token->n_odd++ == 0)
                token->odd_since_usec = now_usec;
        if (token->n_odd >= ODD_MIN && now_usec - token->odd_since_usec >= token->odd_usec) {
                token->odd_usec = MIN(2 * token->odd_usec, ODD_MAX_USEC);
                token->wanted |= WANT_RENEW;
                token_tell_locked(token);
        }
        pthread_mutex_unlock(&token->lock);
}

/*
 * What management cannot do is no reason to give the token up: one that is full says CKR_FUNCTION_FAILED to each key
 * that it is to take, as SoftHSM does, and signs. A token that cannot sign either is found out by whoever signs.
 */
void token_note_fault(Token *token, unsigned long rv, bool manages)
{
        CK_TOKEN_INFO info = { 0 };
        RvClass class = rv_class(rv);
        CK_RV look_rv;

        if (class == RV_CLASS_TOKEN || class == RV_CLASS_MODULE) {
                bring_down(token, NULL, rv);
                return;
        }
        if (class == RV_CLASS_ODD)
                note_odd(token);
        if (class != RV_CLASS_FAULT && class != RV_CLASS_SESSION)
                return;
        look_rv = token->slot.f->C_GetTokenInfo(token->slot.id, &info);
        if (look_rv != CKR_OK)
                bring_down(token, "C_GetTokenInfo", look_rv);
        else if (class == RV_CLASS_FAULT && !manages && too_many_faults(token))
                bring_down(token, NULL, rv);
}

/* Setting up */

static int take_sessions(Token *token, const char *text, Failure *failure)
{
        unsigned long n = SESSIONS_DEFAULT;

        if (text)
                n = strtoul(text, NULL, 10);
        if (n < 1 || n > SESSIONS_MAX)
                return fail(failure, CB_INVALID_ARGUMENT, "source '%s': sessions is 1 to %d",
                            token->name, SESSIONS_MAX);
        token->n_sign_max = (unsigned)n;
        return 0;
}

int token_init(Token *token, char *const *settings, const DriverHost *host, Failure *failure)
{
        const char *uri = driver_setting(settings, "uri");
        const char *name = string_or_empty(driver_setting(settings, "name"));
        pthread_condattr_t attributes;
        int r;

        pthread_mutex_init(&token->lock, NULL);
        pthread_mutex_init(&token->call_lock, NULL);
        pthread_mutex_init(&token->objects_lock, NULL);
        pthread_cond_init(&token->objects_free, NULL);
        pthread_mutex_init(&token->login_lock, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&token->changed, &attributes);
        pthread_cond_init(&token->given, &attributes);
        map_init(&token->keys);
        token->host = *host;
        token->backoff = (Backoff){ BACKOFF_FIRST_USEC, BACKOFF_MAX_USEC, 0 };
        token->odd_usec = ODD_FIRST_USEC;
        token->state = SOURCE_STARTING;
        token->started_usec = clock_monotonic_usec();

        token->has_network = string_equal(driver_setting(settings, "network"), "true");
        r = string_set(&token->name, name);
        if (r == 0)
                r = string_set(&token->module_path, driver_setting(settings, "module"));
        if (r == 0)
                r = take_sessions(token, driver_setting(settings, "sessions"), failure);
        if (r == 0)
                r = pins_init(&token->pins, name, driver_setting(settings, "pin-file"),
                              driver_setting(settings, "state-directory"));
        if (r == 0)
                r = uri_parse(uri ? uri : "pkcs11:", &token->uri, failure);
        if (r != 0)
                return r;
        if (uri_selects_object(token->uri))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "source '%s': its uri selects a token, so it has no object, id or type",
                            name);
        return 0;
}
