/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a new generation becomes current: the one rule, whoever brings it. The first is current whatever its dates are.
 * After that, one that has expired is refused and one that is not valid yet waits, until its NotBefore has come; the one
 * before goes on until then. Which of them wait is not stored (core/certificate.c), so it is the same after a restart,
 * and what came due meanwhile becomes current then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"
#include "core/alt-names.h"

/* One that is due and could not be stored is tried again after this. */
#define AGAIN_SEC 5

#define DATE_TEXT 32

static const char *date_text(uint64_t sec, char text[DATE_TEXT])
{
        time_t at = (time_t)sec;
        struct tm tm;

        if (!gmtime_r(&at, &tm) || strftime(text, DATE_TEXT, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
                text[0] = '\0';
        return text;
}

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
        char text[DATE_TEXT];

        if (generation->facts.not_after_sec >= now_sec)
                return 0;
        return fail(failure, CB_EXPIRED,
                    "the new generation of certificate '%s' was not published: its leaf expired at "
                    "%s; %s",
                    next->id, date_text(generation->facts.not_after_sec, text),
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

        if (failure->status != 0)
                log_error("certificate '%s': generation %" PRIu64
                          " is valid now, but did not become current: %s",
                          job->id, job->generation, failure->text);
        else if (job->generation != 0 && manage->events.came_due)
                manage->events.came_due(manage->events_userdata, job->id, job->generation);
        job_finish(job, failure);
}

static void run(void *userdata)
{
        Job *job = userdata;
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        CLEANUP(certificate_freep) Certificate *next = NULL;
        uint64_t now_sec = clock_realtime_sec();
        Generation *due;

        if (!present || !certificate_due(present, now_sec)) {
                job_finish(job, &(Failure){ 0 }); /* somebody was faster, or has deleted it */
                return;
        }
        if (certificate_copy(present, &next) < 0) {
                on_turned(job, &(Failure){ .status = -ENOMEM, .text = "no memory" });
                return;
        }
        due = certificate_due(next, now_sec);
        job->generation = due->number;
        certificate_make_current(next, due, now_sec, job->manage->grace_usec / USEC_PER_SEC);
        if (next->next_refresh_sec != 0)
                next->next_refresh_sec = now_sec; /* what has become of it while it waited? */
        change_certificate(job->manage, TAKE(next), on_turned, job);
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

/* Where it failed, that is in the journal, and it is tried again. */
static void on_over(void *userdata, const Failure *failure)
{
        Due *due = userdata;

        if (failure->status != 0)
                due->manage->due_again_sec = clock_realtime_sec() + AGAIN_SEC;
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
