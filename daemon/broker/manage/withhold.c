/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has ended once and came back with an older store: it ends again. Here alone the catalog is changed before the store,
 * for nobody has been told anything yet, and a store that cannot be written must not make a key sign. It is all stored as
 * one change; where that fails, again and again, each in its certificate's turn, for others change them by then.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define RETRY_SEC 5

void withholding_deinit(Withholding *withholding)
{
        store_change_free(withholding->change);
        strv_free(withholding->ids);
        *withholding = (Withholding){ 0 };
}

static void end(Manage *manage)
{
        const Withholding ended = manage->withholding;

        withholding_deinit(&manage->withholding);
        ended.stored(ended.userdata);
}

static void retry_later(Manage *manage)
{
        manage->withholding.retry_usec = clock_monotonic_usec() + RETRY_SEC * USEC_PER_SEC;
        retry_at(manage, manage->withholding.retry_usec);
}

static void on_stored(void *userdata, const Failure *failure)
{
        Manage *manage = userdata;

        if (failure->status == 0) {
                end(manage);
                return;
        }
        log_error("what an older store brought back is withheld, but not stored yet: %s",
                  failure->text);
        retry_later(manage);
}

/* --- one by one --- */

static void store_next(Manage *manage);

static void on_one_stored(void *userdata, const Failure *failure)
{
        Manage *manage = userdata;
        char **ids = manage->withholding.ids;

        if (failure->status != 0) {
                retry_later(manage);
                return;
        }
        free(TAKE(ids[strv_length(ids) - 1]));
        store_next(manage);
}

/* NULL: it is gone, or somebody has decided, and that is stored. */
static const Certificate *find_withheld(const Manage *manage, const char *id)
{
        const Certificate *certificate = catalog_find_certificate(manage->catalog, id);

        return certificate && certificate->withheld ? certificate : NULL;
}

static void run(void *userdata)
{
        Job *job = userdata;
        const Certificate *present = find_withheld(job->manage, job->id);
        Certificate *next = NULL;

        if (!present)
                job_finish(job, &(Failure){ 0 });
        else if (certificate_copy(present, &next) < 0)
                job_fail(job, -ENOMEM, "no memory to store certificate '%s'", job->id);
        else
                change_certificate(job->manage, next, job_on_done, job);
}

static void store_next(Manage *manage)
{
        char **ids = manage->withholding.ids;
        size_t n = strv_length(ids);
        Job *job = NULL;

        for (; n > 0 && !find_withheld(manage, ids[n - 1]); n--)
                free(TAKE(ids[n - 1]));
        if (n == 0) {
                log_info("what an older store brought back is withheld, and that is stored");
                end(manage);
                return;
        }
        if (job_new(manage, ids[n - 1], on_one_stored, manage, &job) < 0) {
                retry_later(manage);
                return;
        }
        job->caller = NULL;
        job_start(job, run);
}

void withholding_retry(Manage *manage, uint64_t now_usec)
{
        uint64_t *retry_usec = &manage->withholding.retry_usec;

        if (*retry_usec == 0 || *retry_usec > now_usec)
                return;
        *retry_usec = 0;
        store_next(manage);
}

uint64_t withholding_next(const Manage *manage)
{
        return manage->withholding.retry_usec;
}

/* --- at start --- */

static int add(Manage *manage, const Certificate *certificate)
{
        Withholding *withholding = &manage->withholding;
        int r = withholding->change ? 0 : store_change_new(manage->store, &withholding->change);

        if (r == 0)
                r = strv_append(&withholding->ids, certificate->id);
        return r == 0 ? store_change_put_certificate(withholding->change, certificate) : r;
}

int manage_withhold_all(Manage *manage, void (*stored)(void *userdata), void *userdata)
{
        Withholding *withholding = &manage->withholding;
        int r;

        withholding->stored = stored;
        withholding->userdata = userdata;
        r = store_commit(withholding->change, on_stored, manage);
        if (r == 0)
                (void)TAKE(withholding->change);
        return r;
}

int manage_withhold(Manage *manage, const char *id, bool disables, const uint64_t *retired,
                    size_t n_retired, const char *reason)
{
        const Certificate *present = catalog_find_certificate(manage->catalog, id);
        CLEANUP(certificate_freep) Certificate *next = NULL;
        int r;

        r = present ? certificate_copy(present, &next) : -ENOENT;
        if (r == 0)
                r = string_set(&next->withheld, reason);
        if (r < 0)
                return r;
        next->enabled = next->enabled && !disables;
        for (size_t i = 0; i < n_retired; i++) {
                Generation *generation = certificate_find_generation(next, retired[i]);

                if (generation)
                        generation->retired = true;
        }
        r = add(manage, next);
        return r < 0 ? r : change_apply_certificate(manage, TAKE(next));
}
