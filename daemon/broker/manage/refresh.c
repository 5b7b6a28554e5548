/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refresh: what does the source say now? A leaf that we do not have yet is the next generation; a key that is
 * gone makes the certificate unavailable. Nothing that a source fails to say removes a certificate, a chain or a
 * generation: a token whose objects have all vanished is a token with a fault.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/manage/room.h"

/* After a failure: neither never again, nor at once. */
#define RETRY_SEC 60
/* A look-up that is due and on its way is looked at again after this. */
#define DUE_AGAIN_SEC 5
/* How far the store may be behind with LastRefresh. */
#define KEPT_SEC 600

void refresh_schedule(Certificate *next, const WireReply *reply)
{
        next->last_refresh_sec = clock_realtime_sec();
        next->next_refresh_sec = 0;
        if (reply->refresh_after_usec != 0)
                next->next_refresh_sec =
                        next->last_refresh_sec + reply->refresh_after_usec / USEC_PER_SEC + 1;
}

static void conclude(Job *job, Certificate *next, manage_done done)
{
        Failure failure = { 0 };
        int r;

        if (!job->quiet) {
                change_certificate(job->manage, next, done, job);
                return;
        }

        r = change_apply_certificate(job->manage, next);
        if (r < 0)
                fail(&failure, r, "no memory to refresh certificate '%s'", job->id);
        done(job, &failure);
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

static void put_off(Certificate *next)
{
        if (next->next_refresh_sec != 0 || next->verdict > KEY_GONE)
                next->next_refresh_sec = clock_realtime_sec() + RETRY_SEC;
}

/* The source did not answer: what it said last stands, and it is asked again later. */
static void note_failure(Job *job, const Failure *failure)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;

        if (copy_present(job, &next) == 0 && string_set(&next->last_error, failure->text) == 0) {
                put_off(next);
                (void)change_apply_certificate(job->manage, TAKE(next));
        }
        job_finish(job, failure);
}

static void on_marked(void *userdata, const Failure *failure)
{
        Job *job = userdata;

        job_finish(job, failure->status != 0 ? failure : &job->missed);
}

/* A key that is gone is news, and no failure; of one that may not be used now the caller gets to know why. */
static void mark(Job *job, KeyVerdict verdict, const Failure *why)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        int r = copy_present(job, &next);

        if (r == 0)
                r = string_set(&next->last_error, why->text);
        if (r != 0) {
                answer_copy_failure(job, r);
                return;
        }

        job->quiet =
                job->quiet && next->verdict == verdict; /* the first time it is worth a write */
        if (verdict != KEY_GONE)
                job->missed = *why;
        next->verdict = verdict;
        next->last_refresh_sec = clock_realtime_sec();
        put_off(next);
        conclude(job, TAKE(next), on_marked);
}

/*
 * What is said of another version than the current one's, a
 * newer one that is to be switched on later, says nothing of it.
 */
static bool concerns_current(const Job *job, const WireReply *reply)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        const Generation *current = present ? certificate_find_generation(present, 0) : NULL;

        return reply->failure.status == CB_NOT_FOUND ||
               (current && string_equal(reply->key_uri, current->key_uri));
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

/*
 * The same leaf: the key is there. Of its chain the source may know more by now, or better; what was given to us and is
 * not in the source stays, and what the source lacks of that is no fault.
 */
static int renew_known(Certificate *next, Generation *known, const WireReply *reply)
{
        int r = 0;

        next->verdict = KEY_USABLE;
        if (known) {
                known->algorithms = reply->algorithms;
                known->extractable = reply->extractable;
                r = known_renew_chain(known, reply);
        }
        if (r < 0)
                return r;
        if (suspect_is_current(next))
                return 0; /* that it is there says nothing of what it signs */
        return string_set(&next->last_error, known ? NULL : reply->warning);
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

        /* What max-stale is counted from has to survive a restart. */
        job->quiet = job->quiet && next->verdict == KEY_USABLE &&
                     (reply->refresh_after_usec == 0 ||
                      clock_realtime_sec() < next->last_refresh_sec + KEPT_SEC);
        refresh_schedule(next, reply);
        r = renew_known(next, known, reply);
        if (r < 0)
                answer_copy_failure(job, r);
        else
                conclude(job, TAKE(next), job_on_done);
}

