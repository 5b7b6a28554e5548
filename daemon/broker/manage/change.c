/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change on its way: into the store, then into the catalog, then told, then answered. Nothing is told that is
 * not on the disk, and nothing that was told is lost by a crash.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/strings.h"
#include "broker/manage/room.h"

typedef struct Change {
        Manage *manage;
        Certificate *certificate; /* one of these two, or … */
        Backend *backend;
        char *removed_certificate; /* … one of these */
        char *removed_backend;
        char *forgotten_note; /* beside a certificate */
        manage_done done;
        void *userdata;
} Change;

static Change *change_free(Change *change)
{
        if (!change)
                return NULL;

        certificate_free(change->certificate);
        backend_free(change->backend);
        free(change->removed_certificate);
        free(change->removed_backend);
        free(change->forgotten_note);
        free(change);
        return NULL;
}
DEFINE_CLEANUP(Change, change_free)

static void tell_certificate(Manage *manage, const Certificate *before, const Certificate *after)
{
        const ManageEvents *events = &manage->events;
        uint64_t current = before ? before->current : 0;

        if (events->certificate_changed)
                events->certificate_changed(manage->events_userdata, after->id, before, after);
        if (before && after->current != current && events->rotated)
                events->rotated(manage->events_userdata, after->id, after->current);
        notice_certificate(manage, after->id);
        notice_users_of(manage, after->id);
        notice_rearm_certificate(manage, after);
}

int change_apply_certificate(Manage *manage, Certificate *next)
{
        CLEANUP(certificate_freep) Certificate *after = next;
        CLEANUP(certificate_freep) Certificate *before = NULL;
        const Certificate *present = catalog_find_certificate(manage->catalog, next->id);
        int r;

        if (present) {
                r = certificate_copy(present, &before);
                if (r < 0)
                        return r;
        }

        r = catalog_set_certificate(manage->catalog, after);
        if (r < 0)
                return r;

        tell_certificate(manage, before, TAKE(after));
        return 0;
}

static int apply_backend(Manage *manage, Backend *next)
{
        CLEANUP(backend_freep) Backend *after = next;
        CLEANUP(backend_freep) Backend *before = NULL;
        const Backend *present = catalog_find_backend(manage->catalog, next->name);
        int r;

        if (present) {
                r = backend_copy(present, &before);
                if (r < 0)
                        return r;
        }

        r = catalog_set_backend(manage->catalog, after);
        if (r < 0)
                return r;

        next = TAKE(after);
        if (manage->events.backend_changed)
                manage->events.backend_changed(manage->events_userdata, next->name, before, next);
        notice_backend(manage, next->name);
        notice_rearm_backend(manage, next);
        return 0;
}

static void remove_backend(Manage *manage, const char *name)
{
        const Backend *present = catalog_find_backend(manage->catalog, name);
        CLEANUP(freep) char *certificate = NULL;

        if (!present)
                return;
        /* Without memory it is told of no certificate, rather than not removed. */
        (void)string_set(&certificate, present->certificate);
        catalog_remove_backend(manage->catalog, name);
        notice_forget(&manage->credentials, name);
        if (manage->events.backend_removed)
                manage->events.backend_removed(manage->events_userdata, name,
                                               string_or_empty(certificate));
}

static void remove_certificate(Manage *manage, const char *id)
{
        const Certificate *present = catalog_find_certificate(manage->catalog, id);
        size_t n_generations = present ? present->n_generations : 0;

        if (!present)
                return;
        catalog_remove_certificate(manage->catalog, id);
        notice_forget(&manage->seen, id);
        expiry_forget(manage, id);
        if (manage->events.certificate_removed)
                manage->events.certificate_removed(manage->events_userdata, id, n_generations);
}

static void apply_removals(Change *change)
{
        if (change->removed_certificate)
                remove_certificate(change->manage, change->removed_certificate);
        if (change->removed_backend)
                remove_backend(change->manage, change->removed_backend);
}

