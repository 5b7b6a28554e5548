/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the vault. Invariants: each passes the gate; a token goes to the configured origin alone;
 * a request is sent again only where that can do no harm (what asks or signs; not what creates), at most
 * twice, after a back-off with jitter, and within the caller's deadline; what was refused for want of a
 * permission is not asked again for a minute, unless somebody wants to know.
 */
#include "source/azure-key-vault/vault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "source/azure-key-vault/attempts.h"
#include "source/azure-key-vault/json.h"
#include "source/azure-key-vault/outcome.h"

#define REFUSED_USEC  (60 * USEC_PER_SEC)
#define REFUSED_MAX   512
#define TRIES         3
#define CONFLICTS     4
#define AGAIN_USEC    (150 * USEC_PER_MSEC)
#define PATIENCE_USEC (2 * USEC_PER_SEC) /* longer than this nobody is kept waiting */
#define AWAY_USEC     (4 * USEC_PER_SEC) /* but for what fails, and is to be back so soon */

typedef struct Refusal {
        uint64_t until_usec;
        Failure failure;
} Refusal;

/* --- small things --- */

uint32_t vault_random(void)
{
        uint32_t random = 0;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
                random = (uint32_t)clock_monotonic_usec();
        return random;
}

bool vault_sleep(uint64_t usec, uint64_t deadline_usec)
{
        struct timespec time = { .tv_sec = (time_t)(usec / USEC_PER_SEC),
                                 .tv_nsec = (long)(usec % USEC_PER_SEC) * 1000 };

        if (clock_monotonic_usec() + usec + USEC_PER_SEC / 2 >= deadline_usec)
                return false;
        while (nanosleep(&time, &time) < 0 && errno == EINTR)
                ;
        return true;
}

void vault_stir(Vault *vault)
{
        pthread_mutex_lock(&vault->lock);
        vault->stir = true;
        pthread_cond_broadcast(&vault->stirred);
        pthread_mutex_unlock(&vault->lock);
}

/* --- refusals --- */

static char *refusal_key(const VaultCall *call)
{
        char *key;

        return asprintf(&key, "%s %s %s", permission_name(call->permission), call->method,
                        call->uri) < 0
                       ? NULL
                       : key;
}

static void forget_refusals_locked(Vault *vault)
{
        MAP_FOREACH (&vault->refused, entry)
                free(entry->value);
        map_deinit(&vault->refused);
        map_init(&vault->refused);
}

void vault_forget(Vault *vault)
{
        pthread_mutex_lock(&vault->lock);
        forget_refusals_locked(vault);
        objects_clear(&vault->objects);
        pthread_mutex_unlock(&vault->lock);
}

static int find_refusal(Vault *vault, const VaultCall *call, Failure *failure)
{
        CLEANUP(freep) char *key = refusal_key(call);
        Refusal *refusal;
        int r = 0;

        if (!key)
                return -ENOMEM;
        pthread_mutex_lock(&vault->lock);
        refusal = map_find(&vault->refused, key);
        if (refusal && refusal->until_usec > clock_monotonic_usec()) {
                *failure = refusal->failure;
                r = failure->status;
        }
        pthread_mutex_unlock(&vault->lock);
        return r;
}

static void note_refusal(Vault *vault, const VaultCall *call, const Failure *failure)
{
        CLEANUP(freep) char *key = refusal_key(call);
        Refusal *refusal;

        pthread_mutex_lock(&vault->lock);
        if (vault->refused.n > REFUSED_MAX)
                forget_refusals_locked(vault);
        refusal = key ? map_find(&vault->refused, key) : NULL;
        if (key && !refusal) {
                refusal = calloc(1, sizeof(*refusal));
                if (refusal && map_put(&vault->refused, key, refusal) < 0) {
                        free(refusal);
                        refusal = NULL;
                }
        }
        if (refusal)
                *refusal = (Refusal){ clock_monotonic_usec() + REFUSED_USEC, *failure };
        pthread_mutex_unlock(&vault->lock);
}

static void note_permission(Vault *vault, const VaultCall *call, bool had)
{
        bool news;

        pthread_mutex_lock(&vault->lock);
        news = permissions_note(&vault->permissions, call->permission, had);
        pthread_mutex_unlock(&vault->lock);
        if (news)
                vault_stir(vault);
}

int vault_outcome(Vault *vault, const VaultCall *call, const HttpAnswer *answer,
                       Failure *failure)
{
        bool lacking = false;
        int r = answer->fault == HTTP_OK
                        ? outcome_of(call, answer, &lacking, failure)
                        : outcome_of_fault(call, vault->settings.vault.host, answer, failure);

        if (lacking)
                note_permission(vault, call, false);
        return r;
}

