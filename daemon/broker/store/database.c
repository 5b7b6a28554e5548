/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SQLite file: opening, checking and migrating it, and the statements on it.
 *
 * Invariants: every transaction is on the disk when COMMIT returns (WAL, synchronous=FULL); a file
 * of a newer schema, of another program, or damaged is not written to. All SQL is in this file,
 * constant, and takes what varies as bound values only.
 */
#include "broker/store/database.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/strings.h"

/* "CBst": this file is ours (PRAGMA application_id). */
#define APPLICATION_ID   0x43427374
#define TEXT_OF(number)  TEXT_OF_(number)
#define TEXT_OF_(number) #number

/*
 * Migration i makes schema version i + 1 of version i, in one transaction with the number itself.
 */
static const char *const migrations[] = {
        "CREATE TABLE certificate ("
        " id TEXT NOT NULL PRIMARY KEY,"
        " source TEXT NOT NULL,"
        " registered_uri TEXT,"
        " enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),"
        " extractable INTEGER NOT NULL CHECK (extractable IN (0, 1)),"
        " key_gone INTEGER NOT NULL CHECK (key_gone IN (0, 1)),"
        " current INTEGER NOT NULL,"
        " last_error TEXT,"
        " last_refresh INTEGER NOT NULL,"
        " next_refresh INTEGER NOT NULL"
        ") STRICT, WITHOUT ROWID;"

        "CREATE TABLE generation ("
        " certificate TEXT NOT NULL REFERENCES certificate (id) ON DELETE CASCADE,"
        " number INTEGER NOT NULL CHECK (number <> 0),"
        " key_uri TEXT,"
        " key_type TEXT NOT NULL,"
        " algorithms TEXT NOT NULL," /* names, a blank between them */
        " spki BLOB NOT NULL,"
        " usable_until INTEGER NOT NULL,"
        " retired INTEGER NOT NULL CHECK (retired IN (0, 1)),"
        " PRIMARY KEY (certificate, number)"
        ") STRICT, WITHOUT ROWID;"

        /* With rowids: the rows are large. */
        "CREATE TABLE chain ("
        " certificate TEXT NOT NULL,"
        " generation INTEGER NOT NULL,"
        " position INTEGER NOT NULL," /* 0 is the leaf */
        " der BLOB NOT NULL,"
        " PRIMARY KEY (certificate, generation, position),"
        " FOREIGN KEY (certificate, generation) REFERENCES generation (certificate, number)"
        "  ON DELETE CASCADE"
        ") STRICT;"

        /* Deferred: one transaction may remove both, in any order. */
        "CREATE TABLE backend ("
        " name TEXT NOT NULL PRIMARY KEY,"
        " url TEXT NOT NULL,"
        " certificate TEXT NOT NULL REFERENCES certificate (id) DEFERRABLE INITIALLY DEFERRED,"
        " validate_chain INTEGER NOT NULL CHECK (validate_chain IN (0, 1)),"
        " validate_name INTEGER NOT NULL CHECK (validate_name IN (0, 1)),"
        " ca_file TEXT NOT NULL,"
        " skip_reason TEXT NOT NULL,"
        " skip_until INTEGER NOT NULL"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX backend_by_certificate ON backend (certificate);"

        "CREATE TABLE backend_list ("
        " backend TEXT NOT NULL REFERENCES backend (name) ON DELETE CASCADE,"
        " kind TEXT NOT NULL CHECK (kind IN ('server-name', 'server-thumbprint')),"
        " position INTEGER NOT NULL,"
        " value TEXT NOT NULL,"
        " PRIMARY KEY (backend, kind, position)"
        ") STRICT, WITHOUT ROWID;"

        "CREATE TABLE note ("
        " key TEXT NOT NULL PRIMARY KEY,"
        " value TEXT NOT NULL"
        ") STRICT, WITHOUT ROWID;",

        "ALTER TABLE certificate ADD COLUMN verdict TEXT NOT NULL DEFAULT 'usable'"
        " CHECK (verdict IN ('usable', 'gone', 'disabled', 'expired', 'pending'));"
        "UPDATE certificate SET verdict = 'gone' WHERE key_gone = 1;"
        "ALTER TABLE certificate DROP COLUMN key_gone;",

        "ALTER TABLE generation ADD COLUMN extractable INTEGER NOT NULL DEFAULT 0"
        " CHECK (extractable IN (0, 1));"
        "UPDATE generation SET extractable ="
        " (SELECT extractable FROM certificate WHERE id = generation.certificate);"
        "ALTER TABLE certificate DROP COLUMN extractable;",

        "ALTER TABLE certificate ADD COLUMN withheld TEXT;",

        "ALTER TABLE generation ADD COLUMN warning TEXT;"
        "ALTER TABLE generation ADD COLUMN lost_names TEXT;",
};

