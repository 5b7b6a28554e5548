/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sweep: when a source serves again, its certificates are looked up one after the other, so that a token of
 * thousands is never asked more than one thing at a time by us. One that the source has no room for is
 * asked for again a little later, so that none is gone past. It ends when the source stops serving, and
 * starts anew with the next time it does.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define RESUME_USEC  USEC_PER_SEC
#define TIMEOUTS_MAX 5

typedef struct Sweep {
        Manage *manage;
        char *source;
        char *last;   /* the id that was looked up last */
        bool serves;  /* as last seen */
        uint64_t since_sec; /* by the wall clock */
        bool running; /* a look-up is on its way */
        bool again;   /* the source came back meanwhile: start over */
        bool refused; /* the source had no room for the last: the same once more, a little later */
        bool stepping;
        unsigned n_timeouts; /* of this look-up, one after the other */
} Sweep;

static Sweep *sweep_free(Sweep *sweep)
{
        if (!sweep)
                return NULL;

        free(sweep->source);
        free(sweep->last);
        free(sweep);
        return NULL;
}
DEFINE_CLEANUP(Sweep, sweep_free)

void sweep_deinit(Map *sweeps)
{
        MAP_FOREACH (sweeps, entry)
                sweep_free(entry->value);
        map_deinit(sweeps);
}

static int sweep_of(Manage *manage, const char *source, Sweep **ret_sweep)
{
        CLEANUP(sweep_freep) Sweep *sweep = NULL;
        int r;

        *ret_sweep = map_find(&manage->sweeps, source);
        if (*ret_sweep)
                return 0;

        sweep = calloc(1, sizeof(*sweep));
        if (!sweep)
                return -ENOMEM;

        sweep->manage = manage;
        r = string_set(&sweep->source, source);
        if (r < 0)
                return r;

        r = map_put(&manage->sweeps, source, sweep);
        if (r < 0)
                return r;

        *ret_sweep = TAKE(sweep);
        return 0;
}

/* By what was due, or by a person, since the source serves: once is enough. */
static bool is_looked_up(const Sweep *sweep, const Certificate *certificate, uint64_t now_sec)
{
        return certificate->last_refresh_sec > sweep->since_sec &&
               certificate->last_refresh_sec <= now_sec && certificate->next_refresh_sec > now_sec;
}

/* The one after the last; or, where that was refused, the same. */
static const Certificate *next_of(const Sweep *sweep, bool same)
{
        const Map *certificates = catalog_certificates(sweep->manage->catalog);
        const Certificate *last =
                same ? catalog_find_certificate(sweep->manage->catalog, sweep->last) : NULL;
        size_t i = sweep->last ? map_index_after(certificates, sweep->last) : 0;
        uint64_t now_sec = clock_realtime_sec();

        if (last)
                return last;
        for (; i < certificates->n; i++) {
                const Certificate *certificate = certificates->entries[i].value;

                if (string_equal(certificate->source, sweep->source) &&
                    !is_looked_up(sweep, certificate, now_sec))
                        return certificate;
        }
        return NULL;
}

static void step(Sweep *sweep);

/*
 * A busy source had no room for it, or did not come to it in time: one that it cannot answer at all does
 * not stop the others. Any other failure is in the certificate's LastError, or the source's.
 */
static bool was_refused(Sweep *sweep, const Failure *failure)
{
        if (look_up_has_no_room(failure->status))
                return true;
        if (failure->status == CB_TIMED_OUT && ++sweep->n_timeouts < TIMEOUTS_MAX)
                return true;
        sweep->n_timeouts = 0;
        return false;
}

static void on_refreshed(void *userdata, const Failure *failure)
{
        Sweep *sweep = userdata;

        sweep->refused = was_refused(sweep, failure);
        sweep->running = false;
        if (sweep->refused)
                retry_at(sweep->manage, clock_monotonic_usec() + RESUME_USEC);
        else
                step(sweep);
}

/*
 * A source that takes no request now answers from within the submission: who comes here from there leaves the rest to
 * the loop that submitted, so that there is no recursion over certificates.
 */
static void step(Sweep *sweep)
{
        bool same = sweep->refused;

        if (sweep->stepping)
                return;

        sweep->stepping = true;
        sweep->refused = false;
        while (!sweep->running && sweep->serves && !sweep->refused) {
                const Certificate *certificate;

                if (sweep->again) {
                        sweep->again = same = false;
                        free(TAKE(sweep->last));
                }

                certificate = next_of(sweep, same);
                same = false;
                if (!certificate || string_set(&sweep->last, certificate->id) < 0)
                        break;

                sweep->running = true;
                refresh_certificate(sweep->manage, sweep->last, true, on_refreshed, sweep);
        }
        sweep->stepping = false;
}

uint64_t sweep_next(const Manage *manage, uint64_t now_usec)
{
        MAP_FOREACH (&manage->sweeps, entry) {
                const Sweep *sweep = entry->value;

                if (sweep->refused)
                        return now_usec + RESUME_USEC;
        }
        return 0;
}

void sweep_resume(Manage *manage)
{
        MAP_FOREACH (&manage->sweeps, entry) {
                Sweep *sweep = entry->value;

                if (sweep->refused)
                        step(sweep);
        }
}

void manage_source_changed(Manage *manage, Source *source)
{
        bool serves = source_state_serves(source_state(source));
        Sweep *sweep;

        served_keep(manage, source);
        notice_rearm_at(manage, served_next(manage));
        if (sweep_of(manage, source_name(source), &sweep) < 0)
                return;

        if (serves != sweep->serves) {
                sweep->serves = serves;
                sweep->again = serves;
                sweep->since_sec = clock_realtime_sec();
                if (serves) {
                        endings_resume(manage, source_name(source));
                        intents_recover(manage, source_name(source));
                        due_begin(manage, source_name(source));
                        suspects_hasten(manage, source_name(source));
                        rotations_hasten(manage, source_name(source));
                }
                MAP_FOREACH (catalog_backends(manage->catalog), entry)
                        notice_backend(manage, entry->key);
        }
        step(sweep);
}