static void on_reply(void *userdata, WireReply *reply)
{
        Job *job = userdata;
        KeyVerdict verdict;

        if (reply->failure.status == 0)
                on_found(job, reply);
        else if (key_verdict_of(reply->failure.status, &verdict) && concerns_current(job, reply))
                mark(job, verdict, &reply->failure);
        else
                note_failure(job, &reply->failure);
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
        request.owner = job->owner;
        request.timeout_usec = job->manage->timeout_usec;
        request.name = job->id;
        request.key_uri = generation ? generation->key_uri : NULL;
        request.uri = certificate_origin(present) == KEY_OF_OWNER ? present->registered_uri
                                                                  : request.key_uri;
        request.certificates = holding_certificates(job->manage, present, generation);
        if (!request.uri)
                return fail(failure, CB_FAILED, "certificate '%s' has no key to look up; delete it",
                            job->id);
        return source_submit(source, &request, on_reply, job, failure);
}

/*
 * What is due and could not even be asked for waits its turn
 * as after a failure: not every look at the clock asks.
 */
static void put_off_due(Job *job)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        CLEANUP(certificate_freep) Certificate *next = NULL;

        if (!present || present->next_refresh_sec > clock_realtime_sec() ||
            copy_present(job, &next) != 0)
                return;
        put_off(next);
        (void)change_apply_certificate(job->manage, TAKE(next));
}

/*
 * --- the first asks, those who come before it has asked get its answer ---
 *
 * Whoever comes later wants to know what is there now, and the answer on its way may be older: for all
 * of them it is asked once more. What nobody waits for is content with the answer that is on its way.
 */

typedef struct Follower Follower;

struct Follower {
        Follower *next;
        bool quiet;
        manage_done done;
        void *userdata;
};

typedef struct Followers {
        Follower *first, **end;
} Followers;

typedef struct Refreshing {
        Manage *manage;
        char *id;
        Followers followers, late;
        bool asked; /* the source */
        bool again; /* what was asked may be older than what a use of the key has found since */
} Refreshing;

static void followers_deinit(Followers *followers)
{
        while (followers->first) {
                Follower *follower = followers->first;

                followers->first = follower->next;
                free(follower);
        }
}

static void refreshing_free(Refreshing *refreshing)
{
        followers_deinit(&refreshing->followers);
        followers_deinit(&refreshing->late);
        free(refreshing->id);
        free(refreshing);
}

void refreshing_deinit(Map *refreshing)
{
        MAP_FOREACH (refreshing, entry)
                refreshing_free(entry->value);
        map_deinit(refreshing);
}

static void on_refreshed_alone(void *userdata, const Failure *failure)
{
        (void)userdata;
        (void)failure; /* it is in the certificate's LastError, or the source's */
}

/* It is out of the map before anybody is answered: who asks again from there asks anew. */
static void on_refreshed(void *userdata, const Failure *failure)
{
        Refreshing *refreshing = userdata;

        map_remove(&refreshing->manage->refreshing, refreshing->id);
        for (Follower *f = refreshing->followers.first; f; f = f->next)
                f->done(f->userdata, failure);
        /* The first of them waits for this job's turn to end: the others come before it has asked. */
        for (Follower *f = refreshing->late.first; f; f = f->next)
                refresh_certificate(refreshing->manage, refreshing->id, f->quiet, f->done,
                                    f->userdata);
        if (refreshing->again)
                refresh_certificate(refreshing->manage, refreshing->id, true, on_refreshed_alone,
                                    NULL);
        refreshing_free(refreshing);
}

static int follow(Refreshing *refreshing, bool quiet, manage_done done, void *userdata)
{
        bool is_late = refreshing->asked && !quiet;
        Followers *followers = is_late ? &refreshing->late : &refreshing->followers;
        Follower *follower = calloc(1, sizeof(*follower));

        if (!follower)
                return -ENOMEM;

        *follower = (Follower){ .quiet = quiet, .done = done, .userdata = userdata };
        *followers->end = follower;
        followers->end = &follower->next;
        return 0;
}

