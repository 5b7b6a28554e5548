/* SPDX-License-Identifier: Apache-2.0 */
/* Refresh and Unlock of a source: handed to its process, a PIN's descriptor unread. */
#include <errno.h>
#include <stdlib.h>

#include "base/strings.h"
#include "broker/manage/room.h"

#define UNLOCK_EXTRA_USEC (5 * USEC_PER_SEC) /* the PIN may come through a pipe */

typedef struct SourceJob {
        manage_done done;
        void *userdata;
} SourceJob;

static void on_reply(void *userdata, WireReply *reply)
{
        CLEANUP(freep) SourceJob *job = userdata;

        job->done(job->userdata, &reply->failure);
}

static int submit(Manage *manage, const char *name, WireRequest *request, const SourceJob *ends,
                  Failure *failure)
{
        CLEANUP(freep) SourceJob *job = NULL;
        Source *source = NULL;
        int r;

        r = manage_find_source(manage, name, &source, failure);
        if (r != 0)
                return r;

        job = calloc(1, sizeof(*job));
        if (!job)
                return fail(failure, -ENOMEM, "no memory to ask source '%s'", name);

        *job = *ends;
        r = source_submit(source, request, on_reply, job, failure);
        if (r == 0)
                TAKE(job);
        return r;
}

static void ask(Manage *manage, const char *name, WireRequest *request, const SourceJob *ends)
{
        Failure failure = { 0 };
        int r = submit(manage, name, request, ends, &failure);

        if (r == 0)
                return;

        if (failure.status == 0)
                fail(&failure, r, "source '%s' could not be asked", name);
        ends->done(ends->userdata, &failure);
}

void manage_refresh_source(Manage *manage, const char *name, manage_done done, void *userdata)
{
        WireRequest request;

        wire_request_init(&request, WIRE_REFRESH);
        request.owner = manage_owner(manage, userdata);
        request.timeout_usec = manage->timeout_usec;
        ask(manage, name, &request, &(SourceJob){ done, userdata });
}

void manage_unlock_source(Manage *manage, const char *name, int pin_fd, manage_done done,
                          void *userdata)
{
        WireRequest request;

        wire_request_init(&request, WIRE_UNLOCK);
        request.owner = manage_owner(manage, userdata);
        request.timeout_usec = manage->timeout_usec + UNLOCK_EXTRA_USEC;
        request.fds[0] = pin_fd;
        ask(manage, name, &request, &(SourceJob){ done, userdata });
}
