/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entra ID's token endpoint: client secret, and assertions (a federated token of the platform, or one of
 * our own). Invariant: authority and tenant are the configuration's; secret and assertion are in locked
 * memory, are read anew each time, and go into the body of a POST over https alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/strings.h"
#include "source/azure-key-vault/auth.h"

#define SECRET_MAX 4096
#define WHO        "the authority"

char *auth_entra_url(const Settings *settings)
{
        char *url;

        if (asprintf(&url, "%s/%s/oauth2/v2.0/token", settings->authority.origin,
                     settings->tenant_id) < 0)
                return NULL;
        return url;
}

static void append(Secret *form, const void *data, size_t n)
{
        size_t n_old = secret_length(form);

        memcpy(secret_data(form) + n_old, data, n);
        secret_set_length(form, n_old + n);
}

/* RFC 3986, 2.1: everything but the unreserved. */
static void append_encoded(Secret *form, const uint8_t *data, size_t n)
{
        static const char unreserved[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        static const char hex[] = "0123456789ABCDEF";

        for (size_t i = 0; i < n; i++) {
                char escaped[3] = { '%', hex[data[i] >> 4], hex[data[i] & 15] };

                if (data[i] && strchr(unreserved, data[i]))
                        append(form, data + i, 1);
                else
                        append(form, escaped, 3);
        }
}

static int post(const AuthJob *job, const char *fields, Secret *proof)
{
        const Settings *settings = &job->vault->settings;
        CLEANUP(secret_freep) Secret *form = NULL;
        CLEANUP(freep) char *url = auth_entra_url(settings), *head = NULL;
        size_t n_claims;
        int n, r;

        n = asprintf(&head, "grant_type=client_credentials&client_id=%s&%s", settings->client_id,
                     fields);
        if (n < 0 || !url)
                return -ENOMEM;
        n_claims = job->claims ? strlen(job->claims) : 0;
        r = secret_new((size_t)n + 3 * (secret_length(proof) + strlen(job->resource) + n_claims) + 64,
                       &form);
        if (r < 0)
                return r;
        append(form, head, (size_t)n);
        append_encoded(form, secret_data(proof), secret_length(proof));
        append(form, "&scope=", 7);
        append_encoded(form, (const uint8_t *)job->resource, strlen(job->resource));
        append(form, "%2F.default", 11);
        if (job->claims) {
                append(form, "&claims=", 8);
                append_encoded(form, (const uint8_t *)job->claims, strlen(job->claims));
        }

        return auth_ask(job,
                        &(HttpRequest){
                                .method = "POST",
                                .url = url,
                                .body = secret_data(form),
                                .n_body = secret_length(form),
                                .form = true,
                                .secret_answer = true,
                                .deadline_usec = job->deadline_usec,
                        },
                        WHO);
}

typedef struct ProofKind {
        const char *what;
        TrustedKind kind;
        size_t n_max;
} ProofKind;

static int read_proof(const AuthJob *job, const char *path, const ProofKind *kind,
                      Secret **ret_proof)
{
        CLEANUP(secret_freep) Secret *proof = NULL;
        Failure why = { 0 };
        int r;

        r = secret_read_file(path, kind->kind, kind->n_max, &proof, &why);
        if (r == -ENOMEM)
                return r;
        if (r > 0)
                return fail(job->failure, CB_SOURCE_DENIED, "%s is not used: %s", kind->what,
                            why.text);
        if (r < 0)
                return fail(job->failure, CB_SOURCE_DENIED, "%s %s cannot be read: %s", kind->what,
                            path, strerror(-r));
        secret_chomp(proof);
        if (secret_length(proof) == 0)
                return fail(job->failure, CB_SOURCE_DENIED, "%s %s is empty", kind->what, path);
        *ret_proof = TAKE(proof);
        return 0;
}

int auth_client_secret(const AuthJob *job)
{
        static const ProofKind kind = { "the client secret", TRUSTED_SECRET, SECRET_MAX };
        CLEANUP(secret_freep) Secret *secret = NULL;
        int r;

        r = read_proof(job, job->vault->settings.secret_file, &kind, &secret);
        return r == 0 ? post(job, "client_secret=", secret) : r;
}

int auth_entra_assertion(const AuthJob *job, Secret *assertion)
{
        return post(job,
                    "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A"
                    "client-assertion-type%3Ajwt-bearer&client_assertion=",
                    assertion);
}

/*
 * The platform replaces the file: it is read at each use. It is worth something for an hour, and kubelet lets
 * everyone in the container read it.
 */
int auth_workload_identity(const AuthJob *job)
{
        static const ProofKind kind = { "the federated token", TRUSTED_FILE, ASSERTION_MAX };
        CLEANUP(secret_freep) Secret *token = NULL;
        int r;

        r = read_proof(job, job->vault->settings.token_file, &kind, &token);
        return r == 0 ? auth_entra_assertion(job, token) : r;
}
