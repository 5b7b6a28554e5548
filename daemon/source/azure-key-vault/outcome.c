/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From HTTP to outcomes, in one place. A vault's codes are matched where they are known; an unknown one
 * falls back to its status. The vault's number of the request is in the sentence, since its operator asks
 * for it. A missing permission is noted here, with the role that would give it.
 */
#include "source/azure-key-vault/outcome.h"

#include <stdio.h>
#include <string.h>

#include "base/strings.h"

static bool says(const char *text, const char *word)
{
        return strcasestr(text, word) != NULL;
}

/* 403: what is wrong with the object rather than with us. */
static const struct {
        const char *inner, *message; /* either */
        int status;
        const char *text;
} object_rows[] = {
        { "Disabled", "disabled", CB_DISABLED, "it is disabled in the vault; enable it there" },
        { "KeyNotYetValid", "not yet valid", CB_PENDING, "it is not valid yet, says the vault" },
        { "Expired", "has expired", CB_EXPIRED, "it has expired, says the vault; rotate it" },
        { "KeyOperationNotPermitted", "not permitted on this key", CB_NOT_SUPPORTED,
          "the key's operations do not allow it; its certificate's policy needs the key usage "
          "digitalSignature" },
};

static const struct {
        const char *inner, *text;
} network_rows[] = {
        { "ForbiddenByFirewall", "the vault's firewall does not let this host in" },
        { "ForbiddenByConnection", "the vault does not take connections from this network" },
};

static int refuse_object(const char *uri, const ErrorAnswer *error, const char *id,
                         Failure *failure)
{
        for (size_t i = 0; i < ELEMENTSOF(object_rows); i++)
                if (says(error->inner, object_rows[i].inner) ||
                    says(error->message, object_rows[i].message))
                        return fail(failure, object_rows[i].status, "%s: %s (%s)", uri,
                                    object_rows[i].text, id);
        return 0;
}

static int on_403(Vault *vault, const VaultCall *call, const ErrorAnswer *error, const char *id,
                  Failure *failure)
{
        bool news;
        int r = refuse_object(call->uri, error, id, failure);

        if (r != 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(network_rows); i++)
                if (says(error->inner, network_rows[i].inner))
                        return fail(failure, CB_SOURCE_DENIED, "%s: %s (%s)", call->uri,
                                    network_rows[i].text, id);
        pthread_mutex_lock(&vault->lock);
        news = permissions_note(&vault->permissions, call->permission, false);
        pthread_mutex_unlock(&vault->lock);
        if (news)
                vault_stir(vault);
        if (call->permission == PERMISSION_NONE)
                return fail(failure, CB_SOURCE_DENIED, "%s: the vault refuses us: %s %s (%s)",
                            call->uri, error->code, error->inner, id);
        return fail(failure, CB_SOURCE_DENIED,
                    "%s: this source's identity lacks the permission %s; the role '%s' gives it "
                    "(%s %s, %s)",
                    call->uri, permission_name(call->permission), permission_role(call->permission),
                    error->code, error->inner, id);
}

static int on_409(const VaultCall *call, const ErrorAnswer *error, const char *id, Failure *failure)
{
        if (says(error->inner, "ObjectIsDeletedButRecoverable") ||
            says(error->inner, "ObjectIsBeingDeleted"))
                return fail(failure, CB_ALREADY_EXISTS,
                            "%s was deleted and its name is still reserved (soft delete): recover "
                            "or purge it in the vault first (%s)",
                            call->uri, id);
        return fail(failure, CB_FAILED,
                    "%s: the vault says that something else is in the way: %s %s "
                    "(%s)",
                    call->uri, error->code, error->message, id);
}

int outcome_of(Vault *vault, const VaultCall *call, const HttpAnswer *answer, Failure *failure)
{
        const char *id = answer->request_id ? answer->request_id : "no request id";
        ErrorAnswer error;
        const void *body;
        size_t n;

        body = http_answer_body(answer, &n);
        error_answer_parse(body, n, &error);
        switch (answer->status) {
        case 400:
                return fail(failure, CB_INVALID_ARGUMENT,
                            "%s: the vault does not take it: %s %s "
                            "(%s)",
                            call->uri, error.code, error.message, id);
        case 401:
                return fail(failure, CB_SOURCE_DENIED,
                            "%s: the vault refuses our access token: %s (%s)", call->uri,
                            error.message, id);
        case 403:
                return on_403(vault, call, &error, id, failure);
        case 404:
                return fail(failure, CB_NOT_FOUND, "%s is not in the vault (%s)", call->uri, id);
        case 409:
                return on_409(call, &error, id, failure);
        case 429:
                return fail(failure, CB_THROTTLED,
                            "the vault's limit of requests is reached; try again later (%s)", id);
        default:
                break;
        }
        if (answer->status >= 300 && answer->status < 400)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "%s: the vault answered with a redirect (%ld), which is not followed; "
                            "is the uri of the source right?",
                            call->uri, answer->status);
        if (answer->status >= 500 || answer->status == 408)
                return fail(failure, CB_SOURCE_UNAVAILABLE, "the vault answered %ld %s (%s)",
                            answer->status, error.code, id);
        return fail(failure, CB_FAILED, "%s: the vault answered %ld %s (%s)", call->uri,
                    answer->status, error.code, id);
}

int outcome_of_fault(Vault *vault, const HttpAnswer *answer, Failure *failure)
{
        const char *host = vault->settings.vault.host, *why = answer->fault_text;

        switch (answer->fault) {
        case HTTP_INSECURE:
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "the connection to %s is not secure, and nothing was sent: %s; check "
                            "the vault's certificate and ca-file",
                            host, why);
        case HTTP_TIMED_OUT:
                return fail(failure, CB_SOURCE_UNAVAILABLE, "%s gave no answer in time: %s", host,
                            why);
        case HTTP_TOO_LARGE:
        case HTTP_BROKEN:
                return fail(failure, CB_SOURCE_UNAVAILABLE, "%s gave no whole answer: %s", host,
                            why);
        case HTTP_OK:
        case HTTP_UNREACHABLE:
        case HTTP_INTERNAL:
        case _HTTP_FAULT_N:
                break;
        }
        return fail(failure, CB_SOURCE_UNAVAILABLE, "%s cannot be reached: %s", host, why);
}

GateOutcome outcome_for_gate(const HttpAnswer *answer)
{
        if (answer->fault == HTTP_INSECURE)
                return GATE_INSECURE;
        if (answer->fault != HTTP_OK || answer->status >= 500 || answer->status == 408)
                return GATE_FAILED;
        return answer->status == 429 ? GATE_THROTTLED : GATE_ANSWERED;
}
