/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enabling, disabling and deleting a certificate. One that a backend uses is never deleted; a key is destroyed
 * before its certificate is forgotten, so that a failure leaves a certificate that says where its key is, and one that
 * came too late to leave it whole is made good for (ending.c).
 */
#include <errno.h>
#include <string.h>

#include "base/strings.h"
#include "broker/manage/room.h"

static void start_job(Manage *manage, const char *id, Job **ret_job, manage_done done,
                      void *userdata)
{
        Failure failure = { 0 };
        int r = job_new(manage, id, done, userdata, ret_job);

        if (r == 0)
                return;

        *ret_job = NULL;
        fail(&failure, r, "no memory to change certificate '%s'", id);
        done(userdata, &failure);
}

static Certificate *find_or_fail(Job *job)
{
        Certificate *certificate = catalog_find_certificate(job->manage->catalog, job->id);
        Failure failure = { 0 };

        if (certificate)
                return certificate;

        object_not_found(&failure, OBJECT_CERTIFICATE, job->id);
        job_finish(job, &failure);
        return NULL;
}

static void run_set_enabled(void *userdata)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Job *job = userdata;
        const Certificate *present = find_or_fail(job);
        Failure done = { 0 };

        if (!present)
                return;

        if (present->enabled == job->enabled) {
                job_finish(job, &done);
                return;
        }

        if (certificate_copy(present, &next) < 0) {
                job_fail(job, -ENOMEM, "no memory to change certificate '%s'", job->id);
                return;
        }
        next->enabled = job->enabled;
        (void)string_set(&next->withheld, NULL); /* somebody has decided */
        change_certificate(job->manage, TAKE(next), job_on_done, job);
}

void manage_set_enabled(Manage *manage, const char *id, bool enabled, manage_done done,
                        void *userdata)
{
        Job *job = NULL;

        start_job(manage, id, &job, done, userdata);
        if (!job)
                return;

        job->enabled = enabled;
        job_start(job, run_set_enabled);
}

/* Answers InUse, naming the backends. */
static bool is_free(Job *job)
{
        CLEANUP(strv_freep) char **users = NULL;
        CLEANUP(freep) char *names = NULL;
        const char *user = "";

        while ((user = catalog_next_user(job->manage->catalog, job->id, user))) {
                if (strv_append(&users, user) == 0)
                        continue;
                job_fail(job, -ENOMEM, "no memory to delete certificate '%s'", job->id);
                return false;
        }
        if (!users)
                return true;

        names = strv_join(users, ", ");
        job_fail(job, CB_IN_USE,
                 "certificate '%s' is used by: %.300s; bind these backends to another one, or "
                 "delete them first",
                 job->id, string_or_empty(names));
        return false;
}

static void forget(Job *job)
{
        char note[ENDING_NOTE];

        if (is_free(job)) /* a source may have taken its time */
                change_remove_certificate(job->manage, job->id, ending_note(job, note), job_on_done,
                                          job);
}

/* Of its keys some may be gone: then it will be. */
static void give_up(Job *job, const Failure *failure)
{
        if (ending_goes_on(job, failure->status))
                job_fail(job, failure->status, "%.400s; certificate '%s' is deleted when it can be",
                         failure->text, job->id);
        else
                job_finish(job, failure);
}

static void destroy_next(Job *job);

static void on_destroyed(void *userdata, WireReply *reply)
{
        Job *job = userdata;

        if (reply->failure.status != 0 && reply->failure.status != CB_NOT_FOUND)
                give_up(job, &reply->failure);
        else
                destroy_next(job);
}

/* Generations that were renewed with the same key share it. */
static bool is_destroyed_before(const Certificate *certificate, size_t index)
{
        for (size_t i = 0; i < index; i++) {
                if (string_equal(certificate->generations[i]->key_uri,
                                 certificate->generations[index]->key_uri))
                        return true;
        }
        return false;
}

/*
 * Of a key that was not made under this id, the source's own may think that it is theirs. Whoever comes to one of them after
 * the first was destroyed is refused by our claim, or brings objects of his own: he is no reason to leave the others.
 */
static int may_destroy(Job *job, const Certificate *certificate, Failure *failure)
{
        if (!job->asked && holding_is_shared(job->manage, certificate))
                return fail(failure, CB_IN_USE,
                            "the key of certificate '%s' is registered under other ids, too; "
                            "delete it without destroy-key, or delete these first",
                            job->id);
        if (certificate_origin(certificate) == KEY_MADE)
                return 0;
        return manage_may_manage(job->manage, job->caller, OBJECT_SOURCE, certificate->source,
                                 failure);
}

static int submit_destroy(Job *job, const Certificate *certificate,
                          const Generation *generation, Failure *failure)
{
        WireRequest request;
        Source *source = NULL;
        int r;

        r = manage_may_go_on(job->manage, job->caller, failure);
        if (r == 0)
                r = may_destroy(job, certificate, failure);
        if (r == 0)
                r = manage_find_source(job->manage, certificate->source, &source, failure);
        if (r != 0)
                return r;

        wire_request_init(&request, WIRE_DESTROY);
        request.owner = manage_owner(job->manage, job->caller);
        request.timeout_usec = job->manage->timeout_usec;
        request.name = job->id;
        request.key_uri = generation->key_uri;
        request.certificates = holding_certificates(job->manage, certificate, generation);
        r = source_submit(source, &request, on_destroyed, job, failure);
        job->asked = job->asked || r == 0;
        return r;
}

static void destroy_next(Job *job)
{
        const Certificate *certificate = find_or_fail(job);
        Failure failure = { 0 };
        size_t i;

        if (!certificate)
                return;

        while (job->i_generation < certificate->n_generations &&
               is_destroyed_before(certificate, job->i_generation))
                job->i_generation++;

        i = job->i_generation++;
        if (i >= certificate->n_generations)
                forget(job);
        else if (submit_destroy(job, certificate, certificate->generations[i], &failure) != 0)
                give_up(job, &failure);
}

/* Nobody else comes to any of its keys from here on. */
static bool claim_keys(Job *job)
{
        if (claim_set(&job->claim, job->manage, job->id, NULL, NULL) < 0) {
                job_fail(job, -ENOMEM, "no memory to delete certificate '%s'", job->id);
                return false;
        }
        job->claim.destroys = true;
        return true;
}

void delete_keys(void *userdata)
{
        Job *job = userdata;

        if (is_free(job) && claim_keys(job))
                destroy_next(job);
}

/* Whether he may is judged before anything is noted: what is noted goes on after a crash, by nobody's right. */
static void begin_to_destroy(Job *job, const Certificate *certificate)
{
        Failure failure = { 0 };

        if (!claim_keys(job))
                return;
        if (may_destroy(job, certificate, &failure) == 0)
                ending_begin(job, certificate, delete_keys);
        else
                job_finish(job, &failure);
}

static void run_delete(void *userdata)
{
        Job *job = userdata;
        const Certificate *certificate = find_or_fail(job);

        if (!certificate || !is_free(job))
                return;

        if (job->destroy_key) {
                begin_to_destroy(job, certificate);
        } else {
                ending_take(job);
                forget(job);
        }
}

void manage_delete_certificate(Manage *manage, const char *id, bool destroy_key, manage_done done,
                               void *userdata)
{
        Job *job = NULL;

        start_job(manage, id, &job, done, userdata);
        if (!job)
                return;

        job->destroy_key = destroy_key;
        job_start(job, run_delete);
}
