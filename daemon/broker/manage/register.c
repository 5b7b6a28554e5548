/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registering a key that is there already. The sources of the URI's scheme that may have it are asked one
 * after the other; exactly one must know the key. Which scheme belongs to which driver is the one fact
 * about drivers that is known here.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"
#include "broker/manage/room.h"
#include "core/identifier.h"

#define URI_MAX 2048

static const struct {
        const char *scheme;
        const char *driver;
} schemes[] = {
        { "pkcs11:", "pkcs11" },
        { "https:", "azure-key-vault" },
};

static const char *driver_of(const char *uri)
{
        for (size_t i = 0; i < ELEMENTSOF(schemes); i++) {
                if (strncasecmp(uri, schemes[i].scheme, strlen(schemes[i].scheme)) == 0)
                        return schemes[i].driver;
        }
        return NULL;
}

static void ask_next(Job *job);

static int choose(Job *job, Failure *failure)
{
        if (job->served_by)
                return 0;

        if (job->missed.status != 0 || job->denied.status != 0) {
                *failure = job->missed.status != 0 ? job->missed : job->denied;
                return failure->status;
        }
        return fail(failure, CB_NOT_FOUND,
                    "no source that you may use could serve this URI; check the URI, add a source, or "
                    "have a grant with 'manage' name it in 'source'");
}

static void conclude(Job *job)
{
        PublishRequest request = { .id = job->id,
                                   .caller = job->caller,
                                   .source = job->served_by,
                                   .registered_uri = job->uri,
                                   .registers = true };
        Failure failure = { 0 };

        /* In a token, what lies beside such a key is the other id's. */
        if (job->found.key_uri && !place_is_named(job->found.key_uri) &&
            holding_is_made_by_another(job->manage, job->id, job->found.key_uri))
                request.registered_uri = "";
        if (choose(job, &failure) != 0 ||
            manage_may_manage(job->manage, job->caller, OBJECT_SOURCE, job->served_by,
                              &failure) != 0)
                job_finish(job, &failure);
        else
                publish_reply(job->manage, &request, &job->found, job_on_done, job);
}

/* The failure of a source that is away says more than that of one that has no such key. */
static void note_miss(Job *job, const Failure *failure)
{
        if (job->missed.status == 0 || job->missed.status == CB_NOT_FOUND)
                job->missed = *failure;
}

static void on_answer(void *userdata, WireReply *reply)
{
        Job *job = userdata;
        const char *name = job->candidates[job->i_candidate - 1];

        if (reply->failure.status != 0) {
                note_miss(job, &reply->failure);
                ask_next(job);
                return;
        }

        if (job->served_by) {
                job_fail(job, CB_INVALID_ARGUMENT,
                         "sources '%s' and '%s' both serve this URI; name one with the option "
                         "source",
                         job->served_by, name);
                return;
        }

        if (string_set(&job->served_by, name) < 0) {
                job_fail(job, -ENOMEM, "no memory to register certificate '%s'", job->id);
                return;
        }
        job->found = *reply;
        wire_reply_init(reply, reply->id); /* moved */
        ask_next(job);
}

static int ask(Job *job, const char *name, Failure *failure)
{
        WireRequest request;
        Source *source = NULL;
        int r;

        r = manage_may_manage(job->manage, job->caller, OBJECT_SOURCE, name, failure);
        if (r == 0)
                r = manage_find_source(job->manage, name, &source, failure);
        if (r != 0)
                return r;

        wire_request_init(&request, WIRE_LOOKUP);
        request.owner = manage_owner(job->manage, job->caller);
        request.timeout_usec = job->manage->timeout_usec;
        request.name = job->id;
        request.uri = job->uri;
        request.certificates = WIRE_CERTIFICATES_OWNER;
        return source_submit(source, &request, on_answer, job, failure);
}

static void ask_next(Job *job)
{
        while (job->candidates && job->candidates[job->i_candidate]) {
                Failure failure = { 0 };

                if (ask(job, job->candidates[job->i_candidate++], &failure) == 0)
                        return;
                note_miss(job, &failure);
        }
        conclude(job);
}

static void run(void *userdata)
{
        Job *job = userdata;

        if (catalog_find_certificate(job->manage->catalog, job->id))
                job_fail(job, CB_ALREADY_EXISTS,
                         "certificate '%s' exists; choose another id, or delete it first", job->id);
        else
                ask_next(job);
}

/* Of those that he may manage: of the others the answer must not tell what they have. */
static int add_candidates(Job *job, const char *driver, bool everywhere)
{
        Sources *sources = job->manage->sources;

        for (size_t i = 0; i < sources_count(sources); i++) {
                Source *source = sources_at(sources, i);
                Failure failure = { 0 };
                int r;

                if (!string_equal(source_driver(source), driver) ||
                    (!everywhere && place_is_other(source_uri(source), job->uri)))
                        continue;
                r = manage_may_manage(job->manage, job->caller, OBJECT_SOURCE, source_name(source),
                                      &failure);
                if (r == CB_ACCESS_DENIED) /* which he may read: worth a word, if there is no other */
                        job->denied = failure;
                if (r != 0)
                        continue;
                r = strv_append(&job->candidates, source_name(source));
                if (r < 0)
                        return r;
        }
        return 0;
}

/*
 * A place that is no source's: those of the driver are asked
 * nevertheless, for they can tell what is wrong with the URI.
 */
static int find_candidates(Job *job, const char *driver)
{
        int r;

        if (job->source)
                return strv_append(&job->candidates, job->source);

        r = add_candidates(job, driver, false);
        if (r == 0 && !job->candidates && job->denied.status == 0)
                r = add_candidates(job, driver, true);
        return r;
}

static int check_register(Manage *manage, const char *id, const char *uri, const char *source,
                          void *caller, Failure *failure)
{
        Source *found;
        int r;

        if (!identifier_is_valid(id))
                return manage_refuse_name(failure, OBJECT_CERTIFICATE, id);

        if (strlen(uri) > URI_MAX)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the URI for certificate '%s' is longer than %d bytes", id, URI_MAX);

        if (!driver_of(uri))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the URI for certificate '%s' is neither a pkcs11: URI nor the "
                            "identifier of a vault's certificate",
                            id);

        r = source ? manage_may_manage(manage, caller, OBJECT_SOURCE, source, failure) : 0;
        return r == 0 && source ? manage_find_source(manage, source, &found, failure) : r;
}

static int job_from_register(Manage *manage, const char *id, const char *uri, const char *source,
                             Job *job)
{
        int r;

        r = string_set(&job->uri, uri);
        if (r == 0 && source)
                r = string_set(&job->source, source);
        if (r == 0)
                r = find_candidates(job, driver_of(uri));
        return r;
}

void manage_register(Manage *manage, const char *id, const char *uri, const char *source,
                     manage_done done, void *userdata)
{
        CLEANUP(job_freep) Job *job = NULL;
        Failure failure = { 0 };
        int r;

        r = check_register(manage, id, uri, source, userdata, &failure);
        if (r == 0) {
                r = job_new(manage, id, done, userdata, &job);
                if (r == 0)
                        r = job_from_register(manage, id, uri, source, job);
                if (r < 0)
                        fail(&failure, r, "no memory to register certificate '%s'", id);
        }
        if (r == 0)
                job_start(TAKE(job), run);
        else
                done(userdata, &failure);
}