static void on_committed(void *userdata, const Failure *committed)
{
        CLEANUP(change_freep) Change *change = userdata;
        Failure failure = *committed;
        int r = 0;

        if (failure.status == 0) {
                intent_stored(change->manage, change->forgotten_note);
                if (change->certificate)
                        r = change_apply_certificate(change->manage, TAKE(change->certificate));
                if (r == 0 && change->backend)
                        r = apply_backend(change->manage, TAKE(change->backend));
                if (r == 0)
                        apply_removals(change);
                else
                        fail(&failure, r,
                             "the change is stored, but there is no memory to use it; restart "
                             "certbrokerd");
        }

        change->done(change->userdata, &failure);
}

static int fill(const Change *change, StoreChange *record)
{
        int r = 0;

        if (change->forgotten_note)
                r = store_change_put_note(record, change->forgotten_note, NULL);
        if (r < 0)
                return r;
        if (change->certificate)
                return store_change_put_certificate(record, change->certificate);
        if (change->backend)
                return store_change_put_backend(record, change->backend);
        if (change->removed_certificate)
                return store_change_delete_certificate(record, change->removed_certificate);
        return store_change_delete_backend(record, change->removed_backend);
}

static int submit(Change *change)
{
        CLEANUP(store_change_freep) StoreChange *record = NULL;
        int r;

        r = store_change_new(change->manage->store, &record);
        if (r < 0)
                return r;

        r = fill(change, record);
        if (r < 0)
                return r;

        r = store_commit(record, on_committed, change);
        if (r < 0)
                return r;

        TAKE(record);
        return 0;
}

static void give_up(Change *change, int r)
{
        Failure failure = { 0 };

        if (r == -EBUSY)
                fail(&failure, CB_LIMIT_EXCEEDED, "too many changes wait for the disk; try again");
        else
                fail(&failure, r, "no memory to write the change to the store");
        change->done(change->userdata, &failure);
        change_free(change);
}

static void start(Change *change)
{
        int r = submit(change);

        if (r < 0)
                give_up(change, r);
}

static Change *change_new(Manage *manage, manage_done done, void *userdata)
{
        Change *change = calloc(1, sizeof(*change));

        if (!change) {
                Failure failure = { 0 };

                fail(&failure, -ENOMEM, "no memory for a change");
                done(userdata, &failure);
                return NULL;
        }
        *change = (Change){ .manage = manage, .done = done, .userdata = userdata };
        return change;
}

void change_certificate_of(Manage *manage, Certificate *next, const char *forgets, manage_done done,
                           void *userdata)
{
        CLEANUP(certificate_freep) Certificate *certificate = next;
        Change *change = change_new(manage, done, userdata);

        if (!change)
                return;

        change->certificate = TAKE(certificate);
        if (string_set(&change->forgotten_note, forgets) < 0)
                give_up(change, -ENOMEM);
        else
                start(change);
}

void change_certificate(Manage *manage, Certificate *next, manage_done done, void *userdata)
{
        change_certificate_of(manage, next, NULL, done, userdata);
}

int change_note(Manage *manage, const char *key, const char *value, store_done done, void *userdata)
{
        CLEANUP(store_change_freep) StoreChange *record = NULL;
        int r;

        r = store_change_new(manage->store, &record);
        if (r == 0)
                r = store_change_put_note(record, key, value);
        if (r == 0)
                r = store_commit(record, done, userdata);
        if (r == 0)
                TAKE(record);
        return r;
}

void change_backend(Manage *manage, Backend *next, manage_done done, void *userdata)
{
        CLEANUP(backend_freep) Backend *backend = next;
        Change *change = change_new(manage, done, userdata);

        if (!change)
                return;

        change->backend = TAKE(backend);
        start(change);
}

static void change_remove(Manage *manage, const char *id, bool is_backend, const char *forgets,
                          manage_done done, void *userdata)
{
        Change *change = change_new(manage, done, userdata);
        char **place;

        if (!change)
                return;

        place = is_backend ? &change->removed_backend : &change->removed_certificate;
        if (string_set(place, id) == 0 && string_set(&change->forgotten_note, forgets) == 0) {
                start(change);
                return;
        }
        give_up(change, -ENOMEM);
}

void change_remove_certificate(Manage *manage, const char *id, const char *forgets, manage_done done,
                               void *userdata)
{
        change_remove(manage, id, false, forgets, done, userdata);
}

void change_remove_backend(Manage *manage, const char *name, manage_done done, void *userdata)
{
        change_remove(manage, name, true, NULL, done, userdata);
}
