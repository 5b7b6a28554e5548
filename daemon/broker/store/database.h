/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite, as this room uses it: one handle, its prepared statements, values in and out. Private to
 * this room. The handle belongs to one thread at a time: to main() before the loop runs, then to
 * the lane.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "base/macro.h"
#include "broker/store/place.h"

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;

typedef enum Statement {
        STATEMENT_BEGIN,
        STATEMENT_COMMIT,
        STATEMENT_ROLLBACK,
        STATEMENT_PUT_CERTIFICATE,
        STATEMENT_DELETE_CERTIFICATE,
        STATEMENT_DELETE_GENERATIONS,
        STATEMENT_PUT_GENERATION,
        STATEMENT_PUT_CHAIN,
        STATEMENT_PUT_BACKEND,
        STATEMENT_DELETE_BACKEND,
        STATEMENT_DELETE_BACKEND_LIST,
        STATEMENT_PUT_BACKEND_LIST,
        STATEMENT_PUT_NOTE,
        STATEMENT_DELETE_NOTE,
        STATEMENT_READ_CERTIFICATES, /* from here on they only read */
        STATEMENT_READ_GENERATIONS,
        STATEMENT_READ_CHAIN,
        STATEMENT_READ_BACKENDS,
        STATEMENT_READ_BACKEND_LIST,
        STATEMENT_READ_NOTES,
        _STATEMENT_N
} Statement;

typedef struct Database {
        sqlite3 *handle;
        char *path;
        sqlite3_stmt *statements[_STATEMENT_N];
        Place place;
        bool is_new; /* there was none, or an empty file */
} Database;

/* Opens, checks, migrates. Refuses what is newer, foreign or damaged, and leaves it as it is. */
int database_open(const char *path, Database **ret_database, Failure *failure);
Database *database_free(Database *database);
DEFINE_CLEANUP(Database, database_free)

/* What SQLite said last, as an outcome with a sentence; -ENOMEM where it had no memory. */
int database_fail(Database *database, const char *doing, Failure *failure);

/*
 * A statement with its values bound: "s" const char * (NULL is NULL), "i" uint64_t (kept bit by bit
 * in the signed 64 bits that SQLite has), "b" const Bytes *. An error sticks to the statement until
 * it is stepped.
 */
sqlite3_stmt *database_bind(Database *database, Statement statement, const char *types, ...);
/* Runs a bound statement that answers nothing. */
int database_run(Database *database, sqlite3_stmt *bound, Failure *failure);
/* 1: a row; 0: no more (and reset); else as database_fail(). */
int database_step(Database *database, sqlite3_stmt *bound, int *ret_row, Failure *failure);
/* Right after a COMMIT that failed: may it be in the log all the same? */
bool database_is_unsure(Database *database);
/*
 * Writes a transaction that changes nothing, and so over what one before has left behind the end of the log: whose COMMIT
 * failed when all was written, and that would be found at the next start. -EIO: that may still be.
 */
int database_overwrite(Database *database);
void database_reset(sqlite3_stmt **bound); /* CLEANUP(database_reset) */

/* Columns of the present row. Text is borrowed until the next step; NULL where it is NULL. */
const char *column_text(sqlite3_stmt *row, int column);
uint64_t column_number(sqlite3_stmt *row, int column);
void column_bytes(sqlite3_stmt *row, int column, const void **ret_data, size_t *ret_n);