static void run(void *userdata)
{
        Job *job = userdata;
        Refreshing *refreshing = job->userdata;
        Failure failure = { 0 };
        int r;

        refreshing->asked = true;
        r = submit(job, &failure);
        if (r == 0)
                return;
        if (r == CB_LIMIT_EXCEEDED)
                put_off_due(job);
        job_give_up(job, r, &failure);
}

static int lead(Manage *manage, const char *id, bool quiet, void *caller,
                Refreshing **ret_refreshing, Job **ret_job)
{
        Refreshing *refreshing = calloc(1, sizeof(*refreshing));
        int r;

        if (!refreshing)
                return -ENOMEM;

        refreshing->manage = manage;
        refreshing->followers.end = &refreshing->followers.first;
        refreshing->late.end = &refreshing->late.first;
        r = string_set(&refreshing->id, id);
        if (r == 0)
                r = job_new(manage, id, on_refreshed, refreshing, ret_job);
        if (r == 0) {
                (*ret_job)->quiet = quiet;
                (*ret_job)->caller = NULL; /* nothing is changed that a source does not change */
                (*ret_job)->owner = manage_owner(manage, caller);
                r = map_put(&manage->refreshing, id, refreshing);
                if (r < 0)
                        job_free(*ret_job);
        }
        if (r < 0)
                refreshing_free(refreshing);
        else
                *ret_refreshing = refreshing;
        return r;
}

void refresh_certificate(Manage *manage, const char *id, bool quiet, manage_done done,
                         void *userdata)
{
        Refreshing *refreshing = map_find(&manage->refreshing, id);
        Failure failure = { 0 };
        Job *job = NULL;
        int r = 0;

        if (!refreshing)
                r = lead(manage, id, quiet, quiet ? NULL : userdata, &refreshing, &job);
        if (r == 0)
                r = follow(refreshing, quiet, done, userdata);
        if (job)
                job_start(job, run);
        if (r == 0)
                return;

        fail(&failure, r, "no memory to refresh certificate '%s'", id);
        done(userdata, &failure);
}

void manage_refresh(Manage *manage, const char *id, manage_done done, void *userdata)
{
        const Certificate *certificate = catalog_find_certificate(manage->catalog, id);

        if (certificate && suspect_is_current(certificate))
                suspect_try(manage, id, certificate->current, done, userdata);
        else
                refresh_certificate(manage, id, false, done, userdata);
}

static bool is_served(const Manage *manage, const Certificate *certificate)
{
        Source *source = sources_find(manage->sources, certificate->source);

        return source && source_state_serves(source_state(source));
}

uint64_t refresh_next(const Manage *manage, const Certificate *certificate, uint64_t now_sec)
{
        if (certificate->next_refresh_sec > now_sec)
                return certificate->next_refresh_sec;
        if (certificate->next_refresh_sec == 0 || !is_served(manage, certificate))
                return 0;
        return now_sec + DUE_AGAIN_SEC;
}

void refresh_due(Manage *manage, uint64_t now_sec)
{
        CLEANUP(strv_freep) char **due = NULL;

        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                const Certificate *certificate = entry->value;

                if (certificate->next_refresh_sec != 0 &&
                    certificate->next_refresh_sec <= now_sec && is_served(manage, certificate) &&
                    strv_append(&due, certificate->id) < 0)
                        break;
        }
        for (char **id = due; id && *id; id++)
                refresh_certificate(manage, *id, true, on_refreshed_alone, NULL);
}

/* A look-up has its rules for what is missing: a vault's is asked twice. */
void manage_key_used(Manage *manage, const char *id, uint64_t generation, int status)
{
        const Certificate *certificate = catalog_find_certificate(manage->catalog, id);
        Refreshing *refreshing = map_find(&manage->refreshing, id);
        KeyVerdict verdict;

        if (!certificate || certificate->current != generation ||
            !key_verdict_of(status, &verdict) || verdict == certificate->verdict)
                return;
        if (refreshing)
                refreshing->again = true;
        else
                refresh_certificate(manage, id, true, on_refreshed_alone, NULL);
}
