/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sweep: when a source serves again, its certificates are looked up one after the other, so that a token of
 * thousands is never asked more than one thing at a time by us. It ends when the source stops serving, and starts
 * anew with the next time it does.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/strings.h"
#include "broker/manage/room.h"

typedef struct Sweep {
        Manage *manage;
        char *source;
        char *last;   /* the id that was looked up last */
        bool serves;  /* as last seen */
        bool running; /* a look-up is on its way */
        bool again;   /* the source came back meanwhile: start over */
        bool stepping;
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

static const Certificate *next_of(const Sweep *sweep)
{
        const Map *certificates = catalog_certificates(sweep->manage->catalog);
        size_t i = sweep->last ? map_index_after(certificates, sweep->last) : 0;

        for (; i < certificates->n; i++) {
                const Certificate *certificate = certificates->entries[i].value;

                if (string_equal(certificate->source, sweep->source))
                        return certificate;
        }
        return NULL;
}

static void step(Sweep *sweep);

static void on_refreshed(void *userdata, const Failure *failure)
{
        Sweep *sweep = userdata;

        (void)failure; /* it is in the certificate's LastError, or the source's */
        sweep->running = false;
        step(sweep);
}

/*
 * A source that takes no request now answers from within the submission: who comes here from there leaves the rest to
 * the loop that submitted, so that there is no recursion over certificates.
 */
static void step(Sweep *sweep)
{
        if (sweep->stepping)
                return;

        sweep->stepping = true;
        while (!sweep->running && sweep->serves) {
                const Certificate *certificate;

                if (sweep->again) {
                        sweep->again = false;
                        free(TAKE(sweep->last));
                }

                certificate = next_of(sweep);
                if (!certificate || string_set(&sweep->last, certificate->id) < 0)
                        break;

                sweep->running = true;
                refresh_certificate(sweep->manage, sweep->last, true, on_refreshed, sweep);
        }
        sweep->stepping = false;
}

void manage_source_changed(Manage *manage, Source *source)
{
        bool serves = source_state_serves(source_state(source));
        Sweep *sweep;

        if (sweep_of(manage, source_name(source), &sweep) < 0)
                return;

        if (serves != sweep->serves) {
                sweep->serves = serves;
                sweep->again = serves;
                if (serves)
                        intents_recover(manage, source_name(source));
                MAP_FOREACH (catalog_backends(manage->catalog), entry)
                        notice_backend(manage, entry->key);
        }
        step(sweep);
}
