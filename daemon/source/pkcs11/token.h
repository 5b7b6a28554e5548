/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token: its state, its keeper, and what the workers share. Private to this driver; the struct is open
 * to the driver's files because pool (session.c) and keeper (keeper.c) live under one lock.
 *
 * The keeper is one thread. It alone loads, initialises and finalises the module, finds the token, logs in
 * and watches it. Workers take a session, call, and give it back; what they cannot do they ask the keeper
 * for. The module is finalised only when no session is taken.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include <p11-kit/pkcs11.h> /* CK_TOKEN_INFO is kept by value */

#include "base/map.h"
#include "core/breaker.h"
#include "source/driver.h"
#include "source/pkcs11/module.h"
#include "source/pkcs11/pin.h"

#define SESSIONS_MAX    128
#define MANAGE_SESSIONS 3 /* beside those for signatures, where the token has so many */

typedef enum TokenWant {
        WANT_LOOK = 1 << 0,   /* look at the token now; if it is locked, at the PIN file too */
        WANT_LOGIN = 1 << 1,  /* a call says that nobody is logged in */
        WANT_UNLOCK = 1 << 2, /* with the PIN in `unlock` */
        WANT_LOCK = 1 << 3,   /* a call says that the PIN in `refused` is wrong */
        WANT_AFRESH = 1 << 4, /* with WANT_LOOK, from a person: keep nothing, and a PIN may be tried once more */
        WANT_RENEW = 1 << 5,  /* the module answers nothing but errors: initialise it anew */
} TokenWant;

typedef struct Token {
        /* constant once configured */
        char *name;
        char *module_path; /* NULL: p11-kit's */
        bool has_network;
        struct p11_kit_uri *uri;
        unsigned n_sign_max; /* sessions for signatures */
        DriverHost host;

        /* the keeper's own */
        Modules *modules;
        Pins pins;                   /* but for the kept PIN, which has its own lock */
        unsigned long login_session; /* never for work: the last session to close logs out */
        bool has_login_session;
        Backoff backoff;
        uint64_t ready_since_usec;
        SourceState told_state; /* what the broker has been told last */
        char told_text[512];

        /* constant while a session is taken */
        Slot slot;
        CK_TOKEN_INFO info;
        unsigned mechanisms;
        bool login_required;

        pthread_mutex_t call_lock; /* held around every call where slot.serial */

        /* one call that makes, destroys, finds or reads objects at a time, where slot.brittle */
        pthread_mutex_t objects_lock;
        pthread_cond_t objects_free;
        bool objects_busy;
        unsigned n_signs_wait; /* for that: who signs goes first */

        pthread_mutex_t
                login_lock; /* one log-in for a signature at a time: a wrong PIN is tried once */

        pthread_mutex_t lock;
        pthread_cond_t changed; /* state, wishes, answers */
        pthread_cond_t given;   /* a session was given back; and what `changed` tells of states */
        /* all below: under `lock` */
        SourceState state;
        char text[512];
        uint64_t started_usec; /* since when it is starting, where it is */
        bool down; /* someone has found the token gone */
        char down_text[512];
        unsigned wanted; /* TokenWant, of callers that wait */
        Secret *unlock;
        Secret *refused;
        uint64_t n_asked, n_answered;
        uint64_t n_logins;
        unsigned n_faults; /* in a row */
        unsigned n_odd;    /* codes that say nothing, in a row, without a signature between them */
        uint64_t odd_since_usec;
        uint64_t odd_usec; /* for so long, and the module is initialised anew */
        unsigned n_taken[2];        /* by those who sign, by those who manage */
        unsigned n_waiting_to_sign; /* for a session */
        unsigned n_open, n_open_max; /* the latter shrinks for a while when the token has no more */
        unsigned n_open_limit;
        unsigned long idle[SESSIONS_MAX + MANAGE_SESSIONS];
        unsigned n_idle;
        Map keys; /* locator → KeyEntry */
} Token;

int token_init(Token *token, char *const *settings, const DriverHost *host, Failure *failure);

/*
 * Asks the keeper and waits for its answer; then the state decides: 0 where the token serves, else
 * CB_SOURCE_LOCKED or CB_SOURCE_UNAVAILABLE with the state's text; CB_TIMED_OUT.
 */
int token_ask(Token *token, TokenWant want, uint64_t deadline_usec, Failure *failure);
/* As above, with a PIN (taken). */
int token_unlock(Token *token, Secret *pin, uint64_t deadline_usec, Failure *failure);

/* A failed call, while the session is still taken: is the token still there? Counts; may end the token. */
void token_note_fault(Token *token, unsigned long rv, bool manages);
/* The kept PIN was refused for a single signature (taken): locks the source at once. */
void token_note_refusal(Token *token, Secret *pin);
void token_note_success(Token *token);

/* The failure of a token that does not serve. Call with the lock held. */
int token_refuse_locked(Token *token, Failure *failure);
/* -ETIMEDOUT */
int token_wait_locked(Token *token, pthread_cond_t *condition, uint64_t deadline_usec);

/* A state was changed. */
void token_tell_locked(Token *token);

/* Around each call of the keeper's, for modules that cannot lock. */
void token_call_begin(Token *token);
void token_call_end(Token *token);

bool token_same(const CK_TOKEN_INFO *a, const CK_TOKEN_INFO *b);
