/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lets us in: challenges, tokens, and whether there is anybody. Invariant: no token is asked for, or
 * sent, before the vault's challenge was found to be of the configured resource and tenant; and whatever a
 * challenge says, it goes to the configured authority, and to the configured vault.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "source/azure-key-vault/attempts.h"
#include "source/azure-key-vault/auth.h"
#include "source/azure-key-vault/challenge.h"

/* The resource that tokens are for; NULL: not known yet. Owned. */
static char *resource_of(Vault *vault)
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

int vault_refuse_token(Vault *vault, const HttpAnswer *answer, const Token *token,
                        Failure *failure)
{
        CLEANUP(freep) char *claims = NULL;
        int r = 0;

        if (answer->challenge)
                r = judge_refusal(vault, answer->challenge, &claims, failure);
        tokens_refuse(&vault->tokens, token, claims);
        if (r != 0)
                vault_stir(vault); /* else who needs a new one asks for it: the keeper need not, too */
        return r;
}

static int judge_probe(Vault *vault, const VaultCall *call, Token *token,
                       const HttpAnswer *answer, Failure *failure)
{
        if (answer->fault != HTTP_OK || answer->status != 401)
                return vault_outcome(vault, call, answer, failure);
        if (token)
                return vault_refuse_token(vault, answer, token, failure);
        return judge_challenge(vault, answer->challenge, failure);
}

int vault_probe(Vault *vault, bool with_token, uint64_t deadline_usec, Failure *failure)
{
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        CLEANUP(freep) char *url = NULL;
        VaultCall call = { .uri = vault->settings.vault.origin };
        Token *token = NULL;
        int r;

        if (asprintf(&url, "%s/certificates?maxresults=1&api-version=%s",
                     vault->settings.vault.origin, vault->settings.api_version) < 0)
                return -ENOMEM;
        if (with_token)
                token = tokens_peek(&vault->tokens);
        r = http_perform(vault->http,
                         &(HttpRequest){ .method = "GET",
                                         .url = url,
                                         .bearer = token ? token->secret : NULL,
                                         .fresh = true,
                                         .deadline_usec = deadline_usec },
                         &answer);
        if (r == 0) {
                r = judge_probe(vault, &call, token, &answer, failure);
                vault_note_answer(vault, NULL, token != NULL, &answer, failure);
        }
        tokens_put(&vault->tokens, token);
        return r;
}

/* While the vault is away, not more often than a probe. */
static int greet(Vault *vault, uint64_t deadline_usec, Failure *failure)
{
        bool may;

        pthread_mutex_lock(&vault->lock);
        may = !vault->gate.closed || gate_probe(&vault->gate, clock_monotonic_usec());
        if (!may)
                fail(failure, CB_SOURCE_UNAVAILABLE, "%s", vault->gate_text);
        pthread_mutex_unlock(&vault->lock);
        return may ? vault_probe(vault, false, deadline_usec, failure) : CB_SOURCE_UNAVAILABLE;
}

static int fetch_token(Vault *vault, const char *claims, uint64_t deadline_usec,
                       TokenAnswer *answer, Failure *failure)
{
        CLEANUP(freep) char *resource = resource_of(vault);
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
                r = greet(vault, deadline_usec, failure);
        if (r == CB_SOURCE_DENIED || r < 0)
                return r; /* no token is asked for, for a vault that is none, or not ours */
        if (r == 0)
                vault->challenged = true;
        *failure = (Failure){ 0 };
        return fetch_token(vault, claims, deadline_usec, answer, failure);
}
