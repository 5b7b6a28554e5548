/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One look-up: what does the source say now? A leaf that we do not have yet is the next generation; a key that is
 * gone makes the certificate unavailable. Nothing that a source fails to say removes a certificate, a chain or a
 * generation: a token whose objects have all vanished is a token with a fault. Whatever it comes to is said in
 * LastError, and the next one has its time.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"

/* After a failure: neither never again, nor at once. */
#define RETRY_SEC 60
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
        if (next->next_refresh_sec != 0 || next->verdict > KEY_GONE || next->unpublished_sec != 0)
                next->next_refresh_sec = clock_realtime_sec() + RETRY_SEC;
}

bool look_up_has_no_room(int status)
{
        return status == CB_THROTTLED || status == CB_LIMIT_EXCEEDED;
}

/*
 * The source did not answer: what it said last stands, and it is asked again later. That there was no room for what
 * nobody has asked for is no error of the certificate; where it is due, it stays so, and keeps its turn.
 */
static void note_failure(Job *job, const Failure *failure)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        bool no_room = job->quiet && look_up_has_no_room(failure->status);

        if (copy_present(job, &next) == 0 &&
            (no_room || string_set(&next->last_error, failure->text) == 0)) {
                if (!no_room || next->next_refresh_sec > clock_realtime_sec())
                        put_off(next);
                (void)change_apply_certificate(job->manage, TAKE(next));
        }
        job_finish(job, failure);
}

/* What a look-up has found could not be stored: it is looked up again, as where it found nothing. */
static void on_concluded(void *userdata, const Failure *failure)
{
        if (failure->status != 0)
                note_failure(userdata, failure);
        else
                job_finish(userdata, failure);
}

static void on_marked(void *userdata, const Failure *failure)
{
        Job *job = userdata;

        if (failure->status != 0)
                note_failure(job, failure);
        else
                job_finish(job, &job->missed);
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
 * What is said of another version than the current one's, a newer one that is to be switched on later, or
 * whose key is not everywhere yet, says nothing of it. Of no version: of all that the source has.
 */
static bool concerns_current(const Job *job, const WireReply *reply)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        const Generation *current = present ? certificate_find_generation(present, 0) : NULL;

        if (!reply->key_uri)
                return reply->failure.status == CB_NOT_FOUND;
        return current && string_equal(reply->key_uri, current->key_uri);
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

void look_up_put_off(Manage *manage, const char *id)
{
        const Certificate *present = catalog_find_certificate(manage->catalog, id);
        CLEANUP(certificate_freep) Certificate *next = NULL;

        if (!present || present->next_refresh_sec > clock_realtime_sec() ||
            certificate_copy(present, &next) != 0)
                return;
        put_off(next);
        (void)change_apply_certificate(manage, TAKE(next));
}

static void give_up(Job *job, int r, Failure *failure)
{
        look_up_put_off(job->manage, job->id);
        job_give_up(job, r, failure);
}

/* by_key: that very key, and not what its source has by now under the name that was registered. */
static int submit_for(Job *job, const Certificate *present, const Generation *generation,
                      bool by_key, source_done done, Failure *failure)
{
        WireRequest request;
        Source *source = NULL;
        int r = manage_find_source(job->manage, present->source, &source, failure);

        if (r != 0)
                return r;

        wire_request_init(&request, WIRE_LOOKUP);
        request.owner = job->owner;
        request.timeout_usec = job->manage->timeout_usec;
        request.name = job->id;
        request.key_uri = generation ? generation->key_uri : NULL;
        request.uri = by_key ? request.key_uri : present->registered_uri;
        request.certificates = holding_certificates(job->manage, present, generation);
        if (!request.uri)
                return fail(failure, CB_FAILED, "certificate '%s' has no key to look up; delete it",
                            job->id);
        return source_submit(source, &request, done, job, failure);
}

/* `reply` is of the current key, or says at least nothing of it; when to look again, `schedule` says. */
static void renew(Job *job, Generation *known, Certificate *next, const WireReply *reply,
                  const WireReply *schedule)
{
        CLEANUP(certificate_freep) Certificate *taken = next;
        int r;

        /* What max-stale is counted from has to survive a restart. */
        job->quiet = job->quiet && next->verdict == KEY_USABLE && !next->used_while_gone &&
                     (schedule->refresh_after_usec == 0 ||
                      clock_realtime_sec() < next->last_refresh_sec + KEPT_SEC);
        refresh_schedule(next, schedule);
        next->unpublished_sec = 0;
        next->used_while_gone = false;
        r = renew_known(next, known, reply);
        if (r < 0)
                answer_copy_failure(job, r);
        else
                conclude(job, TAKE(taken), on_concluded);
}

/* --- the source answers with a generation that is not the current one --- */

static bool is_of_another_key(const Certificate *certificate, const Generation *known)
{
        const Generation *current = certificate_find_generation(certificate, 0);

        return current && known->number != current->number &&
               !string_equal(known->key_uri, current->key_uri);
}

/* It says what is wrong with the current one, and which it has instead. */
static int explain_instead(const Job *job, const Certificate *certificate, Failure *why)
{
        const Failure of_current = *why;
        const Generation *instead =
                certificate_find_leaf(certificate, &job->found.chain.items[0]); /* as it is now */
        uint64_t number = instead ? instead->number : 0;
        int r = instead ? certificate_may_sign(certificate, instead, clock_realtime_sec())
                        : CB_NOT_FOUND;

        if (r == 0)
                return fail(why, of_current.status,
                            "%.300s; it has generation %" PRIu64
                            " instead: `certbroker certificate rollback %s %" PRIu64
                            "` goes back to that",
                            of_current.text, number, job->id, number);
        if (r == CB_PENDING && certificate_generation_waits(certificate, instead))
                return fail(why, of_current.status,
                            "%.300s; it has generation %" PRIu64
                            " instead, which becomes current by itself at its NotBefore",
                            of_current.text, number);
        return fail(why, of_current.status,
                    "%.300s; it has generation %" PRIu64 " instead, which may not sign any more: "
                    "register that under another id, or give the source a new version",
                    of_current.text, number);
}

static void on_current(void *userdata, WireReply *reply)
{
        Job *job = userdata;
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Failure why = reply->failure;
        KeyVerdict verdict = KEY_USABLE;
        int r;

        if (why.status != 0 && !key_verdict_of(why.status, &verdict)) {
                note_failure(job, &why);
                return;
        }
        r = copy_present(job, &next);
        if (r != 0) {
                answer_copy_failure(job, r);
                return;
        }
        if (verdict == KEY_USABLE) {
                Generation *current = certificate_find_generation(next, 0);

                renew(job, current, TAKE(next), reply, &job->found);
                return;
        }
        if (verdict == KEY_GONE)
                explain_instead(job, next, &why);
        mark(job, verdict, &why);
}

/* Takes the reply. What it says is of another key, so the source is asked for the current one's by itself. */
static void look_up_current(Job *job, WireReply *reply)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        Failure failure = { 0 };
        int r;

        wire_reply_deinit(&job->found);
        job->found = *reply;
        wire_reply_init(reply, reply->id); /* moved */
        r = submit_for(job, present, certificate_find_generation(present, 0), true, on_current,
                       &failure);
        if (r != 0)
                give_up(job, r, &failure);
}

