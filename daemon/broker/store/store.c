/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: a lock on the state directory, the database in it, and reading it whole at start.
 *
 * Invariant: while a store is open, no other certbrokerd has one in the same directory. Reading is
 * for the time before the loop runs; after that the database is the lane's, and this file does not
 * touch it.
 */
#include "broker/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/strings.h"
#include "broker/store/database.h"
#include "broker/store/room.h"

/* --- opening --- */

static int take_lock(const char *directory, int *ret_fd, Failure *failure)
{
        CLEANUP(closep) int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = directory_fd < 0 ? -errno : aside_lock(directory_fd, "lock", ret_fd);

        if (r == -EWOULDBLOCK)
                return fail(failure, CB_IN_USE,
                            "another certbrokerd is using the state directory %s; stop it, or give "
                            "this one a state-directory of its own",
                            directory);
        if (r < 0)
                return fail(
                        failure, CB_FAILED,
                        "the state directory %s cannot be used: %s; it must exist and be writable "
                        "for certbrokerd",
                        directory, strerrordesc_np(-r));
        return 0;
}

int store_open(const char *directory, Lane *lane, Store **ret_store, Failure *failure)
{
        CLEANUP(store_freep) Store *store = NULL;
        CLEANUP(freep) char *path = NULL;
        int r;

        store = calloc(1, sizeof(*store));
        if (!store)
                return -ENOMEM;
        store->lane = lane;
        store->lock_fd = -1;
        r = take_lock(directory, &store->lock_fd, failure);
        if (r != 0)
                return r;
        if (asprintf(&path, "%s/certbroker.sqlite", directory) < 0)
                return -ENOMEM;
        r = database_open(path, &store->database, failure);
        if (r != 0)
                return r;
        *ret_store = TAKE(store);
        return 0;
}

Store *store_free(Store *store)
{
        if (!store)
                return NULL;
        database_free(store->database);
        close_fd(store->lock_fd);
        free(store);
        return NULL;
}

/* --- reading --- */

static int fail_damaged(const Store *store, const char *what, const char *id, Failure *failure)
{
        return fail(failure, CB_FAILED,
                    "the store %s is damaged: %s of '%s' cannot be understood; restore a backup",
                    store->database->path, what, id);
}

