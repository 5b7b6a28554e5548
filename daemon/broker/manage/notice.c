/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has been told, and what has to be told: whatever the cause (a rotation, the clock, a source that went
 * away), a credential that differs from the one last told is told once. It keeps a line of text for each
 * backend that holds all that GetCredential answers, and compares.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/manage/room.h"
#include "broker/resolve/credential.h"

void notice_forget(Map *map, const char *key)
{
        free(map_remove(map, key));
}

void notice_deinit(Map *map)
{
        MAP_FOREACH (map, entry)
                free(entry->value);
        map_deinit(map);
}

static char *describe(Manage *manage, const Backend *backend, uint64_t *ret_generation)
{
        CLEANUP(freep) char *names = strv_join(backend->server_names, ",");
        CLEANUP(freep) char *pins = strv_join(backend->server_thumbprints, ",");
        Failure failure = { 0 };
        Credential credential;
        char *text;
        int r;

        *ret_generation = 0;
        if (!names || !pins)
                return NULL;

        r = credential_resolve(manage->catalog, manage->sources, backend, clock_realtime_sec(),
                               &credential, &failure);
        if (r != 0)
                return asprintf(&text, "%s %s", backend->certificate, status_word(r)) < 0 ? NULL
                                                                                          : text;

        *ret_generation = credential.generation->number;
        r = asprintf(&text, "%s %s %" PRIu64 " %" PRIx32 " %d%d%d %s %s %s %s", credential.key_uri,
                     credential.generation->facts.thumbprint_sha256, credential.generation->n_chains,
                     credential.generation->algorithms, credential.stale, credential.validate_chain,
                     credential.validate_name, backend->url, names, pins, backend->ca_file);
        return r < 0 ? NULL : text;
}

/* Whether it differs from what was last noticed, which it then is. No memory: rather told once too often. */
static bool differs(Manage *manage, const Backend *backend, uint64_t *ret_generation)
{
        char *now = describe(manage, backend, ret_generation);
        const char *then = map_find(&manage->credentials, backend->name);

        if (now && string_equal(now, then)) {
                free(now);
                return false;
        }

        notice_forget(&manage->credentials, backend->name);
        if (now && map_put(&manage->credentials, backend->name, now) < 0)
                free(now);
        return then != NULL;
}

void notice_backend(Manage *manage, const char *name)
{
        const Backend *backend = catalog_find_backend(manage->catalog, name);
        uint64_t generation;

        if (backend && differs(manage, backend, &generation) && manage->events.credential_changed)
                manage->events.credential_changed(manage->events_userdata, name, generation);
}

void notice_users_of(Manage *manage, const char *id)
{
        const char *name = "";

        while ((name = catalog_next_user(manage->catalog, id, name)))
                notice_backend(manage, name);
}

/* What the clock alone changes. */
typedef struct Seen {
        CertificateState state;
        bool chain_has_expired;
} Seen;

static Seen see(const Certificate *certificate, uint64_t now_sec)
{
        const Generation *shown = certificate_shown(certificate);

        return (Seen){
                .state = certificate_state(certificate, now_sec),
                .chain_has_expired = shown && generation_chain_has_expired(shown, now_sec),
        };
}

/* *ret_then is what was seen before, or where that is not known what is seen now, which is remembered. */
static Seen remember(Manage *manage, const Certificate *certificate, uint64_t now_sec,
                     Seen *ret_then)
{
        Seen *kept = map_find(&manage->seen, certificate->id);
        Seen now = see(certificate, now_sec);

        *ret_then = kept ? *kept : now;
        if (!kept) {
                kept = calloc(1, sizeof(*kept));
                if (!kept || map_put(&manage->seen, certificate->id, kept) < 0) {
                        free(kept);
                        return now;
                }
        }
        *kept = now;
        return now;
}

