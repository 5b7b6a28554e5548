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
#include "source/azure-key-vault/auth.h"
#include "source/azure-key-vault/challenge.h"
#include "source/azure-key-vault/json.h"
#include "source/azure-key-vault/outcome.h"

#define REFUSED_USEC  (60 * USEC_PER_SEC)
#define REFUSED_MAX   512
#define TRIES         3
#define CONFLICTS     4
#define AGAIN_USEC    (150 * USEC_PER_MSEC)
#define PATIENCE_USEC (2 * USEC_PER_SEC) /* longer than this nobody is kept waiting */

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

void vault_forget_refusals(Vault *vault)
{
        pthread_mutex_lock(&vault->lock);
        forget_refusals_locked(vault);
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

/* What the answer means, whatever it is but a success; a permission that is lacking is noted. */
static int outcome_for(Vault *vault, const VaultCall *call, const HttpAnswer *answer,
                       Failure *failure)
{
        bool lacking = false;
        int r = answer->fault == HTTP_OK
                        ? outcome_of(call, answer, &lacking, failure)
                        : outcome_of_fault(vault->settings.vault.host, answer, failure);

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

static int enter_gate(Vault *vault, const VaultCall *call, uint64_t *ret_wait_usec,
                      Failure *failure)
{
        uint64_t wait_usec;
        int r = 0;

        pthread_mutex_lock(&vault->lock);
        switch (gate_enter(&vault->gate, use_of(call), MAX(call->cost, 1U), clock_monotonic_usec(),
                           &wait_usec)) {
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

static void note_gate(Vault *vault, GateUse use, const HttpAnswer *answer, const Failure *failure)
{
        GateOutcome outcome = outcome_for_gate(answer);
        bool was_closed, was_doubted, news;

        pthread_mutex_lock(&vault->lock);
        was_closed = vault->gate.closed;
        was_doubted = vault->gate.doubted;
        gate_note(&vault->gate, use, outcome, answer->retry_after_usec, clock_monotonic_usec(),
                  vault_random());
        news = outcome == GATE_THROTTLED || was_closed != vault->gate.closed ||
               was_doubted != vault->gate.doubted;
        if (outcome != GATE_ANSWERED)
                snprintf(vault->gate_text, sizeof(vault->gate_text), "%.*s",
                         (int)sizeof(vault->gate_text) - 1, failure->text);
        pthread_mutex_unlock(&vault->lock);
        if (news)
                vault_stir(vault);
}

/* --- tokens --- */

char *vault_resource(Vault *vault)
{
        const char *resource;
        char *copy;

        pthread_mutex_lock(&vault->lock);
        resource = vault->settings.resource ? vault->settings.resource : vault->learned_resource;
        copy = resource ? strdup(resource) : NULL;
        pthread_mutex_unlock(&vault->lock);
        return copy;
}

static int learn_resource(Vault *vault, const char *resource)
{
        size_t n = strlen(resource);
        int r = 0;

        pthread_mutex_lock(&vault->lock);
        if (!vault->settings.resource) {
                free(vault->learned_resource);
                vault->learned_resource = strndup(resource, n - (resource[n - 1] == '/'));
                if (!vault->learned_resource)
                        r = -ENOMEM;
        }
        pthread_mutex_unlock(&vault->lock);
        return r;
}

static int verify_challenge(const Vault *vault, const Challenge *challenge, Failure *failure)
{
        const Settings *settings = &vault->settings;

        return challenge_verify(challenge, settings->vault.host,
                                settings->resource_is_given ? settings->resource : NULL,
                                settings->tenant_id, failure);
}

/*
 * Before a token is asked for: a challenge that does not suit ends it; one that does teaches the resource,
 * where none is known.
 */
static int judge_challenge(Vault *vault, const char *header, Failure *failure)
{
        CLEANUP(challenge_deinit) Challenge challenge = { 0 };
        int r;

        r = challenge_parse(header, &challenge, failure);
        if (r == 0 && !challenge.resource && !vault->settings.resource)
                r = fail(failure, CB_SOURCE_DENIED,
                         "the vault's challenge does not say which resource its tokens are for; "
                         "is it a key vault? Else the setting 'resource' says it");
        if (r == 0)
                r = verify_challenge(vault, &challenge, failure);
        return r == 0 && challenge.resource ? learn_resource(vault, challenge.resource) : r;
}

/*
 * Of a token that was sent. It need not name a resource again, as where the token was revoked (continuous
 * access evaluation), and one that cannot be read is as good as none: the new token is asked for where
 * the configuration says, whatever is in it. But one that asks for somebody else's ends it here too.
 */
static int judge_refusal(Vault *vault, const char *header, char **ret_claims, Failure *failure)
{
        CLEANUP(challenge_deinit) Challenge challenge = { 0 };
        int r;

        r = challenge_parse(header, &challenge, failure);
        if (r != 0)
                return r < 0 ? r : 0;
        r = verify_challenge(vault, &challenge, failure);
        return r == 0 ? challenge_claims(&challenge, ret_claims) : r;
}

int vault_probe(Vault *vault, uint64_t deadline_usec, Failure *failure)
{
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        CLEANUP(freep) char *url = NULL;
        VaultCall call = { .uri = vault->settings.vault.origin };
        int r;

        if (asprintf(&url, "%s/certificates?maxresults=1&api-version=%s",
                     vault->settings.vault.origin, vault->settings.api_version) < 0)
                return -ENOMEM;
        r = http_perform(
                vault->http,
                &(HttpRequest){ .method = "GET", .url = url, .deadline_usec = deadline_usec },
                &answer);
        if (r < 0)
                return r;
        r = answer.fault == HTTP_OK && answer.status == 401
                    ? judge_challenge(vault, answer.challenge, failure)
                    : outcome_for(vault, &call, &answer, failure);
        note_gate(vault, GATE_SIGNS, &answer, failure);
        return r;
}

static int fetch_token(Vault *vault, const char *claims, uint64_t deadline_usec,
                       TokenAnswer *answer, Failure *failure)
{
        CLEANUP(freep) char *resource = vault_resource(vault);
        AuthJob job = { vault, resource, claims, deadline_usec, answer, failure };

        if (!resource)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "the vault has not told yet which resource its tokens are for");
        return auth_fetch(&job);
}

int vault_fetch_token(void *userdata, const char *claims, uint64_t deadline_usec,
                      TokenAnswer *answer, Failure *failure)
{
        Vault *vault = userdata;
        int r = 0;

        if (!vault->challenged)
                r = vault_probe(vault, deadline_usec, failure);
        if (r == CB_SOURCE_DENIED || r < 0)
                return r; /* no token is asked for, for a vault that is none, or not ours */
        if (r == 0)
                vault->challenged = true;
        *failure = (Failure){ 0 };
        return fetch_token(vault, claims, deadline_usec, answer, failure);
}

/* --- one request, with all that may have to be done again --- */

typedef struct Attempts {
        const VaultCall *call;
        char *url;
        unsigned n, n_conflicts;
        bool refused; /* a token was, once */
} Attempts;

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
                                    .deadline_usec = call->deadline_usec,
                            },
                            answer);
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
        r = outcome_for(vault, call, answer, failure);
        *ret_wait_usec = step_usec / 2 + vault_random() % step_usec;
        passing = outcome_for_gate(answer) == GATE_FAILED && answer->fault != HTTP_TOO_LARGE &&
                  answer->fault != HTTP_TIMED_OUT;
        if (answer->status == 429)
                *ret_wait_usec = vault_random() % AGAIN_USEC; /* beside what the gate says */
        if (answer->status == 409 && r == CB_FAILED)
                *ret_again = ++attempts->n_conflicts < CONFLICTS;
        else
                *ret_again = ((passing && !call->once) || answer->status == 429) &&
                             attempts->n + 1 < TRIES;
        return r;
}

