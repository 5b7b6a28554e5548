/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a new generation becomes current: the one rule, whoever brings it. The first is current whatever its dates are.
 * After that, one that has expired is refused and one that is not valid yet waits, until its NotBefore has come; the one
 * before goes on until then. Which of them wait is not stored (core/certificate.c), so it is the same after a restart,
 * and what came due meanwhile becomes current then.
 *
 * Much may have happened to a key that has waited: it has to pass a trial again, and until it does the one before stays
 * current. Where that is of no use any more, one that nothing is known against is better: it becomes current untried,
 * and under suspicion (suspect.c), so that nobody is given it before its trial.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/date.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"
#include "core/alt-names.h"

/* One that is due and could not be stored is tried again after this. */
#define AGAIN_SEC 5

static int check_names(const Certificate *next, Generation *generation,
                       const PublishRequest *request, Failure *failure)
{
        const Generation *before = certificate_one_before(next, generation);
        CLEANUP(freep) char *missing = NULL;
        int r;

        if (!before || request->force)
                return 0;

        r = alt_names_missing(before->facts.subject_alt_names,
                              generation->facts.subject_alt_names, &missing);
        if (r < 0 || !missing)
                return r;

        if (request->by_source)
                return string_format(&generation->lost_names,
                                     "the source rotated it, and the new one lacks names that the "
                                     "one before has: %s",
                                     missing);
        return fail(failure, CB_INVALID_ARGUMENT,
                    "the new generation of certificate '%s' lacks names that the one before has: "
                    "%s; use force if that is meant",
                    next->id, missing);
}

static int check_expiry(const Certificate *next, const Generation *generation, bool by_source,
                        uint64_t now_sec, Failure *failure)
{
        char text[DATE_TEXT_MAX];

        if (generation->facts.not_after_sec >= now_sec)
                return 0;
        date_text(generation->facts.not_after_sec, text);
        return fail(failure, CB_EXPIRED,
                    "the new generation of certificate '%s' was not published: its leaf expired at "
                    "%.10s %.8s UTC; %s",
                    next->id, text, text + strlen("YYYY-MM-DDT"),
                    by_source ? "put a valid one into its source"
                              : "give a valid one, or use force if that is meant");
}

int rotation_begin(const Manage *manage, Certificate *next, Generation *generation,
                   const PublishRequest *request, Failure *failure)
{
        bool is_first = !certificate_find_generation(next, 0) || request->force;
        uint64_t now_sec = clock_realtime_sec();
        int r = 0;

        if (!is_first)
                r = check_expiry(next, generation, request->by_source, now_sec, failure);
        if (r == 0)
                r = check_names(next, generation, request, failure);
        if (r != 0)
                return r;
        if (is_first || generation->facts.not_before_sec <= now_sec)
                certificate_make_current(next, generation, now_sec,
                                         manage->grace_usec / USEC_PER_SEC);
        else if (request->by_source && next->verdict == KEY_USABLE)
                (void)string_set(&next->last_error, NULL); /* its source answers again */
        return 0;
}

/* --- by the clock --- */

static void on_turned(void *userdata, const Failure *failure)
{
        Job *job = userdata;
        Manage *manage = job->manage;

        if (failure->status != 0) {
                manage->due_again_sec = clock_realtime_sec() + AGAIN_SEC;
                log_error("certificate '%s': generation %" PRIu64
                          " is valid now, but did not become current: %s",
                          job->id, job->generation, failure->text);
        } else if (job->generation != 0 && manage->events.came_due) {
                manage->events.came_due(manage->events_userdata, job->id, job->generation);
        }
        job_finish(job, failure);
}

/* It says nothing of the key. */
static bool is_away(int status)
{
        return status < 0 || status == CB_SOURCE_UNAVAILABLE || status == CB_SOURCE_LOCKED ||
               status == CB_SOURCE_DENIED || status == CB_TIMED_OUT;
}

/* The current one serves nobody any more. Of one that is disabled that is meant. */
static bool is_useless(const Certificate *certificate, uint64_t now_sec)
{
        return certificate->enabled && certificate_state(certificate, now_sec) != CERTIFICATE_ACTIVE;
}

/* A source that is busy, or whose clock is a little behind, is no fault, and is asked again soon. */
static bool is_soon(const Generation *due, int status, uint64_t now_sec)
{
        return look_up_has_no_room(status) ||
               (status == CB_PENDING &&
                now_sec < due->facts.not_before_sec + GENERATION_AGAIN_SEC);
}

static int explain(const Generation *due, const Failure *why, char **ret_text)
{
        return string_format(ret_text,
                             "generation %" PRIu64
                             " is valid now, but did not become current: its key did not pass a "
                             "trial: %s",
                             due->number, why->text);
}

/* The one before stays current. In the journal once, and not at all where that has it of the source. */
static void hold_up(Job *job, Certificate *next, Generation *due, const Failure *why)
{
        uint64_t now_sec = clock_realtime_sec();
        bool soon = is_soon(due, why->status, now_sec), told = due->held_up || is_away(why->status);

        due->again_sec = now_sec + (soon ? AGAIN_SEC : GENERATION_AGAIN_SEC);
        if (!soon && explain(due, why, &due->held_up) == 0 && !told)
                log_warning("certificate '%s': %s; it is tried again each minute", next->id,
                            due->held_up);
        (void)change_apply_certificate(job->manage, next);
        job_finish(job, why);
}

static int take_untried(Certificate *next, Generation *due, const Failure *why)
{
        suspect_until_tried(due);
        return string_format(&next->last_error,
                             "generation %" PRIu64
                             " became current untried, as the one before cannot be used any more; "
                             "nobody is given its key until it has passed a trial: %s",
                             due->number, why->text);
}

