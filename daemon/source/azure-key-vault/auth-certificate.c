/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client certificate: an assertion (RFC 7523) signed with a certificate's key, PS256, and named by
 * x5t#S256. The key is not here: it lies in another source of this broker, which is asked to sign. An
 * assertion is good for minutes, is made anew each time, and is sent to the configured authority alone.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/strings.h"
#include "core/digest.h"
#include "pki/signature.h"
#include "source/azure-key-vault/auth.h"
#include "source/azure-key-vault/json.h"

#define LIFE_SEC 600 /* as MSAL has it: also for a clock that is minutes behind */
#define ALG      ALGORITHM_RSA_PSS_SHA256

static char *encode(const void *data, size_t n)
{
        char *text = malloc(base64_room(n));

        if (text)
                base64_encode(data, n, true, text);
        return text;
}

static char *encode_json(json_t *object)
{
        CLEANUP(freep) char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

        json_decref(object);
        return text ? encode(text, strlen(text)) : NULL;
}

static char *make_header(const Bytes *leaf)
{
        CLEANUP(bytes_deinit) Bytes hash = { 0 };
        CLEANUP(freep) char *name = NULL;

        if (pki_hash(DIGEST_SHA256, leaf->data, leaf->n, &hash) != 0)
                return NULL;
        name = encode(hash.data, hash.n);
        return name ? encode_json(json_pack("{s:s, s:s, s:s}", "alg", "PS256", "typ", "JWT",
                                            "x5t#S256", name))
                    : NULL;
}

static char *make_claims(const Settings *settings)
{
        CLEANUP(freep) char *url = auth_entra_url(settings);
        uint64_t now_sec = clock_realtime_sec();
        char id[2 * 16 + 1];
        uint8_t random[16];

        if (!url || getrandom(random, sizeof(random), 0) != sizeof(random))
                return NULL;
        hex_encode_lower(random, sizeof(random), id);
        return encode_json(json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "aud", url, "iss",
                                     settings->client_id, "sub", settings->client_id, "jti", id,
                                     "nbf", (json_int_t)now_sec, "iat", (json_int_t)now_sec, "exp",
                                     (json_int_t)(now_sec + LIFE_SEC)));
}

static int ask(const AuthJob *job, Algorithm algorithm, const Bytes *input, BytesList *ret_chain,
               Bytes *ret_signature)
{
        const DriverHost *host = &job->vault->host;

        return host->ask(host->userdata, job->vault->settings.certificate, algorithm, input,
                         job->deadline_usec, ret_chain, ret_signature, job->failure);
}

static int sign(const AuthJob *job, const char *text, const Bytes *leaf, char **ret_signature)
{
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(bytes_deinit) Bytes hash = { 0 }, signature = { 0 };
        int r;

        r = pki_hash(DIGEST_SHA256, text, strlen(text), &hash);
        if (r == 0)
                r = ask(job, ALG, &hash, &chain, &signature);
        if (r == CB_SOURCE_DENIED) {
                Failure why = *job->failure;

                return fail(job->failure, r,
                            "certificate '%s', by which this source proves itself, gave no "
                            "signature (%s): %s",
                            job->vault->settings.certificate, algorithm_name(ALG), why.text);
        }
        if (r == 0 && (chain.n == 0 || !bytes_equal(&chain.items[0], leaf)))
                r = fail(job->failure, CB_SOURCE_UNAVAILABLE,
                         "certificate '%s' was rotated meanwhile; it is tried again",
                         job->vault->settings.certificate);
        if (r != 0)
                return r;
        *ret_signature = encode(signature.data, signature.n);
        return *ret_signature ? 0 : -ENOMEM;
}

static int make_assertion(const AuthJob *job, const Bytes *leaf, Secret **ret_assertion)
{
        CLEANUP(freep) char *header = make_header(leaf), *claims = NULL, *text = NULL;
        CLEANUP(freep) char *signature = NULL;
        CLEANUP(secret_freep) Secret *assertion = NULL;
        size_t n;
        int r;

        claims = make_claims(&job->vault->settings);
        if (!header || !claims || asprintf(&text, "%s.%s", header, claims) < 0)
                return -ENOMEM;
        r = sign(job, text, leaf, &signature);
        if (r != 0)
                return r;
        n = strlen(text) + 1 + strlen(signature);
        r = secret_new(n, &assertion);
        if (r < 0)
                return r;
        memcpy(secret_data(assertion), text, strlen(text));
        secret_data(assertion)[strlen(text)] = '.';
        memcpy(secret_data(assertion) + strlen(text) + 1, signature, strlen(signature));
        secret_set_length(assertion, n);
        *ret_assertion = TAKE(assertion);
        return 0;
}

int auth_client_certificate(const AuthJob *job)
{
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(bytes_deinit) Bytes none = { 0 };
        CLEANUP(secret_freep) Secret *assertion = NULL;
        int r;

        r = ask(job, ALGORITHM_NONE, NULL, &chain, &none);
        if (r == 0 && chain.n == 0)
                r = fail(job->failure, CB_SOURCE_DENIED,
                         "certificate '%s', by which this source proves itself, has no leaf yet",
                         job->vault->settings.certificate);
        if (r == 0)
                r = make_assertion(job, &chain.items[0], &assertion);
        return r == 0 ? auth_entra_assertion(job, assertion) : r;
}