static int on_401(Vault *vault, Attempts *attempts, const HttpAnswer *answer, Token *token,
                  bool *ret_again, Failure *failure)
{
        CLEANUP(freep) char *claims = NULL;
        int r = 0;

        if (answer->challenge)
                r = judge_refusal(vault, answer->challenge, &claims, failure);
        tokens_refuse(&vault->tokens, token, claims);
        if (r != 0) {
                vault_stir(vault);
                return r;
        }
        *ret_again = !attempts->refused;
        attempts->refused = true;
        return outcome_for(vault, attempts->call, answer, failure);
}

static int try_once(Vault *vault, Attempts *attempts, HttpAnswer *answer, bool *ret_again,
                    uint64_t *ret_wait_usec, Failure *failure)
{
        const VaultCall *call = attempts->call;
        Token *token = NULL;
        int r;

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
                note_gate(vault, use_of(call), answer, failure);
        } else if (r == 0) {
                r = judge(vault, attempts, answer, ret_again, ret_wait_usec, failure);
                note_gate(vault, use_of(call), answer, failure);
        }
        tokens_put(&vault->tokens, token);
        return r;
}

int vault_call(Vault *vault, const VaultCall *call, HttpAnswer *answer, Failure *failure)
{
        CLEANUP(freep) char *url = NULL;
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