static void tell_of(Manage *manage, const Certificate *certificate, uint64_t now_sec)
{
        const ManageEvents *events = &manage->events;
        Seen then, now = remember(manage, certificate, now_sec, &then);

        if (then.state != now.state && events->certificate_state_changed)
                events->certificate_state_changed(manage->events_userdata, certificate->id);
        if (then.chain_has_expired != now.chain_has_expired && events->certificate_trouble_changed)
                events->certificate_trouble_changed(manage->events_userdata, certificate->id);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
        if (a == 0 || b == 0)
                return a + b;
        return MIN(a, b);
}

static uint64_t next_of_certificate(Manage *manage, const Certificate *certificate,
                                    uint64_t now_sec)
{
        uint64_t next = certificate_next_change(certificate, now_sec);

        next = sooner(next, expiry_next(manage, certificate, now_sec));
        next = sooner(next, rotation_next(manage, certificate, now_sec));
        return sooner(next, refresh_next(manage, certificate, now_sec));
}

static uint64_t next_of_backend(const Backend *backend, uint64_t now_sec)
{
        if (backend->skip_until_sec > now_sec)
                return backend->skip_until_sec;
        /* over when it was written, or since, while we were away */
        return backend_exception_is_due(backend, now_sec) ? now_sec + 1 : 0;
}

static uint64_t next_change(Manage *manage, uint64_t now_sec)
{
        uint64_t next = served_next(manage);

        MAP_FOREACH (catalog_certificates(manage->catalog), entry)
                next = sooner(next, next_of_certificate(manage, entry->value, now_sec));

        MAP_FOREACH (catalog_backends(manage->catalog), entry)
                next = sooner(next, next_of_backend(entry->value, now_sec));

        return next;
}

void notice_certificate(Manage *manage, const char *id)
{
        const Certificate *certificate = catalog_find_certificate(manage->catalog, id);

        Seen then;

        if (certificate)
                remember(manage, certificate, clock_realtime_sec(), &then);
}

static void arm(Manage *manage, uint64_t realtime_sec)
{
        manage->wake_sec = realtime_sec;
        if (manage->events.wake_at)
                manage->events.wake_at(manage->events_userdata, realtime_sec);
}

void notice_rearm(Manage *manage)
{
        arm(manage, next_change(manage, clock_realtime_sec()));
}

void notice_rearm_at(Manage *manage, uint64_t realtime_sec)
{
        if (realtime_sec != 0 && (manage->wake_sec == 0 || realtime_sec < manage->wake_sec))
                arm(manage, realtime_sec);
}

void notice_rearm_certificate(Manage *manage, const Certificate *certificate)
{
        notice_rearm_at(manage, next_of_certificate(manage, certificate, clock_realtime_sec()));
        retry_at(manage, suspect_next(certificate, clock_monotonic_usec()));
}

void notice_rearm_backend(Manage *manage, const Backend *backend)
{
        notice_rearm_at(manage, next_of_backend(backend, clock_realtime_sec()));
}

void notice_all(Manage *manage)
{
        uint64_t now_sec = clock_realtime_sec(), generation;
        Seen then;

        MAP_FOREACH (catalog_certificates(manage->catalog), entry)
                remember(manage, entry->value, now_sec, &then);
        MAP_FOREACH (catalog_backends(manage->catalog), entry)
                differs(manage, entry->value, &generation);
}

void manage_tick(Manage *manage)
{
        uint64_t now_sec = clock_realtime_sec();

        /* Observers change nothing in the catalog, so its maps stay as they are meanwhile. */
        MAP_FOREACH (catalog_certificates(manage->catalog), entry)
                tell_of(manage, entry->value, now_sec);
        MAP_FOREACH (catalog_backends(manage->catalog), entry)
                notice_backend(manage, entry->key);

        rotations_due(manage, now_sec);
        backend_end_exceptions(manage, now_sec);
        expiry_check(manage, now_sec);
        refresh_due(manage, now_sec);
        served_check(manage);
        notice_rearm(manage);
}