/* --- the gate --- */

static int refuse_closed(const Vault *vault, uint64_t wait_usec, Failure *failure)
{
        return fail(failure, CB_SOURCE_UNAVAILABLE, "%s; it is tried again in %llu s",
                    vault->gate_text, (unsigned long long)(wait_usec / USEC_PER_SEC + 1));
}

static GateUse use_of(const VaultCall *call)
{
        return call->signs ? GATE_SIGNS : GATE_MANAGES;
}

static int enter_gate_once(Vault *vault, const VaultCall *call, GateAnswer *ret_answer,
                           uint64_t *ret_wait_usec, Failure *failure)
{
        uint64_t wait_usec;
        int r = 0;

        pthread_mutex_lock(&vault->lock);
        *ret_answer = gate_enter(&vault->gate, use_of(call), MAX(call->cost, 1U),
                                 clock_monotonic_usec(), &wait_usec);
        switch (*ret_answer) {
        case GATE_OPEN:
                break;
        case GATE_SPENT:
                r = fail(failure, CB_THROTTLED,
                         "the budget of requests to this vault is used up, so that its limits are "
                         "not reached; try again in %llu ms",
                         (unsigned long long)(wait_usec / USEC_PER_MSEC + 1));
                break;
        case GATE_ASKED:
                r = fail(failure, CB_THROTTLED,
                         "the vault has asked to be left alone; try again in %llu s",
                         (unsigned long long)(wait_usec / USEC_PER_SEC + 1));
                break;
        case GATE_CLOSED:
                r = refuse_closed(vault, wait_usec, failure);
                break;
        case _GATE_ANSWER_N:
                r = CB_FAILED;
                break;
        }
        pthread_mutex_unlock(&vault->lock);
        *ret_wait_usec = wait_usec;
        return r;
}

/* What manages waits for its share: there is little at once, but always more. */
static int enter_gate(Vault *vault, const VaultCall *call, uint64_t *ret_wait_usec,
                      Failure *failure)
{
        GateAnswer answer;
        int r;

        do {
                *failure = (Failure){ 0 };
                r = enter_gate_once(vault, call, &answer, ret_wait_usec, failure);
        } while (answer == GATE_SPENT && !call->signs &&
                 vault_sleep(*ret_wait_usec + vault_random() % AGAIN_USEC, call->deadline_usec));
        return r;
}

/* The name of what it is about, whichever of its sides: certificates/NAME, keys/NAME/VERSION/sign … */
static uint64_t hash_of_object(const char *uri)
{
        const char *p = strstr(uri, "://");
        uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

        for (unsigned i = 0; p && i < 2; i++)
                p = strchr(p + (i == 0 ? 3 : 1), '/');
        for (p = p ? p + 1 : ""; *p && *p != '/'; p++)
                hash = (hash ^ (uint8_t)*p) * UINT64_C(1099511628211);
        return hash;
}

/* true: it begins to be put off, which is worth a line. */
static bool note_object_locked(Vault *vault, const Attempts *attempts, const GateNote *note,
                               const HttpAnswer *answer, const Failure *failure)
{
        bool first = false, put_off;

        if (note->outcome != GATE_FAILED && note->outcome != GATE_ANSWERED)
                return false;
        put_off = objects_note(&vault->objects, attempts->key,
                               &(ObjectNote){ note->outcome == GATE_FAILED, note->retry_after_usec,
                                              note->now_usec, note->random, failure },
                               &first);
        /* Silence may be a connection that is dead: nobody need wait for more of it. */
        if (put_off || answer->fault == HTTP_TIMED_OUT)
                gate_doubt(&vault->gate, note, hash_of_object(attempts->call->uri),
                           first || !put_off);
        return put_off && first;
}

/* A probe that fails as the one before says nothing new: its number alone is another. */
static void tell_locked(Vault *vault, const Gate *before, const Attempts *attempts,
                        const HttpAnswer *answer, const Failure *failure)
{
        if (before->closed &&
            (attempts || (answer->fault == HTTP_OK && answer->status == vault->gate_status)))
                return;
        vault->gate_status = answer->fault == HTTP_OK ? answer->status : 0;
        snprintf(vault->gate_text, sizeof(vault->gate_text), "%.*s",
                 (int)sizeof(vault->gate_text) - 1, failure->text);
}

