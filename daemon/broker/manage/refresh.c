/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refresh: when is a certificate looked up (look-up.c), and who gets to know what that came to?
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/manage/room.h"


/*
 * --- the first asks, those who come before it has asked get its answer ---
 *
 * Whoever comes later wants to know what is there now, and the answer on its way may be older: for all
 * of them it is asked once more. What nobody waits for is content with the answer that is on its way.
 */

typedef struct Follower Follower;

struct Follower {
        Follower *next;
        bool quiet;
        manage_done done;
        void *userdata;
};

typedef struct Followers {
        Follower *first, **end;
} Followers;

typedef struct Refreshing {
        Manage *manage;
        char *id;
        Followers followers, late;
        bool asked; /* the source */
        bool again; /* what was asked may be older than what a use of the key has found since */
} Refreshing;

static void followers_deinit(Followers *followers)
{
        while (followers->first) {
                Follower *follower = followers->first;

                followers->first = follower->next;
                free(follower);
        }
}

static void refreshing_free(Refreshing *refreshing)
{
        followers_deinit(&refreshing->followers);
        followers_deinit(&refreshing->late);
        free(refreshing->id);
        free(refreshing);
}

void refreshing_deinit(Map *refreshing)
{
        MAP_FOREACH (refreshing, entry)
                refreshing_free(entry->value);
        map_deinit(refreshing);
}

static void on_refreshed_alone(void *userdata, const Failure *failure)
{
        (void)userdata;
        (void)failure; /* it is in the certificate's LastError, or the source's */
}

/* It is out of the map before anybody is answered: who asks again from there asks anew. */
static void on_refreshed(void *userdata, const Failure *failure)
{
        Refreshing *refreshing = userdata;

        map_remove(&refreshing->manage->refreshing, refreshing->id);
        for (Follower *f = refreshing->followers.first; f; f = f->next)
                f->done(f->userdata, failure);
        /* The first of them waits for this job's turn to end: the others come before it has asked. */
        for (Follower *f = refreshing->late.first; f; f = f->next)
                refresh_certificate(refreshing->manage, refreshing->id, f->quiet, f->done,
                                    f->userdata);
        if (refreshing->again)
                refresh_certificate(refreshing->manage, refreshing->id, true, on_refreshed_alone,
                                    NULL);
        refreshing_free(refreshing);
}

static int follow(Refreshing *refreshing, bool quiet, manage_done done, void *userdata)
{
        bool is_late = refreshing->asked && !quiet;
        Followers *followers = is_late ? &refreshing->late : &refreshing->followers;
        Follower *follower = calloc(1, sizeof(*follower));

        if (!follower)
                return -ENOMEM;

        *follower = (Follower){ .quiet = quiet, .done = done, .userdata = userdata };
        *followers->end = follower;
        followers->end = &follower->next;
        return 0;
}

static void run(void *userdata)
{
        Job *job = userdata;
        Refreshing *refreshing = job->userdata;

        refreshing->asked = true;
        look_up(job);
}

static int lead(Manage *manage, const char *id, bool quiet, void *caller,
                Refreshing **ret_refreshing, Job **ret_job)
{
        Refreshing *refreshing = calloc(1, sizeof(*refreshing));
        int r;

        if (!refreshing)
                return -ENOMEM;

        refreshing->manage = manage;
        refreshing->followers.end = &refreshing->followers.first;
        refreshing->late.end = &refreshing->late.first;
        r = string_set(&refreshing->id, id);
        if (r == 0)
                r = job_new(manage, id, on_refreshed, refreshing, ret_job);
        if (r == 0) {
                (*ret_job)->quiet = quiet;
                (*ret_job)->caller = NULL; /* nothing is changed that a source does not change */
                (*ret_job)->owner = manage_owner(manage, caller);
                r = map_put(&manage->refreshing, id, refreshing);
                if (r < 0)
                        job_free(*ret_job);
        }
        if (r < 0)
                refreshing_free(refreshing);
        else
                *ret_refreshing = refreshing;
        return r;
}

void refresh_certificate(Manage *manage, const char *id, bool quiet, manage_done done,
                         void *userdata)
{
        Refreshing *refreshing = map_find(&manage->refreshing, id);
        Failure failure = { 0 };
        Job *job = NULL;
        int r = 0;

        if (!refreshing)
                r = lead(manage, id, quiet, quiet ? NULL : userdata, &refreshing, &job);
        if (r == 0)
                r = follow(refreshing, quiet, done, userdata);
        if (job)
                job_start(job, run);
        if (r == 0)
                return;

        fail(&failure, r, "no memory to refresh certificate '%s'", id);
        done(userdata, &failure);
}

void manage_refresh(Manage *manage, const char *id, manage_done done, void *userdata)
{
        const Certificate *certificate = catalog_find_certificate(manage->catalog, id);

        if (!certificate || !rotation_try(manage, certificate, done, userdata))
                refresh_for(manage, id, done, userdata);
}

void refresh_for(Manage *manage, const char *id, manage_done done, void *userdata)
{
        const Certificate *certificate = catalog_find_certificate(manage->catalog, id);

        if (certificate && suspect_is_current(certificate))
                suspect_try(manage, id, certificate->current, done, userdata);
        else
                refresh_certificate(manage, id, false, done, userdata);
}

/*
 * A use that succeeds is right where the source had said that the key is gone. But once: where it says so again, it is
 * used without the source (a vault's key in memory), which proves nothing.
 */
static void believe_use(Manage *manage, const Certificate *present)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;

        if (present->used_while_gone || certificate_copy(present, &next) < 0)
                return;
        next->verdict = KEY_USABLE;
        next->used_while_gone = true;
        if (!suspect_is_current(next))
                (void)string_set(&next->last_error, NULL);
        (void)change_apply_certificate(manage, TAKE(next));
}

/* A look-up has its rules for what is missing: a vault's is asked twice. */
void manage_key_used(Manage *manage, const char *id, uint64_t generation, int status)
{
        const Certificate *certificate = catalog_find_certificate(manage->catalog, id);
        Refreshing *refreshing = map_find(&manage->refreshing, id);
        KeyVerdict verdict;

        if (!certificate || certificate->current != generation ||
            !key_verdict_of(status, &verdict) || verdict == certificate->verdict)
                return;
        if (verdict == KEY_USABLE && certificate->verdict == KEY_GONE)
                believe_use(manage, certificate);
        if (refreshing)
                refreshing->again = true;
        else
                refresh_certificate(manage, id, true, on_refreshed_alone, NULL);
}
