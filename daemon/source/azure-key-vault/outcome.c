/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From HTTP to outcomes, in one place. A vault's codes are matched where they are known; an unknown one
 * falls back to its status. The numbers of the request are in the sentence, since the vault's operator asks
 * for them. Pure.
 */
#include "source/azure-key-vault/outcome.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"

#define ID_MAX 240

static bool says(const char *text, const char *word)
{
        return strcasestr(text, word) != NULL;
}

/*
 * What an answer of 403 or 409 is about. The inner code tells, where there is one: texts speak of disabled
 * networks, subscriptions and expired tokens as well, and are asked only where the vault gives no code.
 */
typedef struct Row {
        const char *const *inner;    /* ends with NULL */
        const char *const *messages; /* likewise */
        int status;
        const char *text;
} Row;

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* 403: what is wrong with the object, or with the way to the vault, rather than with our permissions. */
static const Row refusal_rows[] = {
        { WORDS("KeyDisabled", "SecretDisabled", "CertificateDisabled"),
          WORDS("a disabled key", "a disabled secret", "a disabled certificate"), CB_DISABLED,
          "it is disabled in the vault; enable it there" },
        { WORDS("KeyNotYetValid", "SecretNotYetValid", "CertificateNotYetValid"),
          WORDS("key that is not yet valid", "secret that is not yet valid",
                "certificate that is not yet valid"),
          CB_PENDING, "it is not valid yet, says the vault" },
        { WORDS("KeyExpired", "SecretExpired", "CertificateExpired"),
          WORDS("an expired key", "an expired secret", "an expired certificate", "key has expired",
                "secret has expired", "certificate has expired"),
          CB_EXPIRED, "it has expired, says the vault; rotate it" },
        { WORDS("KeyOperationForbidden", "KeyOperationNotPermitted"),
          WORDS("not permitted on this key"), CB_NOT_SUPPORTED,
          "the key's operations do not allow it; its certificate's policy needs the key usage "
          "digitalSignature" },
        { WORDS("ForbiddenByFirewall"), WORDS("Client address is not authorized"),
          CB_SOURCE_DENIED,
          "the vault's firewall does not let this host in; allow its address in the vault's network "
          "settings" },
        { WORDS("ForbiddenByConnection"),
          WORDS("Public network access is disabled", "PublicNetworkAccess"), CB_SOURCE_DENIED,
          "the vault does not take connections from this network; reach it by its private "
          "endpoint, or allow this network in the vault's network settings" },
};

/* 403: our permissions. */
static const Row permission_row = {
        WORDS("AccessDenied", "ForbiddenByPolicy", "ForbiddenByRbac"),
        WORDS("permission", "not authorized", "access denied"),
        CB_SOURCE_DENIED,
        NULL,
};

/* 409: the name is taken by what was deleted. */
static const Row deleted_row = {
        WORDS("ObjectIsDeletedButRecoverable", "ObjectIsBeingDeleted"),
        WORDS("deleted but recoverable", "being deleted"),
        CB_ALREADY_EXISTS,
        NULL,
};

static bool is_about(const Row *row, const ErrorAnswer *error)
{
        if (*error->inner) {
                for (size_t i = 0; row->inner[i]; i++)
                        if (strcasecmp(error->inner, row->inner[i]) == 0)
                                return true;
                return false;
        }
        for (size_t i = 0; row->messages[i]; i++)
                if (says(error->message, row->messages[i]))
                        return true;
        return false;
}

static int on_403(const VaultCall *call, const ErrorAnswer *error, const char *id,
                  bool *ret_lacking, Failure *failure)
{
        for (size_t i = 0; i < ELEMENTSOF(refusal_rows); i++)
                if (is_about(&refusal_rows[i], error))
                        return fail(failure, refusal_rows[i].status, "%s: %s (%s)", call->uri,
                                    refusal_rows[i].text, id);
        *ret_lacking = call->permission != PERMISSION_NONE && is_about(&permission_row, error);
        if (*ret_lacking)
                return fail(failure, CB_SOURCE_DENIED,
                            "%s: this source's identity lacks the permission %s; the role '%s' "
                            "gives it (%s %s, %s)",
                            call->uri, permission_name(call->permission),
                            permission_role(call->permission), error->code, error->inner, id);
        return fail(failure, CB_SOURCE_DENIED, "%s: the vault refuses us: %s %s: %s (%s)",
                    call->uri, *error->code ? error->code : "HTTP 403", error->inner,
                    *error->message ? error->message : "no reason is given", id);
}