void vault_note_answer(Vault *vault, const Attempts *attempts, bool with_token,
                        const HttpAnswer *answer, const Failure *failure)
{
        GateNote note = { attempts ? use_of(attempts->call) : GATE_SIGNS,
                          outcome_for_gate(answer),
                          !attempts,
                          with_token,
                          answer->retry_after_usec,
                          clock_monotonic_usec(),
                          vault_random() };
        bool put_off = false, news;
        Gate before;

        pthread_mutex_lock(&vault->lock);
        before = vault->gate;
        gate_note(&vault->gate, &note);
        if (attempts)
                put_off = note_object_locked(vault, attempts, &note, answer, failure);
        if (before.closed && !vault->gate.closed)
                objects_clear(&vault->objects); /* that was not their own trouble */
        news = note.outcome == GATE_THROTTLED || before.closed != vault->gate.closed ||
               before.doubted != vault->gate.doubted || before.n_ill != vault->gate.n_ill;
        if (failure->status != 0 && note.outcome != GATE_ANSWERED && note.outcome != GATE_GREETED)
                tell_locked(vault, &before, attempts, answer, failure);
        pthread_mutex_unlock(&vault->lock);
        if (put_off)
                log_warning("%s; nothing else is put off by that", failure->text);
        if (news)
                vault_stir(vault);
}

/* --- one request --- */

static int send_once(Vault *vault, const Attempts *attempts, Token *token, HttpAnswer *answer)
{
        const VaultCall *call = attempts->call;

        return http_perform(vault->http,
                            &(HttpRequest){
                                    .method = call->method,
                                    .url = attempts->url,
                                    .bearer = token->secret,
                                    .body = call->body,
                                    .n_body = call->n_body,
                                    .secret_answer = call->secret,
                                    .manages = !call->signs,
                                    .deadline_usec = call->deadline_usec,
                            },
                            answer);
}

/* A failure that may be over in a moment; longer than the vault says nobody is to come back. */
static bool is_passing(const Attempts *attempts, const HttpAnswer *answer)
{
        GateOutcome outcome = outcome_for_gate(answer);

        return (outcome == GATE_FAILED || outcome == GATE_UNREACHABLE) &&
               answer->fault != HTTP_TOO_LARGE && answer->fault != HTTP_TIMED_OUT &&
               !attempts->trial &&
               (answer->retry_after_usec == HTTP_NO_RETRY_AFTER ||
                answer->retry_after_usec <= AWAY_USEC);
}

/* Judges the answer. 0: done; 1 in *ret_again: after *ret_wait_usec once more. */
static int judge(Vault *vault, Attempts *attempts, const HttpAnswer *answer, bool *ret_again,
                 uint64_t *ret_wait_usec, Failure *failure)
{
        const VaultCall *call = attempts->call;
        uint64_t step_usec = AGAIN_USEC << attempts->n;
        bool passing;
        int r;

        if (answer->fault == HTTP_OK && answer->status >= 200 && answer->status < 300)
                return 0;
        r = vault_outcome(vault, call, answer, failure);
        *ret_wait_usec = step_usec / 2 + vault_random() % step_usec;
        passing = is_passing(attempts, answer);
        if (passing && answer->retry_after_usec != HTTP_NO_RETRY_AFTER)
                *ret_wait_usec += answer->retry_after_usec;
        if (answer->status == 429)
                *ret_wait_usec = vault_random() % AGAIN_USEC; /* beside what the gate says */
        if (answer->status == 409 && r == CB_FAILED)
                *ret_again = ++attempts->n_conflicts < CONFLICTS;
        else
                *ret_again = ((passing && !call->once) || answer->status == 429) &&
                             attempts->n + 1 < TRIES;
        return r;
}

static int on_401(Vault *vault, Attempts *attempts, const HttpAnswer *answer, const Token *token,
                  bool *ret_again, Failure *failure)
{
        int r = vault_refuse_token(vault, answer, token, failure);

        if (r != 0)
                return r;
        *ret_again = !attempts->refused;
        attempts->refused = true;
        return vault_outcome(vault, attempts->call, answer, failure);
}

