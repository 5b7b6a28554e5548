/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which generation is current, and which may never sign again. Going back gives the generation that is left the
 * same grace as a rotation does; retiring gives none.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/manage/room.h"
#include "broker/resolve/refusal.h"

static int find(const Job *job, Certificate **ret_next, Generation **ret_generation,
                Failure *failure)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        CLEANUP(certificate_freep) Certificate *next = NULL;
        int r;

        if (!present)
                return object_not_found(failure, OBJECT_CERTIFICATE, job->id);

        r = certificate_copy(present, &next);
        if (r < 0)
                return r;

        *ret_generation =
                job->generation ? certificate_find_generation(next, job->generation) : NULL;
        if (!*ret_generation)
                return fail(failure, CB_NOT_FOUND,
                            "certificate '%s' has no generation %" PRIu64
                            "; its current one is %" PRIu64,
                            job->id, job->generation, present->current);

        *ret_next = TAKE(next);
        return 0;
}

static int set_current(Job *job, Certificate *next, Generation *generation, Failure *failure)
{
        uint64_t now_sec = clock_realtime_sec();

        if (generation->retired)
                return certificate_refusal(next, generation, CB_DISABLED, failure);
        if (generation->chain.n == 0)
                return fail(failure, CB_PENDING,
                            "generation %" PRIu64
                            " of certificate '%s' has no certificate yet; install one",
                            generation->number, job->id);
        if (generation->facts.not_before_sec > now_sec)
                return certificate_refusal(next, generation, CB_PENDING, failure);
        if ((generation->usable_until_sec != 0 && generation->usable_until_sec <= now_sec) ||
            generation->facts.not_after_sec < now_sec)
                return certificate_refusal(next, generation, CB_EXPIRED, failure);

        certificate_make_current(next, generation, now_sec, job->manage->grace_usec / USEC_PER_SEC);
        return 0;
}

static int retire(Job *job, Certificate *next, Generation *generation, Failure *failure)
{
        uint64_t now_sec = clock_realtime_sec();

        if (generation->number == next->current)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "generation %" PRIu64
                            " of certificate '%s' is the current one; rotate or roll back first",
                            generation->number, job->id);
        generation->retired = true;
        if (generation->usable_until_sec == 0 || generation->usable_until_sec > now_sec)
                generation->usable_until_sec = now_sec; /* what Generations tells */
        return 0;
}

static void run(void *userdata)
{
        Job *job = userdata;
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Generation *generation = NULL;
        Failure failure = { 0 };
        int r;

        r = find(job, &next, &generation, &failure);
        if (r == 0)
                r = job->retire ? retire(job, next, generation, &failure)
                                : set_current(job, next, generation, &failure);
        if (r != 0)
                job_give_up(job, r, &failure);
        else
                change_certificate(job->manage, TAKE(next), job_on_done, job);
}

static void start(Manage *manage, const char *id, uint64_t generation, bool is_retire,
                  manage_done done, void *userdata)
{
        Failure failure = { 0 };
        Job *job = NULL;
        int r = job_new(manage, id, done, userdata, &job);

        if (r < 0) {
                fail(&failure, r, "no memory to change certificate '%s'", id);
                done(userdata, &failure);
                return;
        }
        job->generation = generation;
        job->retire = is_retire;
        job_start(job, run);
}

void manage_set_current(Manage *manage, const char *id, uint64_t generation, manage_done done,
                        void *userdata)
{
        start(manage, id, generation, false, done, userdata);
}

void manage_retire(Manage *manage, const char *id, uint64_t generation, manage_done done,
                   void *userdata)
{
        start(manage, id, generation, true, done, userdata);
}
