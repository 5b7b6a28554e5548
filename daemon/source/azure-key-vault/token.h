/* SPDX-License-Identifier: Apache-2.0 */
/* The access token of this source: asked for by one at a time, shared by all, refreshed ahead. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/failure.h"
#include "base/secret.h"
#include "core/breaker.h"
#include "source/azure-key-vault/answer.h"

typedef struct Token Token;
struct Token {
        unsigned n_refs; /* under the lock of its Tokens */
        Secret *secret;
        uint64_t refresh_usec, end_usec; /* by the clock of its Tokens */
};

typedef struct Tokens {
        pthread_mutex_t lock;
        pthread_cond_t changed; /* monotonic */
        uint64_t (*now_usec)(void);
        Token *current;         /* NULL: none */
        bool fetching;
        bool ever;           /* there has been one */
        Failure failure;     /* of the last try; status 0: it went well */
        uint64_t again_usec; /* not before this, after a failure */
        uint64_t asked_usec; /* nor before this, whoever wants it: so the endpoint has said */
        Backoff backoff;
        char *claims; /* that the next one must have, as the vault says: JSON; NULL: none */
} Tokens;

/* Asks for a new one: auth.h. claims: that it must have; NULL: none. */
typedef int (*token_fetch)(void *userdata, const char *claims, uint64_t deadline_usec,
                           TokenAnswer *answer, Failure *failure);

/* now: a clock by which tokens age. */
int tokens_init(Tokens *tokens, uint64_t (*now_usec)(void));
/* One that is good now; the caller gives it back. Waits for whoever is asking already. */
int tokens_get(Tokens *tokens, token_fetch fetch, void *userdata, uint64_t deadline_usec,
               Token **ret_token, Failure *failure);
/* The one that is good now, or NULL; the caller gives it back. Never waits for one. */
Token *tokens_peek(Tokens *tokens);
/* The vault refused this one: it is not handed out again. claims: that the next must have; NULL: none. */
void tokens_refuse(Tokens *tokens, const Token *token, const char *claims);
void tokens_put(Tokens *tokens, Token *token);
/* Ahead of its end, where it is time for that. Returns when to call it again (monotonic). */
uint64_t tokens_renew(Tokens *tokens, token_fetch fetch, void *userdata, uint64_t deadline_usec);
/* Somebody asks for it: what failed is tried again at once, unless the endpoint has asked to wait. */
void tokens_hurry(Tokens *tokens);
/* Is there one that is good? If not, or if it could not be renewed, `failure` says why, and when it is
 * tried again (monotonic). */
bool tokens_state(Tokens *tokens, Failure *failure, uint64_t *ret_again_usec);
void tokens_wipe(Tokens *tokens);