/* --- or with a new one --- */

/* The source has something newer, which could not be taken: said as any failure, and counted. */
static void note_unpublished(Job *job, const Failure *failure)
{
        Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);

        if (present) {
                present->n_unpublished++;
                if (present->unpublished_sec == 0) { /* in the journal once, and not each minute */
                        present->unpublished_sec = clock_realtime_sec();
                        log_warning("certificate '%s' is not rotated, though its source has "
                                    "something newer: %s",
                                    job->id, failure->text);
                }
        }
        note_failure(job, failure);
}

static void on_published(void *userdata, const Failure *failure)
{
        Job *job = userdata;
        Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);

        if (failure->status != 0 && !look_up_has_no_room(failure->status)) {
                note_unpublished(job, failure);
                return;
        }
        if (failure->status != 0)
                look_up_put_off(job->manage, job->id); /* there was no room to try it */
        else if (present)
                present->unpublished_sec = 0;
        job_finish(job, failure);
}

static void publish(Job *job, const char *source, const WireReply *reply)
{
        PublishRequest request = { .id = job->id, .source = source, .by_source = true };

        publish_reply(job->manage, &request, reply, on_published, job);
}

static void on_found(Job *job, WireReply *reply)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Generation *known = NULL;
        int r = copy_present(job, &next);

        if (r != 0) {
                answer_copy_failure(job, r);
                return;
        }
        if (reply->chain.n > 0) {
                known = certificate_find_leaf(next, &reply->chain.items[0]);
                if (!known) {
                        publish(job, next->source, reply);
                        return;
                }
        }
        if (known && is_of_another_key(next, known))
                look_up_current(job, reply);
        else
                renew(job, known, TAKE(next), reply, reply);
}

/* One that is to be valid, or is to be switched on, later, fails at nothing. */
static bool concerns_new(const Job *job, const WireReply *reply)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);

        if (!present || !reply->key_uri || reply->failure.status == CB_PENDING ||
            reply->failure.status == CB_DISABLED || look_up_has_no_room(reply->failure.status))
                return false;
        for (size_t i = 0; i < present->n_generations; i++)
                if (string_equal(present->generations[i]->key_uri, reply->key_uri))
                        return false;
        return true;
}

static void on_reply(void *userdata, WireReply *reply)
{
        Job *job = userdata;
        KeyVerdict verdict;

        if (reply->failure.status == 0)
                on_found(job, reply);
        else if (key_verdict_of(reply->failure.status, &verdict) && concerns_current(job, reply))
                mark(job, verdict, &reply->failure);
        else if (concerns_new(job, reply))
                note_unpublished(job, &reply->failure);
        else
                note_failure(job, &reply->failure);
}

static int submit(Job *job, Failure *failure)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        const Generation *generation;

        if (!present)
                return object_not_found(failure, OBJECT_CERTIFICATE, job->id);
        generation = certificate_find_generation(present, 0);
        if (!generation)
                generation = certificate_newest(present);
        return submit_for(job, present, generation, certificate_origin(present) != KEY_OF_OWNER,
                          on_reply, failure);
}

void look_up(Job *job)
{
        Failure failure = { 0 };
        int r = submit(job, &failure);

        if (r != 0)
                give_up(job, r, &failure);
}
