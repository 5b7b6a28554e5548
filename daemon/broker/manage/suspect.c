/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys under suspicion. The invariant: from a wrong signature on, until its key has passed a trial, nobody is given the
 * key (credential.c), and all that it signs is checked (sign.c). Who has it goes on: what is right leaves. Nothing of
 * it is stored, for a key that is still broken shows that again with its next signature.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define FIRST_TRIAL_SEC 5
#define NEXT_TRIAL_SEC  60

/* Its trials are over where it may not be used any more. */
static bool is_tried(const Certificate *certificate, const Generation *generation)
{
        return generation->trial_sec != 0 && certificate_may_use_key(certificate, generation) == 0;
}

bool suspect_is_current(const Certificate *certificate)
{
        const Generation *current = certificate_find_generation(certificate, 0);

        return current && current->trial_sec != 0;
}

uint64_t suspect_next(const Certificate *certificate, uint64_t now_sec)
{
        uint64_t next_sec = UINT64_MAX;

        for (size_t i = 0; i < certificate->n_generations; i++)
                if (is_tried(certificate, certificate->generations[i]))
                        next_sec = MIN(next_sec,
                                       MAX(certificate->generations[i]->trial_sec, now_sec + 1));
        return next_sec == UINT64_MAX ? 0 : next_sec;
}

/* A copy of the certificate to be changed, and its generation in it; false: it is gone, or there is no memory. */
static bool begin(Manage *manage, const char *id, uint64_t number, Certificate **ret_next,
                  Generation **ret_generation)
{
        const Certificate *present = catalog_find_certificate(manage->catalog, id);

        if (!present || certificate_copy(present, ret_next) < 0)
                return false;
        *ret_generation = certificate_find_generation(*ret_next, number);
        return *ret_generation;
}

/* --- the alarm --- */

static int note(Certificate *next, const Generation *generation, Algorithm algorithm)
{
        CLEANUP(freep) char *text = NULL;

        if (generation->number != next->current)
                return 0;
        if (asprintf(&text,
                     "its key made a wrong signature (%s), which was held back; nobody is given "
                     "the key until it has passed a trial: check the token or vault, then refresh "
                     "the certificate",
                     algorithm_name(algorithm)) < 0) {
                text = NULL;
                return -1;
        }
        return string_set(&next->last_error, text);
}

static void raise_alarm(Manage *manage, const Certificate *present, uint64_t number,
                        Algorithm algorithm)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Generation *generation;

        log_error("certificate '%s': generation %" PRIu64 " made a wrong signature (%s), which was "
                  "held back; check source '%s'",
                  present->id, number, algorithm_name(algorithm), present->source);
        if (!begin(manage, present->id, number, &next, &generation) ||
            note(next, generation, algorithm) < 0)
                return;
        generation->trial_sec = clock_realtime_sec() + FIRST_TRIAL_SEC;
        (void)change_apply_certificate(manage, TAKE(next));
}

void manage_key_suspected(Manage *manage, const char *id, uint64_t number, Algorithm algorithm)
{
        Certificate *present = catalog_find_certificate(manage->catalog, id);
        const Generation *generation =
                present ? certificate_find_generation(present, number) : NULL;

        if (!generation)
                return;
        present->n_held_back++;
        present->held_back_sec = clock_realtime_sec();
        if (generation->trial_sec != 0)
                return;
        raise_alarm(manage, present, number, algorithm);
        if (manage->events.suspected)
                manage->events.suspected(manage->events_userdata, id, number, algorithm);
}

/* --- its trials --- */

/* The key is right: it is handed out again. Else, or where it was wrong again meanwhile, it is tried again later. */
static void conclude(Job *job, bool passed)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Generation *generation;

        if (!begin(job->manage, job->id, job->generation, &next, &generation))
                return;
        passed = passed && next->n_held_back == job->n_held_back;
        generation->trial_sec = passed ? 0 : clock_realtime_sec() + NEXT_TRIAL_SEC;
        if (passed && generation->number == next->current)
                (void)string_set(&next->last_error, NULL);
        if (passed)
                log_info("certificate '%s': generation %" PRIu64 " has passed a trial", job->id,
                         job->generation);
        (void)change_apply_certificate(job->manage, TAKE(next));
}

