/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys under suspicion. The invariant: from a wrong signature on (or from becoming current untried), until its key has passed a trial, nobody
 * is given the key (credential.c), by whatever id, and all that it signs is checked (sign.c). Who has it
 * goes on: what is right leaves. Nothing of it is stored, for a key that is still broken shows that again
 * with its next signature. Each id has trials of its own.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define FIRST_TRIAL_USEC (5 * USEC_PER_SEC)
#define NEXT_TRIAL_USEC  (60 * USEC_PER_SEC)
#define SPREAD_USEC      USEC_PER_SEC

/* Its trials are over where it may not be used any more. */
static bool is_tried(const Certificate *certificate, const Generation *generation)
{
        return generation->trial_usec != 0 && certificate_may_use_key(certificate, generation) == 0;
}

bool suspect_is_current(const Certificate *certificate)
{
        const Generation *current = certificate_find_generation(certificate, 0);

        return current && current->trial_usec != 0;
}

uint64_t suspect_next(const Certificate *certificate, uint64_t now_usec)
{
        uint64_t next_usec = UINT64_MAX;

        for (size_t i = 0; i < certificate->n_generations; i++)
                if (is_tried(certificate, certificate->generations[i]))
                        next_usec = MIN(next_usec, MAX(certificate->generations[i]->trial_usec,
                                                       now_usec + USEC_PER_SEC));
        return next_usec == UINT64_MAX ? 0 : next_usec;
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

void suspect_until_tried(Generation *generation)
{
        generation->trial_usec = clock_monotonic_usec() + FIRST_TRIAL_USEC;
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

        log_error("certificate '%s': the key of generation %" PRIu64 " made a wrong signature (%s), "
                  "which was held back; check source '%s'",
                  present->id, number, algorithm_name(algorithm), present->source);
        if (!begin(manage, present->id, number, &next, &generation) ||
            note(next, generation, algorithm) < 0)
                return;
        suspect_until_tried(generation);
        (void)change_apply_certificate(manage, TAKE(next));
}

static void suspect(Manage *manage, const char *id, uint64_t number, Algorithm algorithm)
{
        const Certificate *present = catalog_find_certificate(manage->catalog, id);
        Generation *generation = present ? certificate_find_generation(present, number) : NULL;

        if (!generation)
                return;
        generation->n_wrong++;
        if (generation->trial_usec != 0)
                return;
        raise_alarm(manage, present, number, algorithm);
        if (manage->events.suspected)
                manage->events.suspected(manage->events_userdata, id, number, algorithm);
}

/*
 * The same key under other ids and numbers; a copy that the source holds as another object, too, for it is
 * the source that signs wrongly. One takes the place of the other under its id, so the map stays as it is.
 */
static void suspect_others(Manage *manage, const Generation *generation, const Certificate *of,
                           Algorithm algorithm)
{
        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                const Certificate *certificate = entry->value;

                for (size_t i = 0; i < certificate->n_generations; i++) {
                        const Generation *other = certificate->generations[i];

                        if (!string_equal(certificate->source, of->source) ||
                            !bytes_equal(&other->spki, &generation->spki) ||
                            (other->number == generation->number &&
                             string_equal(certificate->id, of->id)))
                                continue;
                        suspect(manage, entry->key, other->number, algorithm);
                        certificate = entry->value;
                }
        }
}

/* A key that signs wrongly all the time has everything looked through only now and then. */
static void spread(Manage *manage, const char *id, uint64_t number, Algorithm algorithm)
{
        CLEANUP(certificate_freep) Certificate *copy = NULL;
        const Certificate *present = catalog_find_certificate(manage->catalog, id);
        Generation *generation = certificate_find_generation(present, number), *copied;
        uint64_t now_usec = clock_monotonic_usec();

        if (generation->spread_usec != 0 && now_usec < generation->spread_usec + SPREAD_USEC)
                return;
        generation->spread_usec = now_usec;
        if (begin(manage, id, number, &copy, &copied))
                suspect_others(manage, copied, copy, algorithm);
}

void manage_key_suspected(Manage *manage, const char *id, uint64_t number, Algorithm algorithm)
{
        Certificate *present = catalog_find_certificate(manage->catalog, id);

        if (!present || !certificate_find_generation(present, number))
                return;
        present->n_held_back++;
        present->held_back_sec = clock_realtime_sec();
        suspect(manage, id, number, algorithm);
        spread(manage, id, number, algorithm);
}

/* --- its trials --- */

/* The key is right: it is handed out again. Else, or where it was wrong again meanwhile, it is tried again later. */
static void conclude(Job *job, bool passed)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Generation *generation;

        if (!begin(job->manage, job->id, job->generation, &next, &generation))
                return;
        passed = passed && generation->n_wrong == job->n_wrong;
        generation->trial_usec = passed ? 0 : clock_monotonic_usec() + NEXT_TRIAL_USEC;
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
        job->n_wrong = generation->n_wrong;
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
static void try_due(Manage *manage, Certificate *certificate, uint64_t now_usec)
{
        for (size_t i = 0; i < certificate->n_generations; i++) {
                Generation *generation = certificate->generations[i];

                if (!is_tried(certificate, generation) || generation->trial_usec > now_usec)
                        continue;
                generation->trial_usec = now_usec + NEXT_TRIAL_USEC;
                suspect_try(manage, certificate->id, generation->number, on_nobody, NULL);
                return; /* the certificate may be another now */
        }
}

void suspects_try_due(Manage *manage, uint64_t now_usec)
{
        CLEANUP(strv_freep) char **due = NULL;

        MAP_FOREACH (catalog_certificates(manage->catalog), entry)
                if (suspect_next(entry->value, 0) != 0 && strv_append(&due, entry->key) < 0)
                        break;
        for (char **id = due; id && *id; id++) {
                Certificate *certificate = catalog_find_certificate(manage->catalog, *id);

                if (certificate)
                        try_due(manage, certificate, now_usec);
        }
}

void suspects_hasten(Manage *manage, const char *source)
{
        uint64_t now_usec = clock_monotonic_usec();

        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                const Certificate *certificate = entry->value;

                for (size_t i = 0; i < certificate->n_generations; i++) {
                        Generation *generation = certificate->generations[i];

                        if (string_equal(certificate->source, source) && generation->trial_usec != 0)
                                generation->trial_usec = now_usec;
                }
        }
        suspects_try_due(manage, now_usec);
}
