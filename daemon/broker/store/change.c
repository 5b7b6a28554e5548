/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes: built on the loop as copies, run on the lane as one transaction, told on the loop.
 *
 * Invariant: what crosses to the lane is the change's own, and nobody else's until `done` has run.
 * A change is done when COMMIT has returned and the store is where it was (place.c), and not done at all when anything
 * before COMMIT has failed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "broker/store/room.h"

/* A step has exactly one of: certificate, backend, name (what it deletes, or a note's key). */
typedef struct Step Step;
struct Step {
        int (*run_worker)(Database *database, const Step *step, Failure *failure);
        Certificate *certificate;
        Backend *backend;
        char *name, *value;
};

struct StoreChange {
        Store *store;
        Step *steps;
        size_t n;
        store_done done;
        void *userdata;
        Failure failure; /* written by the lane, read by the loop after it */
};

/* --- on the lane --- */

static int put_chain_worker(Database *database, const Certificate *certificate,
                            const Generation *generation, Failure *failure)
{
        for (size_t i = 0; i < generation->chain.n; i++) {
                int r;

                r = database_run(database,
                                 database_bind(database, STATEMENT_PUT_CHAIN, "siib",
                                               certificate->id, generation->number, (uint64_t)i,
                                               &generation->chain.items[i]),
                                 failure);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int algorithms_to_text(uint32_t algorithms, char **ret_text)
{
        CLEANUP(strv_freep) char **names = NULL;
        int r;

        for (Algorithm a = ALGORITHM_NONE + 1; a < _ALGORITHM_N; a++) {
                if (!(algorithms & ALGORITHM_BIT(a)))
                        continue;
                r = strv_append(&names, algorithm_name(a));
                if (r < 0)
                        return r;
        }
        *ret_text = strv_join(names, " ");
        return *ret_text ? 0 : -ENOMEM;
}

static int put_generation_worker(Database *database, const Certificate *certificate,
                                 const Generation *generation, Failure *failure)
{
        CLEANUP(freep) char *algorithms = NULL;
        const char *key_type = "";
        int r;

        if (generation->key_type != KEY_TYPE_NONE)
                key_type = key_type_name(generation->key_type);
        r = algorithms_to_text(generation->algorithms, &algorithms);
        if (r < 0)
                return fail(failure, r, "no memory to store certificate '%s'", certificate->id);
        r = database_run(database,
                         database_bind(database, STATEMENT_PUT_GENERATION, "sisssbiiiss",
                                       certificate->id, generation->number, generation->key_uri,
                                       key_type, algorithms, &generation->spki,
                                       generation->usable_until_sec, (uint64_t)generation->retired,
                                       (uint64_t)generation->extractable, generation->warning,
                                       generation->lost_names),
                         failure);
        return r == 0 ? put_chain_worker(database, certificate, generation, failure) : r;
}

static int put_certificate_worker(Database *database, const Step *step, Failure *failure)
{
        const Certificate *certificate = step->certificate;
        int r;

        r = database_run(database,
                         database_bind(database, STATEMENT_PUT_CERTIFICATE, "sssisisiis",
                                       certificate->id, certificate->source,
                                       certificate->registered_uri, (uint64_t)certificate->enabled,
                                       key_verdict_name(certificate->verdict), certificate->current,
                                       certificate->last_error, certificate->last_refresh_sec,
                                       certificate->next_refresh_sec, certificate->withheld),
                         failure);
        if (r == 0)
                r = database_run(
                        database,
                        database_bind(database, STATEMENT_DELETE_GENERATIONS, "s", certificate->id),
                        failure);
        for (size_t i = 0; r == 0 && i < certificate->n_generations; i++)
                r = put_generation_worker(database, certificate, certificate->generations[i],
                                          failure);
        return r;
}

static int put_list_worker(Database *database, const char *name, const char *kind,
                           char *const *values, Failure *failure)
{
        for (size_t i = 0; values && values[i]; i++) {
                int r;

                r = database_run(database,
                                 database_bind(database, STATEMENT_PUT_BACKEND_LIST, "ssis", name,
                                               kind, (uint64_t)i, values[i]),
                                 failure);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int put_backend_worker(Database *database, const Step *step, Failure *failure)
{
        const Backend *backend = step->backend;
        int r;

        r = database_run(
                database,
                database_bind(database, STATEMENT_PUT_BACKEND, "sssiissi", backend->name,
                              string_or_empty(backend->url), string_or_empty(backend->certificate),
                              (uint64_t)backend->validate_chain, (uint64_t)backend->validate_name,
                              string_or_empty(backend->ca_file),
                              string_or_empty(backend->skip_reason), backend->skip_until_sec),
                failure);
        if (r == 0)
                r = database_run(
                        database,
                        database_bind(database, STATEMENT_DELETE_BACKEND_LIST, "s", backend->name),
                        failure);
        if (r == 0)
                r = put_list_worker(database, backend->name, STORE_SERVER_NAME,
                                    backend->server_names, failure);
        if (r == 0)
                r = put_list_worker(database, backend->name, STORE_SERVER_THUMBPRINT,
                                    backend->server_thumbprints, failure);
        return r;
}

static int delete_certificate_worker(Database *database, const Step *step, Failure *failure)
{
        return database_run(database,
                            database_bind(database, STATEMENT_DELETE_CERTIFICATE, "s", step->name),
                            failure);
}

static int delete_backend_worker(Database *database, const Step *step, Failure *failure)
{
        return database_run(database,
                            database_bind(database, STATEMENT_DELETE_BACKEND, "s", step->name),
                            failure);
}

static int put_note_worker(Database *database, const Step *step, Failure *failure)
{
        if (!step->value)
                return database_run(database,
                                    database_bind(database, STATEMENT_DELETE_NOTE, "s", step->name),
                                    failure);
        return database_run(
                database,
                database_bind(database, STATEMENT_PUT_NOTE, "ss", step->name, step->value),
                failure);
}

static void roll_back_worker(Database *database)
{
        Failure ignored = { 0 };

        /* Some errors have rolled back already; then this one fails, and that is fine. */
        (void)database_run(database, database_bind(database, STATEMENT_ROLLBACK, ""), &ignored);
}

/* One that fails may have been written whole, and only not be known to be on the disk. */
static int commit_worker(Database *database, Failure *failure)
{
        int r = database_run(database, database_bind(database, STATEMENT_COMMIT, ""), failure);
        size_t n = strlen(failure->text);
        bool is_unsure;

        if (r == 0)
                return 0;
        is_unsure = database_is_unsure(database);
        roll_back_worker(database);
        if (is_unsure && database_overwrite(database) < 0)
                snprintf(failure->text + n, sizeof(failure->text) - n,
                         ". It is not in force; a restart may find it stored all the same");
        return r;
}

static int run_transaction_worker(StoreChange *change)
{
        Database *database = change->store->database;
        int r;

        r = database_run(database, database_bind(database, STATEMENT_BEGIN, ""), &change->failure);
        if (r != 0)
                return r;
        for (size_t i = 0; r == 0 && i < change->n; i++)
                r = change->steps[i].run_worker(database, &change->steps[i], &change->failure);
        if (r == 0)
                return commit_worker(database, &change->failure);
        roll_back_worker(database);
        return r;
}

/* What fails may have written to the files as well. */
static int transaction_worker(StoreChange *change)
{
        Database *database = change->store->database;
        Failure *failure = &change->failure, ignored = { 0 };
        int r = place_check(&database->place, database->path, failure);

        if (r != 0)
                return r;
        r = run_transaction_worker(change);
        if (r == 0)
                return place_check_after(&database->place, database->path, failure);
        (void)place_check_after(&database->place, database->path, &ignored);
        return r;
}

static int change_work(void *userdata)
{
        return transaction_worker(userdata);
}

/* --- on the loop --- */

static void change_on_done(void *userdata, int r)
{
        CLEANUP(store_change_freep) StoreChange *change = userdata;

        if (r == 0)
                change->failure.status = 0;
        else if (change->failure.status == 0)
                fail(&change->failure, r, "the store could not be written");
        snprintf(change->store->problem, sizeof(change->store->problem), "%s",
                 change->failure.status == 0 ? "" : change->failure.text);
        if (change->done)
                change->done(change->userdata, &change->failure);
}

int store_change_new(Store *store, StoreChange **ret_change)
{
        StoreChange *change;

        change = calloc(1, sizeof(*change));
        if (!change)
                return -ENOMEM;
        change->store = store;
        *ret_change = change;
        return 0;
}

static void step_deinit(Step *step)
{
        certificate_free(step->certificate);
        backend_free(step->backend);
        free(step->name);
        free(step->value);
}

StoreChange *store_change_free(StoreChange *change)
{
        if (!change)
                return NULL;
        for (size_t i = 0; i < change->n; i++)
                step_deinit(&change->steps[i]);
        free(change->steps);
        free(change);
        return NULL;
}

/* Takes the members of *step on success, and ends them otherwise. */
static int add_step(StoreChange *change, Step *step, int r)
{
        Step *steps = NULL;

        if (r == 0) {
                steps = reallocarray(change->steps, change->n + 1, sizeof(*steps));
                if (!steps)
                        r = -ENOMEM;
        }
        if (r < 0) {
                step_deinit(step);
                return r;
        }
        change->steps = steps;
        change->steps[change->n++] = *step;
        return 0;
}

int store_change_put_certificate(StoreChange *change, const Certificate *certificate)
{
        Step step = { .run_worker = put_certificate_worker };

        return add_step(change, &step, certificate_copy(certificate, &step.certificate));
}

int store_change_put_backend(StoreChange *change, const Backend *backend)
{
        Step step = { .run_worker = put_backend_worker };

        return add_step(change, &step, backend_copy(backend, &step.backend));
}

int store_change_delete_certificate(StoreChange *change, const char *id)
{
        Step step = { .run_worker = delete_certificate_worker };

        return add_step(change, &step, string_set(&step.name, id));
}

int store_change_delete_backend(StoreChange *change, const char *name)
{
        Step step = { .run_worker = delete_backend_worker };

        return add_step(change, &step, string_set(&step.name, name));
}

int store_change_put_note(StoreChange *change, const char *key, const char *value)
{
        Step step = { .run_worker = put_note_worker };
        int r;

        r = string_set(&step.name, key);
        if (r == 0)
                r = string_set(&step.value, value);
        return add_step(change, &step, r);
}

void store_accompany(Store *store, const char *key, store_companion companion, void *userdata)
{
        store->companion_key = key;
        store->companion = companion;
        store->companion_userdata = userdata;
}

static int accompany(StoreChange *change)
{
        const Store *store = change->store;
        bool is_of_object = false;
        char value[128];

        for (size_t i = 0; i < change->n; i++)
                is_of_object = is_of_object || change->steps[i].run_worker != put_note_worker;
        if (!is_of_object || !store->companion ||
            !store->companion(store->companion_userdata, value, sizeof(value)))
                return 0;
        return store_change_put_note(change, store->companion_key, value);
}

int store_commit(StoreChange *change, store_done done, void *userdata)
{
        int r = accompany(change);

        if (r < 0)
                return r;
        change->done = done;
        change->userdata = userdata;
        return lane_submit(change->store->lane, change_work, change_on_done, change);
}
