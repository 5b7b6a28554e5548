/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generating a key in its source. It makes a pending generation: nothing is published until a certificate is
 * installed for it, and the generation that is current goes on as before.
 */
#include <errno.h>
#include <string.h>

#include "base/strings.h"
#include "broker/manage/room.h"

static void on_generated(void *userdata, WireReply *reply)
{
        Job *job = userdata;
        PublishRequest request = { .id = job->id,
                                   .source = job->source,
                                   .note = intent_note(job->intent),
                                   .caller = job->caller,
                                   .discard = true };

        if (reply->failure.status != 0)
                job_finish(job, &reply->failure);
        else
                publish_reply(job->manage, &request, reply, job_on_done, job);
}

/* A key that waits for its certificate is not thrown away by asking for another one. */
static int check_newest(const Certificate *present, Failure *failure)
{
        const Generation *newest = present ? certificate_newest_key(present) : NULL;

        if (!newest || newest->chain.n > 0)
                return 0;
        return fail(failure, CB_PENDING,
                    "certificate '%s' has a generated key already that waits for its certificate; "
                    "install one first",
                    present->id);
}

static int submit(Job *job, Failure *failure)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        WireRequest request;
        Source *source = NULL;
        int r;

        r = manage_find_source(job->manage, job->source, &source, failure);
        if (r != 0)
                return r;

        wire_request_init(&request, WIRE_GENERATE);
        request.owner = manage_owner(job->manage, job->caller);
        request.timeout_usec = GENERATE_TIMEOUT_USEC;
        request.name = job->id;
        request.generation = present ? certificate_newest(present)->number + 1 : 1;
        request.key_uri = present ? certificate_newest(present)->key_uri : NULL;
        request.input = intent_mark(job->intent);
        request.key_type = job->key_type;
        request.extractable = job->extractable;
        return source_submit(source, &request, on_generated, job, failure);
}

static void run(void *userdata)
{
        Job *job = userdata;
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        Failure failure = { 0 };
        int r;

        r = job_check_place(job, present, &failure);
        if (r == 0)
                r = check_newest(present, &failure);
        if (r == 0)
                r = holding_claim_name(job, present, &failure);
        if (r == 0)
                intent_begin(job, submit);
        else
                job_give_up(job, r, &failure);
}

static int check(Manage *manage, const GenerateRequest *request, Failure *failure)
{
        Source *source = NULL;

        if (!identifier_is_valid(request->id))
                return manage_refuse_name(failure, OBJECT_CERTIFICATE, request->id);
        if (request->key_type == KEY_TYPE_NONE)
                return fail(failure, CB_NOT_SUPPORTED,
                            "this key type is unknown; there are rsa-2048 rsa-3072 rsa-4096 "
                            "ec-p256 ec-p384 ec-p521 ed25519");
        return manage_find_source(manage, request->source, &source, failure);
}

void manage_generate(Manage *manage, const GenerateRequest *request, manage_done done,
                     void *userdata)
{
        CLEANUP(job_freep) Job *job = NULL;
        Failure failure = { 0 };
        int r;

        r = check(manage, request, &failure);
        if (r == 0)
                r = job_new(manage, request->id, done, userdata, &job);
        if (r == 0)
                r = string_set(&job->source, request->source);
        if (r != 0) {
                if (failure.status == 0)
                        fail(&failure, r, "no memory to generate a key for '%s'", request->id);
                done(userdata, &failure);
                return;
        }

        job->key_type = request->key_type;
        job->extractable = request->extractable;
        job->replace = request->replace;
        job_start(TAKE(job), run);
}
