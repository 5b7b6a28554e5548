/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The room's door: construction, configuration, the observer, and filling the catalog from the store at start.
 * What changes something is in the file named after what it changes.
 */
#include "broker/manage/manage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "broker/manage/room.h"
#include "pki/name.h"
#include "pki/x509.h"

int manage_new(Catalog *catalog, Store *store, Sources *sources, Manage **ret_manage)
{
        Manage *manage = calloc(1, sizeof(*manage));

        if (!manage)
                return -ENOMEM;

        *manage = (Manage){
                .catalog = catalog,
                .store = store,
                .sources = sources,
                .grace_usec = 24 * 3600 * USEC_PER_SEC,
                .timeout_usec = 20 * USEC_PER_SEC,
        };
        tickets_init(&manage->tickets);
        LIST_INIT(&manage->claims);
        map_init(&manage->credentials);
        map_init(&manage->seen);
        map_init(&manage->sweeps);
        map_init(&manage->lines);
        map_init(&manage->intents);
        map_init(&manage->refreshing);
        map_init(&manage->served);
        map_init(&manage->warned);
        map_init(&manage->due);
        *ret_manage = manage;
        return 0;
}

Manage *manage_free(Manage *manage)
{
        if (!manage)
                return NULL;

        tickets_deinit(&manage->tickets);
        notice_deinit(&manage->credentials);
        notice_deinit(&manage->seen);
        sweep_deinit(&manage->sweeps);
        due_deinit(&manage->lines);
        intents_deinit(&manage->intents);
        endings_deinit(&manage->endings);
        refreshing_deinit(&manage->refreshing);
        served_deinit(&manage->served);
        notice_deinit(&manage->warned);
        rotations_deinit(&manage->due);
        free(manage->warnings_sec);
        withholding_deinit(&manage->withholding);
        free(manage);
        return NULL;
}

void manage_configure(Manage *manage, const Config *config)
{
        manage->grace_usec = config->rotation_grace_usec;
        manage->timeout_usec = config->request_timeout_usec;
        if (expiry_configure(manage, config) == 0)
                notice_rearm(manage);
        missing_mark(manage);
}

void manage_observe(Manage *manage, const ManageEvents *events, void *userdata)
{
        manage->events = *events;
        manage->events_userdata = userdata;
}

int manage_may_go_on(const Manage *manage, void *caller, Failure *failure)
{
        if (!caller || !manage->events.may_go_on)
                return 0;
        return manage->events.may_go_on(manage->events_userdata, caller, failure);
}

uint64_t manage_owner(const Manage *manage, void *caller)
{
        if (!caller || !manage->events.uid_of)
                return 0;
        return WIRE_OWNER(manage->events.uid_of(manage->events_userdata, caller));
}

int manage_may_manage(const Manage *manage, void *caller, ObjectKind kind, const char *name,
                      Failure *failure)
{
        if (!caller || !manage->events.may_manage)
                return 0;
        return manage->events.may_manage(manage->events_userdata, caller, kind, name, failure);
}

int manage_refuse_name(Failure *failure, ObjectKind kind, const char *name)
{
        CLEANUP(freep) char *shown = text_escape(name, strlen(name), 64);

        return fail(failure, CB_INVALID_ARGUMENT,
                    "'%s' is no name for a %s: 1 to %d characters of A-Z a-z 0-9 . _ -, the first "
                    "a letter or a digit, "
                    "and not 40 or 64 hex digits",
                    string_or_empty(shown), object_kind_word(kind), IDENTIFIER_LENGTH_MAX);
}

/* --- from the store --- */

#define GOES_ON_EVERY 256

typedef struct Loading {
        Manage *manage;
        void (*goes_on)(void);
        size_t n;
        Failure *failure;
} Loading;

/* The facts are not stored: they follow from the chain. */
static int read_facts(Certificate *certificate, Failure *failure)
{
        for (size_t i = 0; i < certificate->n_generations; i++) {
                Generation *generation = certificate->generations[i];
                int r;

                if (generation->chain.n == 0)
                        continue;

                r = pki_chain_facts(&generation->chain, &generation->spki, &generation->facts,
                                    failure);
                if (r < 0)
                        return r;
                if (r > 0)
                        return fail(failure, CB_FAILED,
                                    "the store holds a chain for certificate '%s' that cannot be "
                                    "read; restore a backup",
                                    certificate->id);
        }
        return 0;
}

static int on_certificate(void *userdata, Certificate *certificate)
{
        CLEANUP(certificate_freep) Certificate *read = certificate;
        Loading *loading = userdata;
        int r;

        r = read_facts(read, loading->failure);
        if (r != 0)
                return r;

        if (loading->n++ % GOES_ON_EVERY == 0)
                loading->goes_on();
        r = catalog_set_certificate(loading->manage->catalog, read);
        if (r == 0)
                TAKE(read);
        return r;
}

static int on_backend(void *userdata, Backend *backend)
{
        CLEANUP(backend_freep) Backend *read = backend;
        Loading *loading = userdata;
        int r;

        r = catalog_set_backend(loading->manage->catalog, read);
        if (r == 0)
                TAKE(read);
        return r;
}

static int on_note(void *userdata, const char *key, const char *value)
{
        Loading *loading = userdata;

        int r = expiry_read_note(loading->manage, key, value);

        if (r == 0)
                r = served_read_note(loading->manage, key, value);
        if (r == 0)
                r = ending_read_note(loading->manage, key, value);
        return r == 0 ? intent_read_note(loading->manage, key, value) : r;
}

int manage_load(Manage *manage, void (*goes_on)(void), Failure *failure)
{
        static const StoreReader reader = { .certificate = on_certificate,
                                            .backend = on_backend,
                                            .note = on_note };
        Loading loading = { .manage = manage, .goes_on = goes_on, .failure = failure };
        int r;

        r = store_read(manage->store, &reader, &loading, failure);
        if (r == 0)
                notice_all(manage);
        return r;
}

int manage_selector(const char *selector, char **ret_normal, Failure *why)
{
        static const char subject[] = "subject=";
        CLEANUP(freep) char *name = NULL;
        int r = 0;

        if (strncmp(selector, subject, strlen(subject)) == 0)
                r = pki_name_normal(selector + strlen(subject), &name, why);
        if (r < 0)
                return r;
        if (!name)
                return string_set(ret_normal, selector);
        if (asprintf(ret_normal, "%s%s", subject, name) >= 0)
                return 0;
        *ret_normal = NULL;
        return -ENOMEM;
}
