/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certification requests. A source that makes them itself (a vault's pending operation) is asked first; where it has
 * no such thing, the request is built here and its key signs it. Changes nothing, so it takes no turn; but a source
 * whose requests cannot be made anew for the same key makes another key, which then becomes the pending generation's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "broker/manage/room.h"
#include "broker/resolve/refusal.h"
#include "pki/request.h"
#include "pki/signature.h"

typedef struct RequestJob {
        Manage *manage;
        char *id;
        uint64_t generation; /* whose key is asked */
        char *subject;
        char **alt_names;
        PkiRequest *request;
        Algorithm algorithm;
        Bytes der, spki; /* of a request that came with a new key */
        manage_bytes_done done;
        void *userdata;
} RequestJob;

static RequestJob *request_job_free(RequestJob *job)
{
        if (!job)
                return NULL;

        free(job->id);
        free(job->subject);
        strv_free(job->alt_names);
        pki_request_free(job->request);
        bytes_deinit(&job->der);
        bytes_deinit(&job->spki);
        free(job);
        return NULL;
}
DEFINE_CLEANUP(RequestJob, request_job_free)

static void finish(RequestJob *job, const Failure *failure, const Bytes *der)
{
        job->done(job->userdata, failure, job->generation, der);
        request_job_free(job);
}

static void give_up(RequestJob *job, int r, Failure *failure)
{
        if (failure->status == 0)
                fail(failure, r, "no request for certificate '%s' could be made: %s", job->id,
                     strerror(-r));
        finish(job, failure, NULL);
}

static int find_key(RequestJob *job, const Certificate **ret_certificate,
                    const Generation **ret_generation, Source **ret_source, Failure *failure)
{
        int r;

        *ret_certificate = catalog_find_certificate(job->manage->catalog, job->id);
        if (!*ret_certificate)
                return object_not_found(failure, OBJECT_CERTIFICATE, job->id);

        *ret_generation = certificate_newest_key(*ret_certificate);
        if (!*ret_generation)
                return fail(failure, CB_DISABLED,
                            "every key of certificate '%s' is retired; generate another", job->id);

        r = certificate_may_use_key(*ret_certificate, *ret_generation);
        if (r != 0)
                return certificate_refusal(*ret_certificate, *ret_generation, r, failure);

        job->generation = (*ret_generation)->number;
        return manage_find_source(job->manage, (*ret_certificate)->source, ret_source, failure);
}

static void on_signed(void *userdata, WireReply *reply)
{
        CLEANUP(bytes_deinit) Bytes der = { 0 };
        RequestJob *job = userdata;
        Failure failure = reply->failure;
        int r = failure.status;

        if (r == 0)
                r = pki_request_finish(job->request, job->algorithm, &reply->output, &der);
        if (r != 0)
                give_up(job, r, &failure);
        else
                finish(job, &failure, &der);
}

/* What the source signs: the hash, or for ed25519 the request itself. */
static int make_input(const RequestJob *job, Bytes *ret_input)
{
        CLEANUP(bytes_deinit) Bytes info = { 0 };
        int r = pki_request_info(job->request, &info);

        if (r < 0)
                return r;
        if (job->algorithm != ALGORITHM_ED25519)
                return pki_hash(algorithm_row(job->algorithm)->digest, info.data, info.n,
                                ret_input);
        return bytes_set(ret_input, info.data, info.n);
}

static int build_and_sign(RequestJob *job, Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes input = { 0 };
        const Certificate *certificate;
        const Generation *generation;
        WireRequest request;
        Source *source = NULL;
        int r;

        r = manage_may_go_on(job->manage, job->userdata, failure);
        if (r == 0)
                r = find_key(job, &certificate, &generation, &source, failure);
        if (r != 0)
                return r;

        job->algorithm = pki_request_algorithm(generation->algorithms);
        if (job->algorithm == ALGORITHM_NONE)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the key of certificate '%s' cannot sign a request", job->id);

        r = pki_request_new(job->subject, job->alt_names, &generation->spki, &job->request,
                            failure);
        if (r == 0)
                r = make_input(job, &input);
        if (r != 0)
                return r;

        wire_request_init(&request, WIRE_SIGN);
        request.manages = true; /* no gateway waits for it */
        request.owner = manage_owner(job->manage, job->userdata);
        request.timeout_usec = job->manage->timeout_usec;
        request.key_uri = generation->key_uri;
        request.key_type = generation->key_type;
        request.algorithm = job->algorithm;
        request.input = input;
        return source_submit(source, &request, on_signed, job, failure);
}

/* --- a request that came with a new key --- */

static void on_key_changed(void *userdata, const Failure *failure)
{
        RequestJob *job = userdata;

        finish(job, failure, failure->status == 0 ? &job->der : NULL);
}

static int replace_key(Job *change, Failure *failure)
{
        const Certificate *present = catalog_find_certificate(change->manage->catalog, change->id);
        CLEANUP(certificate_freep) Certificate *next = NULL;
        RequestJob *job = change->userdata;
        Generation *newest;
        int r;

        if (!present)
                return object_not_found(failure, OBJECT_CERTIFICATE, change->id);

        r = certificate_copy(present, &next);
        if (r < 0)
                return r;
        newest = certificate_newest_key(next);
        if (!newest || newest->chain.n > 0)
                return fail(failure, CB_FAILED,
                            "certificate '%s' was changed while its request was made; ask again",
                            change->id);
        r = bytes_set(&newest->spki, job->spki.data, job->spki.n);
        if (r == 0)
                change_certificate(change->manage, TAKE(next), job_on_done, change);
        return r;
}

static void run_replace(void *userdata)
{
        Failure failure = { 0 };
        int r = replace_key(userdata, &failure);

        if (r != 0)
                job_give_up(userdata, r, &failure);
}

static int keep_key(RequestJob *job, WireReply *reply)
{
        Job *change = NULL;
        int r;

        job->der = reply->output;
        job->spki = reply->spki;
        reply->output = reply->spki = (Bytes){ 0 };
        r = job_new(job->manage, job->id, on_key_changed, job, &change);
        if (r < 0)
                return r;
        change->caller = NULL; /* the source has the new key already */
        job_start(change, run_replace);
        return 0;
}

static void on_requested(void *userdata, WireReply *reply)
{
        RequestJob *job = userdata;
        Failure failure = reply->failure;
        int r;

        if (failure.status == 0 && reply->spki.n > 0) {
                r = keep_key(job, reply);
                if (r != 0)
                        give_up(job, r, &failure);
                return;
        }

        if (failure.status != CB_NOT_SUPPORTED) {
                finish(job, &failure, failure.status == 0 ? &reply->output : NULL);
                return;
        }

        failure = (Failure){ 0 };
        r = build_and_sign(job, &failure);
        if (r != 0)
                give_up(job, r, &failure);
}

/* Whatever names are within the limit that is told go over the wire. */
_Static_assert(REQUEST_NAMES_MAX <= WIRE_SETTINGS_MAX &&
                       REQUEST_NAMES_BYTES_MAX + 8 * REQUEST_NAMES_MAX <= WIRE_PACKET_MAX / 2,
               "names fit a packet");

static int ask_source(RequestJob *job, Failure *failure)
{
        const Certificate *certificate;
        const Generation *generation;
        WireRequest request;
        Source *source = NULL;
        int r;

        r = find_key(job, &certificate, &generation, &source, failure);
        if (r != 0)
                return r;

        wire_request_init(&request, WIRE_REQUEST);
        request.owner = manage_owner(job->manage, job->userdata);
        request.timeout_usec = job->manage->timeout_usec + IMPORT_EXTRA_USEC;
        request.key_uri = generation->key_uri;
        request.extractable = generation->extractable;
        request.name = job->subject;
        request.settings = job->alt_names;
        return source_submit(source, &request, on_requested, job, failure);
}

/* What is wrong with the names is said before anybody is asked. */
static int check_names(const RequestJob *job, Failure *failure)
{
        CLEANUP(pki_request_freep) PkiRequest *trial = NULL;
        const Certificate *certificate = catalog_find_certificate(job->manage->catalog, job->id);
        const Generation *newest = certificate ? certificate_newest_key(certificate) : NULL;

        return newest ? pki_request_new(job->subject, job->alt_names, &newest->spki, &trial,
                                        failure)
                      : 0;
}

void manage_request(Manage *manage, const RequestRequest *request, manage_bytes_done done,
                    void *userdata)
{
        RequestJob *job = calloc(1, sizeof(*job));
        Failure failure = { 0 };
        int r;

        if (!job) {
                fail(&failure, -ENOMEM, "no memory for a request");
                done(userdata, &failure, 0, NULL);
                return;
        }

        *job = (RequestJob){ .manage = manage, .done = done, .userdata = userdata };
        r = string_set(&job->id, request->id);
        if (r == 0)
                r = string_set(&job->subject, request->subject);
        if (r == 0)
                r = strv_copy(request->alt_names, &job->alt_names);
        if (r == 0)
                r = check_names(job, &failure);
        if (r == 0)
                r = ask_source(job, &failure);
        if (r != 0)
                give_up(job, r, &failure);
}
