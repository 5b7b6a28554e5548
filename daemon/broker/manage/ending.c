/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endings: certificates whose keys are being destroyed, one after the other, before they are forgotten. Invariant: from before
 * the first key is destroyed until the certificate is forgotten the store has a note of it, which goes in the same transaction.
 * So whoever was killed meanwhile, broker or source, no certificate stays that has lost some of its keys: it is ended when its
 * source serves. Where nothing was destroyed nothing comes later: who was told of a failure has the certificate as it was. Nor
 * does it where it is not what it was: it has a next generation or a backend now, or is another one under the same id.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define NOTE_PREFIX "ending/"

#define RETRY_FIRST_SEC 5
#define RETRY_MAX_SEC   600

struct Ending {
        Manage *manage;
        char *id;
        char *key_uri;   /* of its newest generation when it was begun, "" without one: no other key has that */
        bool busy;       /* a job is at it */
        bool was_begun;  /* by another job, which did not come to its end */
        bool is_over;    /* the note is to go, */
        unsigned n_forgetting; /* and that is on its way to the store, so often */
        uint64_t pause_sec;  /* before it is tried again, */
        uint64_t retry_usec; /* which is due then, unless busy */
};

static Ending *ending_free(Ending *ending)
{
        if (!ending)
                return NULL;

        free(ending->id);
        free(ending->key_uri);
        free(ending);
        return NULL;
}
DEFINE_CLEANUP(Ending, ending_free)

void endings_deinit(Map *endings)
{
        MAP_FOREACH (endings, entry)
                ending_free(entry->value);
        map_deinit(endings);
}

static void ending_remove(Ending *ending)
{
        map_remove(&ending->manage->endings, ending->id);
        ending_free(ending);
}

static int ending_add(Manage *manage, const char *id, Ending **ret_ending)
{
        CLEANUP(ending_freep) Ending *ending = calloc(1, sizeof(*ending));
        int r;

        if (!ending)
                return -ENOMEM;

        ending->manage = manage;
        r = string_set(&ending->id, id);
        if (r == 0)
                r = map_put(&manage->endings, id, ending);
        if (r < 0)
                return r;

        *ret_ending = TAKE(ending);
        return 0;
}

static const char *newest_key(const Certificate *certificate)
{
        const Generation *newest = certificate_newest(certificate);

        return newest ? string_or_empty(newest->key_uri) : "";
}

int ending_read_note(Manage *manage, const char *key, const char *value)
{
        Ending *ending;
        int r;

        if (strncmp(key, NOTE_PREFIX, strlen(NOTE_PREFIX)) != 0)
                return 0;
        r = ending_add(manage, key + strlen(NOTE_PREFIX), &ending);
        if (r < 0)
                return r;
        ending->was_begun = true;
        return string_set(&ending->key_uri, value);
}

static char *note_of(const char *id, char note[ENDING_NOTE])
{
        snprintf(note, ENDING_NOTE, NOTE_PREFIX "%s", id);
        return note;
}

const char *ending_note(const Job *job, char note[ENDING_NOTE])
{
        return job->ending ? note_of(job->id, note) : NULL;
}

/* --- a job's --- */

static void on_begun(void *userdata, const Failure *failure)
{
        Job *job = userdata;

        if (failure->status == 0)
                job->run(job);
        else
                job_finish(job, failure);
}

void ending_take(Job *job)
{
        job->ending = map_find(&job->manage->endings, job->id);
        if (!job->ending)
                return;
        job->ending->busy = true;
        job->ending->is_over = false;
}

void ending_begin(Job *job, const Certificate *certificate, void (*run)(void *job))
{
        char note[ENDING_NOTE];
        Failure failure = { 0 };
        int r = 0;

        job->run = run;
        ending_take(job);
        if (!job->ending)
                r = ending_add(job->manage, job->id, &job->ending);
        if (r == 0) {
                job->ending->busy = true;
                r = string_set(&job->ending->key_uri, newest_key(certificate));
        }
        if (r == 0)
                r = change_note(job->manage, note_of(job->id, note), job->ending->key_uri, on_begun,
                                job);
        if (r == -EBUSY)
                r = fail(&failure, CB_LIMIT_EXCEEDED,
                         "too many changes wait for the disk; try again");
        if (r != 0)
                job_give_up(job, r, &failure);
}