/* Names that a newer certbrokerd wrote and this one does not know are left out. */
static uint32_t algorithms_from_text(const char *text)
{
        uint32_t algorithms = 0;

        for (Algorithm a = ALGORITHM_NONE + 1; a < _ALGORITHM_N; a++) {
                const char *name = algorithm_name(a);
                size_t n = strlen(name);

                for (const char *p = text; (p = strstr(p, name)); p += n) {
                        if ((p == text || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
                                algorithms |= ALGORITHM_BIT(a);
                }
        }
        return algorithms;
}

static int read_chain(Store *store, const Certificate *certificate, Generation *generation,
                      Failure *failure)
{
        CLEANUP(database_reset)
        sqlite3_stmt *rows = database_bind(store->database, STATEMENT_READ_CHAIN, "si",
                                           certificate->id, generation->number);
        int row, r;

        for (;;) {
                const void *der;
                size_t n;

                r = database_step(store->database, rows, &row, failure);
                if (r != 0 || !row)
                        return r;
                column_bytes(rows, 0, &der, &n);
                r = bytes_list_append(&generation->chain, der, n);
                if (r != 0)
                        return r;
        }
}

static int read_generation(Store *store, sqlite3_stmt *row, Certificate *certificate,
                           Failure *failure)
{
        CLEANUP(generation_freep) Generation *generation = NULL;
        const char *key_type = string_or_empty(column_text(row, 2));
        const void *spki;
        size_t n_spki;
        int r;

        generation = calloc(1, sizeof(*generation));
        if (!generation)
                return -ENOMEM;
        generation->number = column_number(row, 0);
        generation->key_type = key_type_from_name(key_type);
        if (generation->key_type == KEY_TYPE_NONE && *key_type != '\0')
                return fail_damaged(store, "the key type", certificate->id, failure);
        generation->algorithms = algorithms_from_text(string_or_empty(column_text(row, 3)));
        generation->usable_until_sec = column_number(row, 5);
        generation->retired = column_number(row, 6) != 0;
        generation->extractable = column_number(row, 7) != 0;

        r = string_set(&generation->key_uri, column_text(row, 1));
        if (r == 0)
                r = string_set(&generation->warning, column_text(row, 8));
        if (r == 0)
                r = string_set(&generation->lost_names, column_text(row, 9));
        column_bytes(row, 4, &spki, &n_spki);
        if (r == 0)
                r = bytes_set(&generation->spki, spki, n_spki);
        if (r == 0)
                r = read_chain(store, certificate, generation, failure);
        if (r == 0)
                r = certificate_add_generation(certificate, generation);
        if (r == 0)
                generation = NULL;
        return r;
}

static int read_generations(Store *store, Certificate *certificate, Failure *failure)
{
        CLEANUP(database_reset)
        sqlite3_stmt *rows =
                database_bind(store->database, STATEMENT_READ_GENERATIONS, "s", certificate->id);
        int row, r;

        for (;;) {
                r = database_step(store->database, rows, &row, failure);
                if (r != 0 || !row)
                        return r;
                r = read_generation(store, rows, certificate, failure);
                if (r != 0)
                        return r;
        }
}

static int read_certificate(Store *store, sqlite3_stmt *row, Certificate **ret_certificate,
                            Failure *failure)
{
        CLEANUP(certificate_freep) Certificate *certificate = NULL;
        int r;

        r = certificate_new(column_text(row, 0), column_text(row, 1), &certificate);
        if (r < 0)
                return r;
        certificate->enabled = column_number(row, 3) != 0;
        if (!key_verdict_parse(column_text(row, 4), &certificate->verdict))
                return fail_damaged(store, "the verdict of the key", certificate->id, failure);
        certificate->current = column_number(row, 5);
        certificate->last_refresh_sec = column_number(row, 7);
        certificate->next_refresh_sec = column_number(row, 8);
        r = string_set(&certificate->registered_uri, column_text(row, 2));
        if (r == 0)
                r = string_set(&certificate->last_error, column_text(row, 6));
        if (r == 0)
                r = string_set(&certificate->withheld, column_text(row, 9));
        if (r == 0)
                r = read_generations(store, certificate, failure);
        if (r != 0)
                return r;
        if (certificate->current != 0 &&
            !certificate_find_generation(certificate, certificate->current))
                return fail_damaged(store, "the current generation", certificate->id, failure);
        *ret_certificate = TAKE(certificate);
        return 0;
}

static int read_list(Store *store, const char *name, const char *kind, char ***list,
                     Failure *failure)
{
        CLEANUP(database_reset)
        sqlite3_stmt *rows =
                database_bind(store->database, STATEMENT_READ_BACKEND_LIST, "ss", name, kind);
        int row, r;

        for (;;) {
                r = database_step(store->database, rows, &row, failure);
                if (r != 0 || !row)
                        return r;
                r = strv_append(list, column_text(rows, 0));
                if (r != 0)
                        return r;
        }
}

static int read_backend(Store *store, sqlite3_stmt *row, Backend **ret_backend, Failure *failure)
{
        CLEANUP(backend_freep) Backend *backend = NULL;
        int r;

        r = backend_new(column_text(row, 0), &backend);
        if (r < 0)
                return r;
        backend->validate_chain = column_number(row, 3) != 0;
        backend->validate_name = column_number(row, 4) != 0;
        backend->skip_until_sec = column_number(row, 7);
        r = string_set(&backend->url, column_text(row, 1));
        if (r == 0)
                r = string_set(&backend->certificate, column_text(row, 2));
        if (r == 0)
                r = string_set(&backend->ca_file, column_text(row, 5));
        if (r == 0)
                r = string_set(&backend->skip_reason, column_text(row, 6));
        if (r != 0)
                return r;
        /* Not always was what is set one line of text. */
        text_clean(backend->ca_file, false);
        text_clean(backend->skip_reason, false);
        r = read_list(store, backend->name, STORE_SERVER_NAME, &backend->server_names,
                              failure);
        if (r == 0)
                r = read_list(store, backend->name, STORE_SERVER_THUMBPRINT,
                              &backend->server_thumbprints, failure);
        if (r != 0)
                return r;
        *ret_backend = TAKE(backend);
        return 0;
}

/* One row to whoever wants it; what is handed out is theirs, whatever they return. */
typedef int (*hand_out)(Store *store, sqlite3_stmt *row, const StoreReader *reader, void *userdata,
                        Failure *failure);

static int hand_out_certificate(Store *store, sqlite3_stmt *row, const StoreReader *reader,
                                void *userdata, Failure *failure)
{
        Certificate *certificate = NULL;
        int r;

        r = read_certificate(store, row, &certificate, failure);
        return r == 0 ? reader->certificate(userdata, certificate) : r;
}

static int hand_out_backend(Store *store, sqlite3_stmt *row, const StoreReader *reader,
                            void *userdata, Failure *failure)
{
        Backend *backend = NULL;
        int r;

        r = read_backend(store, row, &backend, failure);
        return r == 0 ? reader->backend(userdata, backend) : r;
}

static int hand_out_note(Store *store, sqlite3_stmt *row, const StoreReader *reader, void *userdata,
                         Failure *failure)
{
        (void)store;
        (void)failure;
        if (!reader->note)
                return 0;
        return reader->note(userdata, column_text(row, 0), column_text(row, 1));
}

static int read_all(Store *store, Statement statement, hand_out hand, const StoreReader *reader,
                    void *userdata, Failure *failure)
{
        CLEANUP(database_reset)
        sqlite3_stmt *rows = database_bind(store->database, statement, "");
        int row, r;

        for (;;) {
                r = database_step(store->database, rows, &row, failure);
                if (r != 0 || !row)
                        return r;
                r = hand(store, rows, reader, userdata, failure);
                if (r != 0)
                        return r;
        }
}

int store_read(Store *store, const StoreReader *reader, void *userdata, Failure *failure)
{
        int r;

        assert_always(lane_pending(store->lane) == 0);
        r = read_all(store, STATEMENT_READ_CERTIFICATES, hand_out_certificate, reader, userdata,
                     failure);
        if (r == 0)
                r = read_all(store, STATEMENT_READ_BACKENDS, hand_out_backend, reader, userdata,
                             failure);
        if (r == 0)
                r = read_all(store, STATEMENT_READ_NOTES, hand_out_note, reader, userdata, failure);
        if (r == -EEXIST)
                return fail(failure, CB_FAILED,
                            "the store %s is damaged: it has one name twice; restore a backup",
                            store->database->path);
        if (r < 0)
                return fail(failure, r, "the store %s cannot be read: %s", store->database->path,
                            strerror(-r));
        return r;
}

int store_read_notes(Store *store, int (*note)(void *userdata, const char *key, const char *value),
                     void *userdata, Failure *failure)
{
        const StoreReader reader = { .note = note };

        assert_always(lane_pending(store->lane) == 0);
        return read_all(store, STATEMENT_READ_NOTES, hand_out_note, &reader, userdata, failure);
}

/* The last transaction may be long ago. */
const char *store_problem(Store *store)
{
        if (!store->problem[0] && place_is_lost(&store->database->place, store->database->path))
                return "its file was removed or replaced while certbrokerd runs";
        return store->problem;
}

bool store_is_new(const Store *store)
{
        return store->database->is_new;
}
