/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all ways to a token have in common. Invariant: what is sent goes to the endpoint of the
 * configuration (or of the host's environment, for a managed identity), never to one that an answer
 * names; what an authority says of a failure is told by its codes alone, since its text may repeat what
 * it was sent.
 */
#include "source/azure-key-vault/auth.h"

#include <jansson.h>
#include <string.h>

#include "base/log.h"
#include "base/strings.h"
#include "source/azure-key-vault/json.h"

#define TRIES      3
#define AGAIN_USEC (200 * USEC_PER_MSEC)

static int (*const ways[_AUTH_KIND_N])(const AuthJob *job) = {
        [AUTH_MANAGED_IDENTITY] = auth_managed_identity,
        [AUTH_WORKLOAD_IDENTITY] = auth_workload_identity,
        [AUTH_CLIENT_SECRET] = auth_client_secret,
        [AUTH_CLIENT_CERTIFICATE] = auth_client_certificate,
};

int auth_fetch(const AuthJob *job)
{
        return ways[job->vault->settings.auth](job);
}

static const char *fault_text(HttpFault fault)
{
        return fault == HTTP_INSECURE   ? "cannot be trusted"
               : fault == HTTP_INTERNAL ? "gave an answer that this process could not take"
                                        : "cannot be reached";
}

/* What an identity endpoint says in its texts alone. They are looked at, and not repeated. */
static const char *hint_of(const AuthJob *job, const json_t *root)
{
        static const struct {
                const char *words, *hint;
        } rows[] = {
                { "Multiple user assigned identities",
                  "several identities are assigned to this host; 'client-id' says which one it is" },
                { "Identity not found",
                  "no such identity is assigned to this host; assign one, and check client-id" },
        };
        const char *text = json_string_value(json_object_get(root, "error_description"));

        for (size_t i = 0; text && i < ELEMENTSOF(rows); i++)
                if (job->vault->settings.auth == AUTH_MANAGED_IDENTITY &&
                    strcasestr(text, rows[i].words))
                        return rows[i].hint;
        return "check the identity that this source is configured with";
}

static int code_number(const json_t *root)
{
        const json_t *codes = json_object_get(root, "error_codes");

        return (int)json_integer_value(json_array_get(codes, 0));
}

int auth_refusal(const AuthJob *job, const HttpAnswer *answer, const char *who)
{
        CLEANUP(json_freep) json_t *root = NULL;
        CLEANUP(freep) char *shown = NULL;
        Failure ignored = { 0 };
        const char *code = NULL;
        const void *body;
        size_t n;

        if (answer->fault != HTTP_OK)
                return fail(job->failure, CB_SOURCE_UNAVAILABLE, "%s %s: %s", who,
                            fault_text(answer->fault), answer->fault_text);
        if (answer->retry_after_usec != HTTP_NO_RETRY_AFTER)
                job->answer->retry_after_usec = answer->retry_after_usec;
        body = http_answer_body(answer, &n);
        if (json_read_object(body, n, who, &root, &ignored) == 0)
                code = json_string_value(json_object_get(root, "error"));
        shown = text_escape(string_or_empty(code), strlen(string_or_empty(code)), 64);
        if (answer->status == 404 || answer->status == 408 || answer->status == 410 ||
            answer->status == 429 || answer->status >= 500)
                return fail(job->failure, CB_SOURCE_UNAVAILABLE,
                            "%s answered %ld %s; it is asked again", who, answer->status,
                            string_or_empty(shown));
        if (code && code_number(root) != 0)
                return fail(job->failure, CB_SOURCE_DENIED,
                            "%s refused us a token: %s (AADSTS%d); check client-id, tenant-id and "
                            "what proves them",
                            who, string_or_empty(shown), code_number(root));
        return fail(job->failure, CB_SOURCE_DENIED,
                    "%s refused us a token: HTTP %ld %s; %s", who, answer->status,
                    string_or_empty(shown), hint_of(job, root));
}

static int read_token(const AuthJob *job, const HttpAnswer *answer, const char *who)
{
        const void *body;
        size_t n;
        int r;

        body = http_answer_body(answer, &n);
        r = token_answer_parse(body, n, job->resource, job->vault->settings.tenant_id, job->answer,
                               job->failure);
        if (r != 0)
                log_warning("%s gave no token that can be used: %s", who, job->failure->text);
        return r;
}

static bool is_passing(const HttpAnswer *answer)
{
        if (answer->fault != HTTP_OK)
                return answer->fault == HTTP_BROKEN || answer->fault == HTTP_UNREACHABLE;
        if (answer->retry_after_usec != HTTP_NO_RETRY_AFTER && answer->retry_after_usec > 0)
                return false;
        return answer->status == 408 || answer->status >= 500;
}

int auth_ask(const AuthJob *job, const HttpRequest *request, const char *who)
{
        int r;

        for (unsigned i = 0;; i++) {
                HttpAnswer answer;

                r = http_perform(job->vault->http, request, &answer);
                if (r == 0 && i + 1 < TRIES && is_passing(&answer) &&
                    vault_sleep((AGAIN_USEC << i) + vault_random() % AGAIN_USEC,
                                job->deadline_usec)) {
                        http_answer_deinit(&answer);
                        continue;
                }
                if (r == 0)
                        r = answer.fault == HTTP_OK && answer.status == 200
                                    ? read_token(job, &answer, who)
                                    : auth_refusal(job, &answer, who);
                http_answer_deinit(&answer);
                return r;
        }
}
