/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refresh: what does the source say now? A leaf that we do not have yet is the next generation; a key that is
 * gone makes the certificate unavailable. Nothing that a source fails to say removes a certificate, a chain or a
 * generation: a token whose objects have all vanished is a token with a fault.
 */
#include "base/clock.h"
#include "base/strings.h"
#include "broker/manage/room.h"

static void conclude(Job *job, Certificate *next)
{
        Failure failure = { 0 };
        int r;

        next->last_refresh_sec = clock_realtime_sec();
        if (!job->quiet) {
                change_certificate(job->manage, next, job_on_done, job);
                return;
        }

        r = change_apply_certificate(job->manage, next);
        if (r < 0)
                fail(&failure, r, "no memory to refresh certificate '%s'", job->id);
        job_finish(job, &failure);
}

static int copy_present(const Job *job, Certificate **ret_copy)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);

        return present ? certificate_copy(present, ret_copy) : CB_NOT_FOUND;
}

static void answer_copy_failure(Job *job, int r)
{
        Failure failure = { 0 };

        if (r == CB_NOT_FOUND)
                object_not_found(&failure, OBJECT_CERTIFICATE, job->id);
        else
                fail(&failure, r, "no memory to refresh certificate '%s'", job->id);
        job_finish(job, &failure);
}

static void mark_gone(Job *job, const Failure *why)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        int r = copy_present(job, &next);

        if (r == 0)
                r = string_set(&next->last_error, why->text);
        if (r != 0) {
                answer_copy_failure(job, r);
                return;
        }

        job->quiet = job->quiet && next->key_gone; /* the first time it is worth a write */
        next->key_gone = true;
        conclude(job, TAKE(next));
}

static Generation *find_by_leaf(const Certificate *certificate, const Bytes *leaf)
{
        for (size_t i = certificate->n_generations; i-- > 0;) {
                Generation *generation = certificate->generations[i];

                if (generation->chain.n > 0 && bytes_equal(&generation->chain.items[0], leaf))
                        return generation;
        }
        return NULL;
}

/* The same leaf: the key is there, and the source may know more of its chain by now. */
static int renew_known(Certificate *next, Generation *known, const WireReply *reply)
{
        int r = 0;

        next->key_gone = false;
        if (known && reply->chain.n > known->chain.n) {
                BytesList chain = { 0 };

                r = bytes_list_copy(&reply->chain, &chain);
                if (r < 0)
                        return r;
                bytes_list_deinit(&known->chain);
                known->chain = chain;
        }
        if (known)
                known->algorithms = reply->algorithms;
        return string_set(&next->last_error, reply->warning);
}

static void on_found(Job *job, const WireReply *reply)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Generation *known = NULL;
        int r = copy_present(job, &next);

        if (r != 0) {
                answer_copy_failure(job, r);
                return;
        }

        if (reply->chain.n > 0) {
                known = find_by_leaf(next, &reply->chain.items[0]);
                if (!known) {
                        PublishRequest request = { .id = job->id,
                                                   .source = next->source,
                                                   .by_source = true };

                        publish_reply(job->manage, &request, reply, job_on_done, job);
                        return;
                }
        }

        job->quiet = job->quiet && !next->key_gone;
        r = renew_known(next, known, reply);
        if (r < 0)
                answer_copy_failure(job, r);
        else
                conclude(job, TAKE(next));
}

static void on_reply(void *userdata, WireReply *reply)
{
        Job *job = userdata;

        if (reply->failure.status == 0)
                on_found(job, reply);
        else if (reply->failure.status == CB_NOT_FOUND)
                mark_gone(job, &reply->failure);
        else
                job_finish(job, &reply->failure);
}

static int submit(Job *job, Failure *failure)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        const Generation *generation;
        WireRequest request;
        Source *source = NULL;
        int r;

        if (!present)
                return object_not_found(failure, OBJECT_CERTIFICATE, job->id);

        generation = certificate_find_generation(present, 0);
        if (!generation)
                generation = certificate_newest(present);

        r = manage_find_source(job->manage, present->source, &source, failure);
        if (r != 0)
                return r;

        wire_request_init(&request, WIRE_LOOKUP);
        request.timeout_usec = job->manage->timeout_usec;
        request.name = job->id;
        request.uri = present->registered_uri ? present->registered_uri
                                              : (generation ? generation->key_uri : NULL);
        if (!request.uri)
                return fail(failure, CB_FAILED, "certificate '%s' has no key to look up; delete it",
                            job->id);
        return source_submit(source, &request, on_reply, job, failure);
}

static void run(void *userdata)
{
        Job *job = userdata;
        Failure failure = { 0 };
        int r = submit(job, &failure);

        if (r != 0)
                job_give_up(job, r, &failure);
}

void refresh_certificate(Manage *manage, const char *id, bool quiet, manage_done done,
                         void *userdata)
{
        Failure failure = { 0 };
        Job *job = NULL;
        int r = job_new(manage, id, done, userdata, &job);

        if (r < 0) {
                fail(&failure, r, "no memory to refresh certificate '%s'", id);
                done(userdata, &failure);
                return;
        }
        job->quiet = quiet;
        job_start(job, run);
}

void manage_refresh(Manage *manage, const char *id, manage_done done, void *userdata)
{
        refresh_certificate(manage, id, false, done, userdata);
}
