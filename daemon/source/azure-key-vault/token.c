/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens. Invariants: at most one thread asks for a token at any time, and all who need one get its
 * answer; a token is in locked memory and is overwritten when the last who uses it gives it back; its age
 * is counted from its receipt, on a clock that nobody sets and that goes on while the host is suspended: every time in
 * here is of that clock, until it is handed out. After a failure nobody asks again before a
 * back-off with jitter is over, unless a person wants it, nor before the time that the endpoint has named,
 * whoever wants it; a token that is still good is used meanwhile.
 */
#include "source/azure-key-vault/token.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/date.h"
#include "base/strings.h"

#define MARGIN_USEC (10 * USEC_PER_SEC) /* a token with less than this left is not sent */
#define AHEAD_SEC   300
#define AGAIN_USEC  (30 * USEC_PER_SEC)
#define ASKED_MAX   (300 * USEC_PER_SEC) /* of what an endpoint may ask for */

int tokens_init(Tokens *tokens, uint64_t (*now_usec)(void))
{
        pthread_condattr_t attributes;

        *tokens = (Tokens){
                .now_usec = now_usec,
                .backoff = { .first_usec = USEC_PER_SEC, .max_usec = 4 * USEC_PER_SEC },
        };
        pthread_mutex_init(&tokens->lock, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&tokens->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        return 0;
}

static void put_locked(Token *token)
{
        if (token && --token->n_refs == 0) {
                secret_free(token->secret);
                free(token);
        }
}

void tokens_put(Tokens *tokens, Token *token)
{
        pthread_mutex_lock(&tokens->lock);
        put_locked(token);
        pthread_mutex_unlock(&tokens->lock);
}

static bool is_good_locked(const Tokens *tokens, uint64_t now_usec)
{
        return tokens->current && now_usec + MARGIN_USEC < tokens->current->end_usec;
}

/* At 80 % of its life, at least five minutes before its end, or when the authority says. */
static uint64_t refresh_after_sec(uint64_t life_sec, uint64_t hint_sec)
{
        uint64_t after_sec = life_sec / 5 * 4;

        if (life_sec > 2 * AHEAD_SEC)
                after_sec = MIN(after_sec, life_sec - AHEAD_SEC);
        if (hint_sec > 0 && hint_sec < life_sec)
                after_sec = MIN(after_sec, hint_sec);
        return MAX(after_sec, UINT64_C(1)); /* whatever is said: not without a pause */
}

/* For who waits and tells by the monotonic clock. */
static uint64_t on_monotonic(const Tokens *tokens, uint64_t then_usec)
{
        uint64_t now_usec = tokens->now_usec();

        return clock_monotonic_usec() + (then_usec > now_usec ? then_usec - now_usec : 0);
}

static uint32_t random_number(void)
{
        uint32_t random = 0;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
                random = (uint32_t)clock_monotonic_usec();
        return random;
}

/* Until when nothing is asked for, by the clock on the wall: the sentence is read later. */
static void tell_until(Failure *failure, uint64_t wait_usec)
{
        uint64_t until_sec = clock_realtime_sec() + wait_usec / USEC_PER_SEC;
        Failure why = *failure;
        char text[DATE_TEXT_MAX];

        fail(failure, why.status, "%.400s; it asks to be left alone until %s", why.text,
             date_text(until_sec, text));
}

static void note_failure_locked(Tokens *tokens, int r, const Failure *failure,
                                uint64_t retry_after_usec, uint64_t now_usec)
{
        uint64_t wait_usec;

        tokens->failure = *failure;
        if (tokens->failure.status != r)
                fail(&tokens->failure, r, "no access token: %s%s",
                     r < 0 ? strerror(-r) : status_word(r),
                     r == -ENOMEM ? "; it is kept in locked memory: is LimitMEMLOCK large enough?"
                                  : "");
        /* Who is refused is not let in by asking often. */
        tokens->backoff.max_usec = (r == CB_SOURCE_DENIED ? 60 : 4) * USEC_PER_SEC;
        wait_usec = backoff_next_usec(&tokens->backoff, random_number());
        if (retry_after_usec > wait_usec) {
                wait_usec = MIN(retry_after_usec, ASKED_MAX);
                tokens->asked_usec = now_usec + wait_usec;
                tell_until(&tokens->failure, wait_usec);
        }
        tokens->again_usec = now_usec + wait_usec;
}

/* Takes the secret in every case. */
static int take_locked(Tokens *tokens, const TokenAnswer *answer, uint64_t now_usec,
                       Failure *failure)
{
        uint64_t life_sec = answer->life_sec;
        bool lives = life_sec * USEC_PER_SEC > MARGIN_USEC;
        Token *token = lives ? calloc(1, sizeof(*token)) : NULL;

        if (!token)
                secret_free(answer->token);
        if (!lives)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "the access token that was given ends in %" PRIu64
                            " s, which is too soon to use it; check the clocks of this host and "
                            "of who gave it",
                            life_sec);
        if (!token)
                return -ENOMEM;
        token->n_refs = 1;
        token->secret = answer->token;
        token->end_usec = now_usec + life_sec * USEC_PER_SEC;
        token->refresh_usec = now_usec + refresh_after_sec(life_sec, answer->refresh_sec) * USEC_PER_SEC;
        put_locked(tokens->current);
        tokens->current = token;
        tokens->ever = true;
        tokens->failure = (Failure){ 0 };
        tokens->again_usec = tokens->asked_usec = 0;
        backoff_reset(&tokens->backoff);
        return 0;
}