static int on_409(const VaultCall *call, const ErrorAnswer *error, const char *id, Failure *failure)
{
        if (is_about(&deleted_row, error))
                return fail(failure, CB_ALREADY_EXISTS,
                            "%s was deleted and its name is still reserved (soft delete): recover "
                            "or purge it in the vault first (%s)",
                            call->uri, id);
        return fail(failure, CB_FAILED,
                    "%s: the vault says that something else is in the way: %s %s "
                    "(%s)",
                    call->uri, error->code, error->message, id);
}

/* By these two the request is found in the vault's log. */
static const char *id_of(const HttpAnswer *answer, char text[ID_MAX])
{
        snprintf(text, ID_MAX, "%s%s%s%s",
                 answer->request_id ? "x-ms-request-id " : "", string_or_empty(answer->request_id),
                 answer->request_id && *answer->client_id ? ", " : "",
                 *answer->client_id ? "client-request-id " : "");
        return strncat(text, answer->client_id, ID_MAX - strlen(text) - 1);
}

int outcome_of(const VaultCall *call, const HttpAnswer *answer, bool *ret_lacking,
               Failure *failure)
{
        char text[ID_MAX];
        const char *id = id_of(answer, text);
        ErrorAnswer error;
        const void *body;
        size_t n;

        *ret_lacking = false;
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
                return on_403(call, &error, id, ret_lacking, failure);
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
                return fail(failure, CB_SOURCE_UNAVAILABLE, "%s: the vault answered %ld %s (%s)",
                            call->uri, answer->status, error.code, id);
        return fail(failure, CB_FAILED, "%s: the vault answered %ld %s (%s)", call->uri,
                    answer->status, error.code, id);
}

int outcome_of_fault(const VaultCall *call, const char *host, const HttpAnswer *answer,
                     Failure *failure)
{
        const char *why = answer->fault_text, *what = answer->connected ? call->uri : host;

        switch (answer->fault) {
        case HTTP_INSECURE:
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "the connection to %s is not secure, and nothing was sent: %s; check "
                            "the vault's certificate and ca-file",
                            host, why);
        case HTTP_TIMED_OUT:
                return fail(failure, CB_SOURCE_UNAVAILABLE, "%s gave no answer in time: %s", what,
                            why);
        case HTTP_TOO_LARGE:
        case HTTP_BROKEN:
                return fail(failure, CB_SOURCE_UNAVAILABLE, "%s gave no whole answer: %s", what,
                            why);
        case HTTP_INTERNAL:
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "this process could not send a request to %s, or not take its answer: "
                            "%s",
                            host, why);
        case HTTP_OK:
        case HTTP_UNREACHABLE:
        case _HTTP_FAULT_N:
                break;
        }
        return fail(failure, CB_SOURCE_UNAVAILABLE, "%s cannot be reached: %s", host, why);
}

/* What breaks after the request went out says nothing of the way there: of this object, at first. */
static GateOutcome outcome_of_way(const HttpAnswer *answer)
{
        if (answer->fault == HTTP_INSECURE)
                return GATE_INSECURE;
        if (answer->fault == HTTP_INTERNAL)
                return GATE_OURS;
        if (answer->fault == HTTP_TOO_LARGE)
                return GATE_ANSWERED; /* it is well, but for what it has there */
        return answer->connected ? GATE_FAILED : GATE_UNREACHABLE;
}

GateOutcome outcome_for_gate(const HttpAnswer *answer)
{
        if (answer->fault != HTTP_OK)
                return outcome_of_way(answer);
        if (answer->status >= 500 || answer->status == 408)
                return GATE_FAILED;
        return answer->status == 429   ? GATE_THROTTLED
               : answer->status == 401 ? GATE_GREETED
                                       : GATE_ANSWERED;
}