static void on_trial(void *userdata, const Failure *failure)
{
        Job *job = userdata;

        conclude(job, failure->status == 0);
        job_finish(job, failure);
}

static void run(void *userdata)
{
        Job *job = userdata;
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        const Generation *generation =
                present ? certificate_find_generation(present, job->generation) : NULL;
        Failure failure = { 0 };
        int r = 0;

        if (!generation || !is_tried(present, generation)) {
                job_finish(job, &failure);
                return;
        }
        job->n_held_back = present->n_held_back;
        r = trial_submit(job->manage, present, generation, job->owner, on_trial, job, &failure);
        if (r == 0)
                return;
        conclude(job, false);
        job_give_up(job, r, &failure);
}

typedef struct Try {
        Manage *manage;
        char *id;
        manage_done done;
        void *userdata;
} Try;

static Try *try_free(Try *try)
{
        if (!try)
                return NULL;
        free(try->id);
        free(try);
        return NULL;
}
DEFINE_CLEANUP(Try, try_free)

/* A key that is wrong is no news; all else that may be found is what a look-up finds. */
static void on_tried(void *userdata, const Failure *failure)
{
        Try *try = userdata;

        if (failure->status == CB_KEY_MISMATCH)
                try->done(try->userdata, failure);
        else
                refresh_certificate(try->manage, try->id, false, try->done, try->userdata);
        try_free(try);
}

static int start(Manage *manage, const char *id, uint64_t generation, manage_done done,
                 void *userdata)
{
        CLEANUP(try_freep) Try *try = calloc(1, sizeof(*try));
        Job *job = NULL;
        int r;

        if (!try)
                return -ENOMEM;
        *try = (Try){ .manage = manage, .done = done, .userdata = userdata };
        r = string_set(&try->id, id);
        if (r == 0)
                r = job_new(manage, id, on_tried, try, &job);
        if (r < 0)
                return r;
        TAKE(try);
        job->owner = manage_owner(manage, userdata);
        job->caller = NULL; /* nothing is changed that a source does not change */
        job->generation = generation;
        job_start(job, run);
        return 0;
}

void suspect_try(Manage *manage, const char *id, uint64_t generation, manage_done done,
                 void *userdata)
{
        Failure failure = { 0 };

        if (start(manage, id, generation, done, userdata) == 0)
                return;
        fail(&failure, -ENOMEM, "no memory to try the key of certificate '%s'", id);
        done(userdata, &failure);
}

static void on_nobody(void *userdata, const Failure *failure)
{
        (void)userdata;
        (void)failure; /* it is in the certificate's LastError */
}

/* Its next trial is put off at once: a clock that ticks meanwhile does not ask again. */
static void try_due(Manage *manage, Certificate *certificate, uint64_t now_sec)
{
        for (size_t i = 0; i < certificate->n_generations; i++) {
                Generation *generation = certificate->generations[i];

                if (!is_tried(certificate, generation) || generation->trial_sec > now_sec)
                        continue;
                generation->trial_sec = now_sec + NEXT_TRIAL_SEC;
                suspect_try(manage, certificate->id, generation->number, on_nobody, NULL);
                return; /* the certificate may be another now */
        }
}

void suspects_try_due(Manage *manage, uint64_t now_sec)
{
        CLEANUP(strv_freep) char **due = NULL;

        MAP_FOREACH (catalog_certificates(manage->catalog), entry)
                if (suspect_next(entry->value, 0) != 0 && strv_append(&due, entry->key) < 0)
                        break;
        for (char **id = due; id && *id; id++) {
                Certificate *certificate = catalog_find_certificate(manage->catalog, *id);

                if (certificate)
                        try_due(manage, certificate, now_sec);
        }
}