/* `fetching` is the caller's; the lock is let go meanwhile. */
static void fetch_locked(Tokens *tokens, token_fetch fetch, void *userdata, uint64_t deadline_usec)
{
        CLEANUP(freep) char *claims = TAKE(tokens->claims);
        TokenAnswer answer = { 0 };
        Failure failure = { 0 };
        uint64_t now_usec;
        int r;

        tokens->fetching = true;
        pthread_mutex_unlock(&tokens->lock);
        now_usec = tokens->now_usec(); /* before it is asked for: its life began no later */
        r = fetch(userdata, claims, deadline_usec, &answer, &failure);
        pthread_mutex_lock(&tokens->lock);
        if (r == 0)
                r = take_locked(tokens, &answer, now_usec, &failure);
        if (r != 0) {
                note_failure_locked(tokens, r, &failure, answer.retry_after_usec,
                                    tokens->now_usec());
                if (!tokens->claims)
                        tokens->claims = TAKE(claims);
        }
        tokens->fetching = false;
        pthread_cond_broadcast(&tokens->changed);
}

static int wait_locked(Tokens *tokens, uint64_t deadline_usec)
{
        struct timespec until = { .tv_sec = (time_t)(deadline_usec / USEC_PER_SEC),
                                  .tv_nsec = (long)(deadline_usec % USEC_PER_SEC) * 1000 };

        return -pthread_cond_timedwait(&tokens->changed, &tokens->lock, &until);
}

static int get_locked(Tokens *tokens, token_fetch fetch, void *userdata, uint64_t deadline_usec,
                      Token **ret_token, Failure *failure)
{
        bool tried = false;

        for (;;) {
                uint64_t now_usec = tokens->now_usec();

                if (is_good_locked(tokens, now_usec)) {
                        tokens->current->n_refs++;
                        *ret_token = tokens->current;
                        return 0;
                }
                if (tokens->fetching) {
                        if (wait_locked(tokens, deadline_usec) == -ETIMEDOUT)
                                return fail(failure, CB_SOURCE_UNAVAILABLE,
                                            "there is no access token for the vault yet; try "
                                            "again");
                        tried = true; /* another's try is as good as ours */
                        continue;
                }
                if (tokens->failure.status != 0 && (tried || now_usec < tokens->again_usec)) {
                        *failure = tokens->failure;
                        return failure->status;
                }
                if (tried) /* what was given has been refused by the vault already */
                        return fail(failure, CB_SOURCE_DENIED, "no access token is to be had");
                fetch_locked(tokens, fetch, userdata, deadline_usec);
                tried = true;
        }
}

int tokens_get(Tokens *tokens, token_fetch fetch, void *userdata, uint64_t deadline_usec,
               Token **ret_token, Failure *failure)
{
        int r;

        pthread_mutex_lock(&tokens->lock);
        r = get_locked(tokens, fetch, userdata, deadline_usec, ret_token, failure);
        pthread_mutex_unlock(&tokens->lock);
        return r;
}

Token *tokens_peek(Tokens *tokens)
{
        Token *token = NULL;

        pthread_mutex_lock(&tokens->lock);
        if (is_good_locked(tokens, tokens->now_usec())) {
                token = tokens->current;
                token->n_refs++;
        }
        pthread_mutex_unlock(&tokens->lock);
        return token;
}

void tokens_refuse(Tokens *tokens, const Token *token, const char *claims)
{
        pthread_mutex_lock(&tokens->lock);
        if (tokens->current == token) {
                put_locked(tokens->current);
                tokens->current = NULL;
                (void)string_set(&tokens->claims, claims); /* without memory: one without them */
        }
        pthread_mutex_unlock(&tokens->lock);
}

uint64_t tokens_renew(Tokens *tokens, token_fetch fetch, void *userdata, uint64_t deadline_usec)
{
        uint64_t now_usec = tokens->now_usec(), due_usec;

        pthread_mutex_lock(&tokens->lock);
        due_usec = tokens->current ? tokens->current->refresh_usec : now_usec;
        due_usec = MAX(due_usec, tokens->again_usec);
        if (now_usec >= due_usec && !tokens->fetching)
                fetch_locked(tokens, fetch, userdata, deadline_usec);
        due_usec = tokens->current ? tokens->current->refresh_usec : tokens->again_usec;
        /* A good one that could not be renewed: not too often. */
        if (tokens->failure.status != 0)
                due_usec = is_good_locked(tokens, now_usec)
                                   ? MAX(tokens->again_usec, now_usec + AGAIN_USEC)
                                   : tokens->again_usec;
        if (is_good_locked(tokens, now_usec))
                tokens->again_usec = tokens->failure.status != 0 ? due_usec : 0;
        pthread_mutex_unlock(&tokens->lock);
        return on_monotonic(tokens, due_usec);
}

void tokens_hurry(Tokens *tokens)
{
        pthread_mutex_lock(&tokens->lock);
        tokens->again_usec = tokens->asked_usec;
        backoff_reset(&tokens->backoff);
        pthread_mutex_unlock(&tokens->lock);
}

bool tokens_state(Tokens *tokens, Failure *failure, uint64_t *ret_again_usec)
{
        bool good;

        pthread_mutex_lock(&tokens->lock);
        good = is_good_locked(tokens, tokens->now_usec());
        *failure = tokens->failure;
        *ret_again_usec = on_monotonic(tokens, tokens->again_usec);
        pthread_mutex_unlock(&tokens->lock);
        return good;
}

void tokens_wipe(Tokens *tokens)
{
        pthread_mutex_lock(&tokens->lock);
        if (tokens->current) {
                /* Those who use it read it once more at most; the process ends. */
                explicit_bzero(secret_data(tokens->current->secret),
                               secret_length(tokens->current->secret));
                tokens->current = NULL;
        }
        pthread_mutex_unlock(&tokens->lock);
}