/* Once for a call: what it is let through for is not over before its end. */
static int enter_object(Vault *vault, Attempts *attempts, bool *ret_again, uint64_t *ret_wait_usec,
                        Failure *failure)
{
        uint64_t now_usec = clock_monotonic_usec();
        int r;

        if (attempts->entered)
                return 0;
        pthread_mutex_lock(&vault->lock);
        attempts->trial = objects_put_off(&vault->objects, attempts->key);
        r = objects_enter(&vault->objects, attempts->key, now_usec, ret_wait_usec, failure);
        if (r == 0 && attempts->trial && attempts->call->signs &&
            !gate_may_try(&vault->gate, now_usec, ret_wait_usec))
                r = fail(failure, CB_SOURCE_UNAVAILABLE,
                         "%s: the vault signs with none of several keys; it is tried again in %llu s",
                         attempts->call->uri,
                         (unsigned long long)(*ret_wait_usec / USEC_PER_SEC + 1));
        pthread_mutex_unlock(&vault->lock);
        attempts->entered = r == 0;
        *ret_again = false;
        return r;
}

static int try_once(Vault *vault, Attempts *attempts, HttpAnswer *answer, bool *ret_again,
                    uint64_t *ret_wait_usec, Failure *failure)
{
        const VaultCall *call = attempts->call;
        Token *token = NULL;
        int r;

        r = enter_object(vault, attempts, ret_again, ret_wait_usec, failure);
        if (r != 0)
                return r;
        r = enter_gate(vault, call, ret_wait_usec, failure);
        if (r != 0) {
                *ret_again = r == CB_THROTTLED && *ret_wait_usec <= PATIENCE_USEC &&
                             attempts->n + 1 < TRIES;
                *ret_wait_usec += vault_random() % AGAIN_USEC;
                return r;
        }
        r = tokens_get(&vault->tokens, vault_fetch_token, vault, call->deadline_usec, &token,
                       failure);
        if (r != 0)
                return r;
        r = send_once(vault, attempts, token, answer);
        if (r == 0 && answer->fault == HTTP_OK && answer->status == 401) {
                r = on_401(vault, attempts, answer, token, ret_again, failure);
                vault_note_answer(vault, attempts, true, answer, failure);
        } else if (r == 0) {
                r = judge(vault, attempts, answer, ret_again, ret_wait_usec, failure);
                vault_note_answer(vault, attempts, true, answer, failure);
        }
        tokens_put(&vault->tokens, token);
        return r;
}

int vault_call(Vault *vault, const VaultCall *call, HttpAnswer *answer, Failure *failure)
{
        CLEANUP(freep) char *url = NULL, *key = NULL;
        Attempts attempts = { .call = call };
        int r;

        *answer = (HttpAnswer){ 0 };
        r = find_refusal(vault, call, failure);
        if (r != 0)
                return r;
        if (asprintf(&url, "%s?api-version=%s%s%s", call->uri, vault->settings.api_version,
                     call->query ? "&" : "", string_or_empty(call->query)) < 0)
                return -ENOMEM;
        attempts.url = url;
        if (asprintf(&key, "%s %s", call->method, call->uri) < 0)
                return -ENOMEM;
        attempts.key = key;
        for (;; attempts.n++) {
                uint64_t wait_usec = 0;
                bool again = false;

                http_answer_deinit(answer);
                *failure = (Failure){ 0 };
                r = try_once(vault, &attempts, answer, &again, &wait_usec, failure);
                if (r == 0)
                        note_permission(vault, call, true);
                if (r == CB_SOURCE_DENIED && answer->status == 403)
                        note_refusal(vault, call, failure);
                if (r == 0 || !again || !vault_sleep(wait_usec, call->deadline_usec))
                        return r;
        }
}

/* --- making one --- */

static void cond_init(pthread_cond_t *cond)
{
        pthread_condattr_t attributes;

        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(cond, &attributes);
        pthread_condattr_destroy(&attributes);
}

int vault_new(char *const *settings, const DriverHost *host, Vault **ret_vault, Failure *failure)
{
        Vault *vault = calloc(1, sizeof(*vault)); /* for as long as the process lives */
        int r;

        if (!vault)
                return -ENOMEM;
        json_init();
        vault->host = *host;
        pthread_mutex_init(&vault->lock, NULL);
        cond_init(&vault->stirred);
        pthread_mutex_init(&vault->keys.lock, NULL);
        cond_init(&vault->keys.loaded);
        map_init(&vault->keys.entries);
        map_init(&vault->refused);
        map_init(&vault->newest);
        gate_init(&vault->gate);
        objects_init(&vault->objects);
        r = settings_read(settings, &vault->settings, failure);
        if (r == 0)
                r = tokens_init(&vault->tokens, clock_boottime_usec);
        if (r == 0)
                r = http_new(vault->settings.ca_file, vault->settings.proxy, &vault->http);
        if (r != 0)
                return r;
        *ret_vault = vault;
        return 0;
}
