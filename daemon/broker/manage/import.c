/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import: the bundle's and the passphrase's descriptors go to the source's process unread; what comes back is
 * the public half. Nothing secret passes through here.
 */
#include <errno.h>

#include "base/stranger.h"
#include "base/strings.h"
#include "broker/manage/room.h"
#include "core/identifier.h"

int manage_find_source(Manage *manage, const char *name, Source **ret_source, Failure *failure)
{
        Source *source = sources_find(manage->sources, name);

        if (!source)
                return object_not_found(failure, OBJECT_SOURCE, name);

        *ret_source = source;
        return 0;
}

/* Its leaf is one of those that the source was told, and no key was made for it. */
static void take_known(Job *job, const WireReply *reply)
{
        Failure failure = { 0 };
        int r = manage_may_go_on(job->manage, job->caller, &failure);

        if (r == 0)
                r = known_take(job, reply);
        if (r == 0)
                return;
        if (r == CB_NOT_FOUND)
                fail(&failure, CB_FAILED,
                     "certificate '%s' was changed while its bundle was read; import it again",
                     job->id);
        job_give_up(job, r, &failure);
}

static void on_imported(void *userdata, WireReply *reply)
{
        Job *job = userdata;
        PublishRequest request = { .id = job->id,
                                   .source = job->source,
                                   .note = intent_note(job->intent),
                                   .caller = job->caller,
                                   .force = job->force,
                                   .discard = true };

        if (reply->failure.status != 0)
                job_finish(job, &reply->failure);
        else if (!reply->key_uri)
                take_known(job, reply);
        else
                publish_reply(job->manage, &request, reply, job_on_done, job);
}

static int submit_import(Job *job, Failure *failure)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        CLEANUP(strv_freep) char **leaves = NULL;
        WireRequest request;
        Source *source = NULL;
        int r;

        r = manage_find_source(job->manage, job->source, &source, failure);
        if (r == 0 && present)
                r = known_leaves(present, job->extractable, &leaves);
        if (r != 0)
                return r;

        wire_request_init(&request, WIRE_IMPORT);
        request.settings = leaves;
        request.owner = manage_owner(job->manage, job->caller);
        request.timeout_usec = job->manage->timeout_usec + IMPORT_EXTRA_USEC;
        request.name = job->id;
        request.generation = present ? certificate_newest(present)->number + 1 : 1;
        request.key_uri = present ? certificate_newest(present)->key_uri : NULL;
        request.extractable = job->extractable;
        request.input = intent_mark(job->intent);
        request.fds[0] = job->fds[0];
        request.fds[1] = job->fds[1];
        r = source_submit(source, &request, on_imported, job, failure);
        job->fds[0] = close_fd(job->fds[0]); /* sent, or not wanted any more */
        job->fds[1] = close_fd(job->fds[1]);
        return r;
}

static void run(void *userdata)
{
        Job *job = userdata;
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        Failure failure = { 0 };
        int r = job_check_place(job, present, &failure);

        if (r == 0)
                r = holding_claim_name(job, present, &failure);
        if (r == 0)
                intent_begin(job, submit_import);
        else
                job_give_up(job, r, &failure);
}

static int job_from_import(Manage *manage, const ImportRequest *request, manage_done done,
                           void *userdata, Job **ret_job)
{
        CLEANUP(job_freep) Job *job = NULL;
        int r;

        r = job_new(manage, request->id, done, userdata, &job);
        if (r < 0)
                return r;

        job->extractable = request->extractable;
        job->replace = request->replace;
        job->force = request->force;
        r = string_set(&job->source, request->source);
        if (r < 0)
                return r;

        job->fds[0] = stranger_duplicate(request->bundle_fd);
        job->fds[1] = stranger_duplicate(request->passphrase_fd);
        if (job->fds[0] < 0 || job->fds[1] < 0)
                return MIN(job->fds[0], job->fds[1]);

        *ret_job = TAKE(job);
        return 0;
}

static int check_import(Manage *manage, const ImportRequest *request, Failure *failure)
{
        Source *source = NULL;

        if (!identifier_is_valid(request->id))
                return manage_refuse_name(failure, OBJECT_CERTIFICATE, request->id);

        return manage_find_source(manage, request->source, &source, failure);
}

void manage_import(Manage *manage, const ImportRequest *request, manage_done done, void *userdata)
{
        Failure failure = { 0 };
        Job *job = NULL;
        int r;

        r = check_import(manage, request, &failure);
        if (r == 0) {
                r = job_from_import(manage, request, done, userdata, &job);
                if (r < 0)
                        fail(&failure, r, "certificate '%s' could not be imported", request->id);
        }
        if (r == 0)
                job_start(job, run);
        else
                done(userdata, &failure);
}