/* Upserts where a row is referred to: a replaced row would take its dependants along. */
static const char *const statement_texts[_STATEMENT_N] = {
        [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
        [STATEMENT_COMMIT] = "COMMIT",
        [STATEMENT_ROLLBACK] = "ROLLBACK",
        [STATEMENT_PUT_CERTIFICATE] =
                "INSERT INTO certificate (id, source, registered_uri, enabled, verdict, current,"
                " last_error, last_refresh, next_refresh, withheld)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
                " ON CONFLICT (id) DO UPDATE SET source = ?2, registered_uri = ?3, enabled = ?4,"
                " verdict = ?5, current = ?6, last_error = ?7, last_refresh = ?8,"
                " next_refresh = ?9, withheld = ?10",
        [STATEMENT_DELETE_CERTIFICATE] = "DELETE FROM certificate WHERE id = ?1",
        [STATEMENT_DELETE_GENERATIONS] = "DELETE FROM generation WHERE certificate = ?1",
        [STATEMENT_PUT_GENERATION] =
                "INSERT INTO generation (certificate, number, key_uri, key_type, algorithms, spki,"
                " usable_until, retired, extractable, warning, lost_names)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        [STATEMENT_PUT_CHAIN] = "INSERT INTO chain (certificate, generation, position, der)"
                                " VALUES (?1, ?2, ?3, ?4)",
        [STATEMENT_PUT_BACKEND] =
                "INSERT INTO backend (name, url, certificate, validate_chain, validate_name, "
                "ca_file,"
                " skip_reason, skip_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
                " ON CONFLICT (name) DO UPDATE SET url = ?2, certificate = ?3, validate_chain = ?4,"
                " validate_name = ?5, ca_file = ?6, skip_reason = ?7, skip_until = ?8",
        [STATEMENT_DELETE_BACKEND] = "DELETE FROM backend WHERE name = ?1",
        [STATEMENT_DELETE_BACKEND_LIST] = "DELETE FROM backend_list WHERE backend = ?1",
        [STATEMENT_PUT_BACKEND_LIST] =
                "INSERT INTO backend_list (backend, kind, position, value) VALUES (?1, ?2, ?3, ?4)",
        [STATEMENT_PUT_NOTE] = "INSERT INTO note (key, value) VALUES (?1, ?2)"
                               " ON CONFLICT (key) DO UPDATE SET value = ?2",
        [STATEMENT_DELETE_NOTE] = "DELETE FROM note WHERE key = ?1",
        [STATEMENT_READ_CERTIFICATES] =
                "SELECT id, source, registered_uri, enabled, verdict, current,"
                " last_error, last_refresh, next_refresh, withheld FROM certificate ORDER BY id",
        [STATEMENT_READ_GENERATIONS] =
                "SELECT number, key_uri, key_type, algorithms, spki, usable_until, retired,"
                " extractable, warning, lost_names FROM generation WHERE certificate = ?1 ORDER BY number",
        [STATEMENT_READ_CHAIN] = "SELECT der FROM chain WHERE certificate = ?1 AND generation = ?2"
                                 " ORDER BY position",
        [STATEMENT_READ_BACKENDS] = "SELECT name, url, certificate, validate_chain, validate_name, "
                                    "ca_file, skip_reason,"
                                    " skip_until FROM backend ORDER BY name",
        [STATEMENT_READ_BACKEND_LIST] = "SELECT value FROM backend_list WHERE backend = ?1 AND"
                                        " kind = ?2 ORDER BY position",
        [STATEMENT_READ_NOTES] = "SELECT key, value FROM note ORDER BY key",
};

/* --- errors --- */

/* What the system has said of the write-ahead log, which all is written to, for the last time. */
static int errno_of_log(Database *database)
{
        sqlite3_file *file = NULL;
        int error = 0;

        (void)sqlite3_file_control(database->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
        if (file && file->pMethods)
                (void)file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
        return error;
}

/* SQLite keeps that of errors of these two kinds, but not of a COMMIT's; a full disk has one word. */
static int errno_of(Database *database, int code)
{
        switch (code & 0xff) {
        case SQLITE_FULL:
                return ENOSPC;
        case SQLITE_IOERR:
        case SQLITE_CANTOPEN:
                return sqlite3_system_errno(database->handle) ?: errno_of_log(database);
        default:
                return 0;
        }
}

static const char *advice_for_disk(int error)
{
        switch (error) {
        case ENOSPC:
                return "free space on its file system and try again";
        case EDQUOT:
                return "free space, or raise the quota of certbrokerd's user, and try again";
        case EROFS:
                return "its file system is read-only: see the system's log, and make it writable again";
        default:
                return "its disk or file system fails; see the system's log";
        }
}

/* SQLite's codes are translated here and nowhere else. */
static const char *advice_for(int code, int error)
{
        switch (code & 0xff) {
        case SQLITE_FULL:
        case SQLITE_IOERR:
                return advice_for_disk(error);
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_CANTOPEN:
        case SQLITE_AUTH:
                return "make it and its directory writable for certbrokerd";
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return "another program holds it; end that and try again";
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
        case SQLITE_ERROR:      /* a table that is not there */
        case SQLITE_CONSTRAINT: /* rows that do not fit each other */
                return "it is damaged: stop certbrokerd and restore a backup, or move it aside "
                       "(with "
                       "its -wal and -shm) to begin with an empty one";
        default:
                return "this is a fault of certbrokerd's: report it, with this line";
        }
}

int database_fail(Database *database, const char *doing, Failure *failure)
{
        int code = sqlite3_extended_errcode(database->handle), error = errno_of(database, code);
        const char *said = error ? strerrordesc_np(error) : NULL;

        if ((code & 0xff) == SQLITE_NOMEM)
                return fail(failure, -ENOMEM, "%s the store %s: no memory", doing, database->path);
        return fail(failure, CB_FAILED, "%s the store %s failed: %s%s%s (SQLite %d); %s", doing,
                    database->path, sqlite3_errmsg(database->handle), said ? ": " : "",
                    string_or_empty(said), code, advice_for(code, error));
}

/* --- statements --- */

static int prepare_all(Database *database, Failure *failure)
{
        for (size_t i = 0; i < _STATEMENT_N; i++) {
                if (sqlite3_prepare_v3(database->handle, statement_texts[i], -1,
                                       SQLITE_PREPARE_PERSISTENT, &database->statements[i],
                                       NULL) != SQLITE_OK)
                        return database_fail(database, "reading", failure);
        }
        return 0;
}

sqlite3_stmt *database_bind(Database *database, Statement statement, const char *types, ...)
{
        sqlite3_stmt *bound = database->statements[statement];
        const char *text;
        const Bytes *bytes;
        va_list args;
        int r = SQLITE_OK;

        sqlite3_reset(bound);
        va_start(args, types);
        for (int i = 1; types[i - 1] && r == SQLITE_OK; i++) {
                switch (types[i - 1]) {
                case 's':
                        text = va_arg(args, const char *);
                        r = sqlite3_bind_text(bound, i, text, -1, SQLITE_STATIC);
                        break;
                case 'i':
                        r = sqlite3_bind_int64(bound, i, (sqlite3_int64)va_arg(args, uint64_t));
                        break;
                case 'b':
                        bytes = va_arg(args, const Bytes *);
                        r = sqlite3_bind_blob64(bound, i, bytes->data ?: (const void *)"", bytes->n,
                                                SQLITE_STATIC);
                        break;
                default:
                        assert_always(false);
                }
        }
        va_end(args);
        /* Only memory, or a value of more than 1 GB, which nothing here is. */
        return r == SQLITE_OK ? bound : NULL;
}

/* For SQLite, BEGIN and COMMIT read. */
static bool is_reading(const Database *database, const sqlite3_stmt *bound)
{
        for (Statement i = STATEMENT_READ_CERTIFICATES; i < _STATEMENT_N; i++)
                if (database->statements[i] == bound)
                        return true;
        return false;
}

int database_step(Database *database, sqlite3_stmt *bound, int *ret_row, Failure *failure)
{
        int r;

        if (!bound)
                return fail(failure, -ENOMEM, "no memory to use the store %s", database->path);
        switch (sqlite3_step(bound)) {
        case SQLITE_ROW:
                *ret_row = 1;
                return 0;
        case SQLITE_DONE:
                *ret_row = 0;
                sqlite3_reset(bound);
                return 0;
        default:
                r = database_fail(database, is_reading(database, bound) ? "reading" : "writing",
                                  failure);
                sqlite3_reset(bound);
                return r;
        }
}

int database_run(Database *database, sqlite3_stmt *bound, Failure *failure)
{
        int row = 0;
        int r;

        r = database_step(database, bound, &row, failure);
        if (r == 0 && row)
                sqlite3_reset(bound);
        return r;
}

/* Of what could not be written no COMMIT is in the log. */
bool database_is_unsure(Database *database)
{
        int code = sqlite3_extended_errcode(database->handle);

        return code != SQLITE_FULL && code != SQLITE_IOERR_WRITE;
}

int database_overwrite(Database *database)
{
        char text[64];

        /* Of all that can be set to what it is, this is written nevertheless. */
        snprintf(text, sizeof(text), "PRAGMA user_version = %zu", ELEMENTSOF(migrations));
        return sqlite3_exec(database->handle, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : -EIO;
}

void database_reset(sqlite3_stmt **bound)
{
        if (*bound)
                sqlite3_reset(*bound);
}

const char *column_text(sqlite3_stmt *row, int column)
{
        return (const char *)sqlite3_column_text(row, column);
}

uint64_t column_number(sqlite3_stmt *row, int column)
{
        return (uint64_t)sqlite3_column_int64(row, column);
}

void column_bytes(sqlite3_stmt *row, int column, const void **ret_data, size_t *ret_n)
{
        *ret_data = sqlite3_column_blob(row, column);
        *ret_n = (size_t)sqlite3_column_bytes(row, column);
}

/* --- opening --- */

static int execute(Database *database, const char *text, Failure *failure)
{
        if (sqlite3_exec(database->handle, text, NULL, NULL, NULL) != SQLITE_OK)
                return database_fail(database, "preparing", failure);
        return 0;
}

/* The first column of the first row of a pragma, as text. */
static int query(Database *database, const char *text, char *ret_value, size_t n, Failure *failure)
{
        sqlite3_stmt *statement = NULL;
        const char *value;
        int r = 0;

        if (sqlite3_prepare_v2(database->handle, text, -1, &statement, NULL) != SQLITE_OK)
                return database_fail(database, "opening", failure);
        if (sqlite3_step(statement) != SQLITE_ROW)
                r = database_fail(database, "opening", failure);
        else {
                value = (const char *)sqlite3_column_text(statement, 0);
                snprintf(ret_value, n, "%s", string_or_empty(value));
        }
        sqlite3_finalize(statement);
        return r;
}

static int query_number(Database *database, const char *text, long *ret_number, Failure *failure)
{
        char value[32];
        int r;

        r = query(database, text, value, sizeof(value), failure);
        if (r == 0)
                *ret_number = strtol(value, NULL, 10);
        return r;
}

/* Made by us, so that it is private from its first moment; -wal and -shm take its mode over. */
static int make_file(const char *path, Failure *failure)
{
        CLEANUP(closep) int fd = -1;
        struct stat st;

        fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
        if (fd < 0 || fstat(fd, &st) < 0)
                return fail(failure, CB_FAILED,
                            "the store %s cannot be opened: %s; make it and its directory writable "
                            "for certbrokerd",
                            path, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return fail(failure, CB_FAILED, "the store %s is not a regular file; move it aside",
                            path);
        if ((st.st_mode & 0077) && fchmod(fd, 0600) < 0)
                return fail(failure, CB_FAILED, "the store %s cannot be made private: %s", path,
                            strerror(errno));
        return 0;
}

static int open_handle(Database *database, Failure *failure)
{
        int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

        if (sqlite3_open_v2(database->path, &database->handle, flags, NULL) != SQLITE_OK)
                return database_fail(database, "opening", failure);
        (void)sqlite3_busy_timeout(database->handle, 5000); /* somebody else's backup */
        (void)sqlite3_db_config(database->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        (void)sqlite3_db_config(database->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        /* Until the version is known, closing must not write either. */
        (void)sqlite3_db_config(database->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        return 0;
}

/* Whose file is it, of which version, and is it whole? Writes nothing. */
static int check_file(Database *database, long *ret_version, Failure *failure)
{
        long version = 0, application = 0, n_tables = 0;
        char check[256];
        int r;

        r = query_number(database, "PRAGMA user_version", &version, failure);
        if (r == 0)
                r = query_number(database, "PRAGMA application_id", &application, failure);
        if (r == 0)
                r = query_number(database, "SELECT count(*) FROM sqlite_schema", &n_tables,
                                 failure);
        if (r != 0)
                return r;
        if (application != APPLICATION_ID && (application != 0 || version != 0 || n_tables != 0))
                return fail(failure, CB_FAILED,
                            "%s is a database of another program; move it aside, or give "
                            "certbrokerd another state-directory",
                            database->path);
        if (version < 0 || version > (long)ELEMENTSOF(migrations))
                return fail(failure, CB_FAILED,
                            "the store %s has schema version %ld, and this certbrokerd knows up to "
                            "%zu: install the newer certbrokerd again, or restore a backup from "
                            "before it",
                            database->path, version, ELEMENTSOF(migrations));
        r = query(database, "PRAGMA quick_check(1)", check, sizeof(check), failure);
        if (r != 0)
                return r;
        if (strcmp(check, "ok") != 0)
                return fail(failure, CB_FAILED, "the store %s: %s; %s", database->path, check,
                            advice_for(SQLITE_CORRUPT, 0));
        *ret_version = version;
        return 0;
}

static int set_modes(Database *database, Failure *failure)
{
        char mode[16];
        int r;

        (void)sqlite3_db_config(database->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        r = query(database, "PRAGMA journal_mode = WAL", mode, sizeof(mode), failure);
        if (r != 0)
                return r;
        if (strcmp(mode, "wal") != 0)
                return fail(
                        failure, CB_FAILED,
                        "the store %s cannot have a write-ahead log (its mode is '%s'); put the "
                        "state directory on a local file system",
                        database->path, mode);
        return execute(database,
                       "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                       "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
                       failure);
}

static int migrate(Database *database, long version, Failure *failure)
{
        for (size_t i = (size_t)version; i < ELEMENTSOF(migrations); i++) {
                CLEANUP(freep) char *text = NULL;
                int r;

                if (asprintf(&text,
                             "BEGIN IMMEDIATE; %s PRAGMA user_version = %zu;"
                             " PRAGMA application_id = " TEXT_OF(APPLICATION_ID) "; COMMIT;",
                             migrations[i], i + 1) < 0)
                        return -ENOMEM;
                r = execute(database, text, failure);
                if (r != 0) {
                        (void)sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL);
                        return r;
                }
        }
        return 0;
}

static int sync_names(const char *path, Failure *failure)
{
        int r = directory_sync_of(path);

        if (r < 0)
                return fail(failure, CB_FAILED, "the directory of the store %s cannot be made durable: %s",
                            path, strerrordesc_np(-r));
        return 0;
}

int database_open(const char *path, Database **ret_database, Failure *failure)
{
        CLEANUP(database_freep) Database *database = NULL;
        long version = 0;
        int r;

        database = calloc(1, sizeof(*database));
        if (!database)
                return -ENOMEM;
        r = string_set(&database->path, path);
        if (r == 0)
                r = make_file(path, failure);
        if (r == 0)
                r = open_handle(database, failure);
        if (r == 0)
                r = check_file(database, &version, failure);
        if (r == 0)
                r = set_modes(database, failure);
        if (r == 0)
                r = migrate(database, version, failure);
        if (r == 0)
                r = prepare_all(database, failure);
        if (r == 0)
                r = sync_names(path, failure);
        if (r == 0)
                r = place_mark(&database->place, path, failure);
        if (r != 0)
                return r;
        database->is_new = version == 0;
        *ret_database = TAKE(database);
        return 0;
}

Database *database_free(Database *database)
{
        if (!database)
                return NULL;
        for (size_t i = 0; i < _STATEMENT_N; i++)
                sqlite3_finalize(database->statements[i]);
        sqlite3_close(database->handle);
        free(database->path);
        free(database);
        return NULL;
}
