/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job: one change of one certificate. It is answered exactly once, by job_finish(), which also gives the turn
 * on. It holds no pointer into the catalog: what it needs there it looks up again at each step.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "broker/manage/room.h"

Job *job_free(Job *job)
{
        if (!job)
                return NULL;

        free(job->id);
        free(job->source);
        free(job->uri);
        free(job->served_by);
        claim_deinit(&job->claim);
        strv_free(job->candidates);
        wire_reply_deinit(&job->found);
        close_fd(job->fds[0]);
        close_fd(job->fds[1]);
        free(job);
        return NULL;
}

int job_new(Manage *manage, const char *id, manage_done done, void *userdata, Job **ret_job)
{
        CLEANUP(job_freep) Job *job = calloc(1, sizeof(*job));

        if (!job)
                return -ENOMEM;

        *job = (Job){ .manage = manage,
                      .fds = { -1, -1 },
                      .caller = userdata,
                      .done = done,
                      .userdata = userdata };
        wire_reply_init(&job->found, 0);
        if (string_set(&job->id, id) < 0)
                return -ENOMEM;

        *ret_job = TAKE(job);
        return 0;
}

static void on_turn(void *userdata)
{
        Job *job = userdata;
        Failure failure = { 0 };

        if (manage_may_go_on(job->manage, job->caller, &failure) != 0)
                job_finish(job, &failure);
        else
                job->run(job);
}

void job_start(Job *job, void (*run)(void *userdata))
{
        job->run = run;
        if (ticket_take(&job->manage->tickets, job->id, &job->ticket, on_turn, job) < 0)
                job_fail(job, -ENOMEM, "no memory to change certificate '%s'", job->id);
}

/* What a source says of a file that it was handed names no object; who reads it wants to know which. */
static Failure name_object(const Job *job, const Failure *failure)
{
        Failure named = { 0 };

        if (failure->status == 0 || strstr(failure->text, " '"))
                return *failure;
        fail(&named, failure->status, "certificate '%s': %s", job->id, failure->text);
        return named;
}

void job_finish(Job *job, const Failure *failure)
{
        const Failure named = name_object(job, failure);

        job->done(job->userdata, &named);
        intent_end(job, failure);
        ending_end(job, failure);
        ticket_return(&job->ticket);
        job_free(job);
}

void job_fail(Job *job, int status, const char *format, ...)
{
        Failure failure = { 0 };
        char text[sizeof(failure.text)];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        fail(&failure, status, "%s", text);
        job_finish(job, &failure);
}

void job_give_up(Job *job, int r, Failure *failure)
{
        if (failure->status == 0)
                fail(failure, r, "certificate '%s' could not be changed: %s", job->id,
                     strerror(-r));
        job_finish(job, failure);
}

int job_check_place(const Job *job, const Certificate *present, Failure *failure)
{
        if (!present && job->replace)
                return object_not_found(failure, OBJECT_CERTIFICATE, job->id);

        if (present && !job->replace)
                return fail(failure, CB_ALREADY_EXISTS,
                            "certificate '%s' exists; use replace to make this its next "
                            "generation, or another id",
                            job->id);

        if (present && !string_equal(present->source, job->source))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "certificate '%s' lives in source '%s', not in '%s'; a rotation stays "
                            "in its source",
                            job->id, present->source, job->source);
        return 0;
}

void job_on_done(void *job, const Failure *failure)
{
        job_finish(job, failure);
}