static void wait_a_little(Ending *ending)
{
        ending->busy = false;
        ending->was_begun = true;
        ending->pause_sec = MIN(MAX(2 * ending->pause_sec, RETRY_FIRST_SEC), RETRY_MAX_SEC);
        ending->retry_usec = clock_monotonic_usec() + ending->pause_sec * USEC_PER_SEC;
        retry_at(ending->manage, ending->retry_usec);
}

static void on_forgotten(void *userdata, const Failure *failure)
{
        Ending *ending = userdata;

        ending->n_forgetting--;
        if (!ending->is_over || ending->n_forgetting > 0) /* it was begun anew meanwhile */
                return;
        if (failure->status == 0)
                ending_remove(ending);
        else
                wait_a_little(ending);
}

/* It stays known until the note is gone: else the certificate was ended after a restart. */
static void forget(Ending *ending)
{
        char note[ENDING_NOTE];

        ending->is_over = true;
        ending->busy = true;
        if (change_note(ending->manage, note_of(ending->id, note), NULL, on_forgotten, ending) == 0)
                ending->n_forgetting++;
        else
                wait_a_little(ending);
}

/* Something may have been destroyed, and what has failed may be over one day. */
bool ending_goes_on(const Job *job, int status)
{
        const Ending *ending = job->ending;

        if (!ending || status == CB_ACCESS_DENIED || status == CB_IN_USE || status == CB_NOT_FOUND)
                return false;
        return ending->was_begun || (job->asked && (intent_is_open(status) || job->i_generation > 1));
}

void ending_end(Job *job, const Failure *failure)
{
        bool goes_on = ending_goes_on(job, failure->status);
        Ending *ending = TAKE(job->ending);

        if (!ending)
                return;

        if (failure->status == 0) /* the note went with the certificate */
                ending_remove(ending);
        else if (goes_on)
                wait_a_little(ending);
        else
                forget(ending);
}

/* --- what was not ended --- */

static void on_resumed(void *userdata, const Failure *failure)
{
        const Ending *ending = userdata;
        const ManageEvents *events = &ending->manage->events;

        if (failure->status == 0 && events->deletion_ended)
                events->deletion_ended(ending->manage->events_userdata, ending->id);
}

static void run_again(void *userdata)
{
        Job *job = userdata;
        const Certificate *certificate = catalog_find_certificate(job->manage->catalog, job->id);

        if (certificate && string_equal(newest_key(certificate), job->ending->key_uri))
                delete_keys(job);
        else
                job_fail(job, CB_NOT_FOUND, "certificate '%s' is not what was to be deleted", job->id);
}

static void resume(Ending *ending)
{
        Job *job = NULL;

        if (ending->is_over) {
                forget(ending);
                return;
        }
        if (job_new(ending->manage, ending->id, on_resumed, ending, &job) < 0) {
                wait_a_little(ending);
                return;
        }
        log_info("certificate '%s': its deletion was cut off, and goes on", ending->id);
        ending->busy = true;
        job->caller = NULL;
        job->ending = ending;
        job_start(job, run_again);
}

void endings_resume(Manage *manage, const char *source)
{
        for (size_t i = manage->endings.n; i-- > 0;) {
                Ending *ending = manage->endings.entries[i].value;
                const Certificate *certificate =
                        catalog_find_certificate(manage->catalog, ending->id);

                if (!ending->busy && certificate && string_equal(certificate->source, source))
                        resume(ending);
        }
}

/* One whose source does not serve goes on when that begins to; what is over needs none. */
static bool can_be_tried(const Ending *ending)
{
        const Manage *manage = ending->manage;
        const Certificate *certificate = catalog_find_certificate(manage->catalog, ending->id);
        const Source *source =
                certificate ? sources_find(manage->sources, certificate->source) : NULL;

        if (ending->busy)
                return false;
        return ending->is_over || !certificate ||
               (source && source_state_serves(source_state(source)));
}

void endings_retry(Manage *manage, uint64_t now_usec)
{
        for (size_t i = manage->endings.n; i-- > 0;) {
                Ending *ending = manage->endings.entries[i].value;

                if (ending->retry_usec <= now_usec && can_be_tried(ending))
                        resume(ending);
        }
}

uint64_t endings_next(const Manage *manage)
{
        uint64_t next = 0;

        MAP_FOREACH (&manage->endings, entry) {
                const Ending *ending = entry->value;

                if (can_be_tried(ending) && (next == 0 || ending->retry_usec < next))
                        next = ending->retry_usec;
        }
        return next;
}