static void on_trial(void *userdata, const Failure *outcome)
{
        Job *job = userdata;
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Generation *due;
        uint64_t now_sec = clock_realtime_sec();
        bool untried;
        int r = present ? certificate_copy(present, &next) : -ENOENT;

        due = r == 0 ? certificate_find_generation(next, job->generation) : NULL;
        if (!due) {
                on_turned(job, &(Failure){ .status = -ENOMEM, .text = "no memory" });
                return;
        }
        untried = is_away(outcome->status) && is_useless(next, now_sec);
        if (outcome->status != 0 && !untried) {
                hold_up(job, TAKE(next), due, outcome);
                return;
        }
        certificate_make_current(next, due, now_sec, job->manage->grace_usec / USEC_PER_SEC);
        if (next->next_refresh_sec != 0)
                next->next_refresh_sec = now_sec; /* what has become of it while it waited? */
        if (untried)
                (void)take_untried(next, due, outcome);
        change_certificate(job->manage, TAKE(next), on_turned, job);
}

static void run(void *userdata)
{
        Job *job = userdata;
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        const Generation *due = present ? certificate_due(present, clock_realtime_sec()) : NULL;
        Failure failure = { 0 };
        int r;

        if (!due) {
                job_finish(job, &failure); /* somebody was faster, or has deleted it */
                return;
        }
        job->generation = due->number;
        r = trial_submit(job->manage, present, due, job->owner, on_trial, job, &failure);
        if (r != 0)
                on_trial(job, &failure);
}

typedef struct Due {
        Manage *manage;
        char *id;
} Due;

static Due *due_free(Due *due)
{
        if (due)
                free(due->id);
        free(due);
        return NULL;
}
DEFINE_CLEANUP(Due, due_free)

void rotations_deinit(Map *due)
{
        MAP_FOREACH (due, entry)
                due_free(entry->value);
        map_deinit(due);
}

/* Where it failed, that is said, and it is tried again. */
static void on_over(void *userdata, const Failure *failure)
{
        Due *due = userdata;

        (void)failure;
        map_remove(&due->manage->due, due->id);
        due_free(due);
}

/* Its turn may be a while: it is not asked for again meanwhile. */
static void turn(Manage *manage, const char *id)
{
        CLEANUP(due_freep) Due *due = NULL;
        Job *job = NULL;

        if (map_find(&manage->due, id))
                return;
        due = calloc(1, sizeof(*due));
        if (!due || string_set(&due->id, id) < 0 || map_put(&manage->due, id, due) < 0)
                return;
        due->manage = manage;
        if (job_new(manage, id, on_over, due, &job) < 0) {
                map_remove(&manage->due, id);
                return;
        }
        TAKE(due);
        job->caller = NULL;
        job_start(job, run);
}

/* Never for longer than that: the clock may have been set back since. */
static bool is_put_off(const Manage *manage, uint64_t now_sec)
{
        return manage->due_again_sec > now_sec && manage->due_again_sec <= now_sec + AGAIN_SEC;
}

void rotations_due(Manage *manage, uint64_t now_sec)
{
        CLEANUP(strv_freep) char **ids = NULL;

        MAP_FOREACH (catalog_certificates(manage->catalog), entry)
                if (certificate_due(entry->value, now_sec) && strv_append(&ids, entry->key) < 0)
                        break;
        for (char **id = ids; id && *id && !is_put_off(manage, now_sec); id++)
                turn(manage, *id);
}

uint64_t rotation_next(const Manage *manage, const Certificate *certificate, uint64_t now_sec)
{
        if (!certificate_due(certificate, now_sec))
                return 0;
        if (map_find(&manage->due, certificate->id))
                return now_sec + AGAIN_SEC;
        return is_put_off(manage, now_sec) ? manage->due_again_sec : now_sec;
}

/* --- sooner than that --- */

/* Returns whether one has waited for its time, and that has come. */
static bool hasten(const Certificate *certificate)
{
        uint64_t now_sec = clock_realtime_sec();

        for (size_t i = 0; i < certificate->n_generations; i++)
                certificate->generations[i]->again_sec = 0;
        return certificate_due(certificate, now_sec);
}

void rotations_hasten(Manage *manage, const char *source)
{
        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                const Certificate *certificate = entry->value;

                if (string_equal(certificate->source, source))
                        (void)hasten(certificate);
        }
        rotations_due(manage, clock_realtime_sec());
}

typedef struct Asked {
        Manage *manage;
        char *id;
        manage_done done;
        void *userdata;
} Asked;

static Asked *asked_free(Asked *asked)
{
        if (asked)
                free(asked->id);
        free(asked);
        return NULL;
}
DEFINE_CLEANUP(Asked, asked_free)

/* A key that did not pass is in LastError; its source may have something newer, and is asked in either case. */
static void on_asked(void *userdata, const Failure *failure)
{
        Asked *asked = userdata;

        (void)failure;
        refresh_for(asked->manage, asked->id, asked->done, asked->userdata);
        asked_free(asked);
}

bool rotation_try(Manage *manage, const Certificate *certificate, manage_done done, void *userdata)
{
        CLEANUP(asked_freep) Asked *asked = NULL;
        Job *job = NULL;

        if (!hasten(certificate))
                return false;
        asked = calloc(1, sizeof(*asked));
        if (!asked || string_set(&asked->id, certificate->id) < 0)
                return false;
        asked->manage = manage;
        asked->done = done;
        asked->userdata = userdata;
        if (job_new(manage, asked->id, on_asked, asked, &job) < 0)
                return false;
        TAKE(asked);
        job->owner = manage_owner(manage, userdata);
        job->caller = NULL; /* nothing is changed that time does not change */
        job_start(job, run);
        return true;
}
