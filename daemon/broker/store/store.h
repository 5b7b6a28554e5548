/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: what must survive kill -9, in SQLite (WAL, synchronous=FULL). It is read once, at
 * start, and written in transactions on the lane; `done` runs on the loop when the transaction is
 * on the disk. Refuses a file of a newer schema and leaves it alone; a damaged one is moved aside
 * only by a person.
 */
#pragma once

#include "base/failure.h"
#include "base/macro.h"
#include "core/backend.h"
#include "core/certificate.h"
#include "loop/lane.h"

typedef struct Store Store;

/*
 * Opens or makes DIRECTORY/certbroker.sqlite, migrates it; the failure says what to do. CB_IN_USE
 * where another process has this directory: DIRECTORY/lock is held until store_free(). The lane is
 * drained first.
 */
int store_open(const char *directory, Lane *lane, Store **ret_store, Failure *failure);
Store *store_free(Store *store);
DEFINE_CLEANUP(Store, store_free)

/*
 * Calls back for each record, in the order of ids; what is handed out is the callee's. Certificates
 * come without facts and without algorithms of their own computing: just what was stored. Not on
 * the loop: before it.
 */
typedef struct StoreReader {
        int (*certificate)(void *userdata, Certificate *certificate);
        int (*backend)(void *userdata, Backend *backend);
        /* Borrowed; the slot may be NULL. */
        int (*note)(void *userdata, const char *key, const char *value);
} StoreReader;
int store_read(Store *store, const StoreReader *reader, void *userdata, Failure *failure);

/* The notes alone. Not on the loop: before it. */
int store_read_notes(Store *store, int (*note)(void *userdata, const char *key, const char *value),
                     void *userdata, Failure *failure);

/* It was made when it was opened: there was none, or an empty file. */
bool store_is_new(const Store *store);
/* Why what is committed now is not stored; "": nothing is known against it. Borrowed until the loop's next turn. */
const char *store_problem(Store *store);

/* One transaction: any number of changes, all or nothing. Copies what it is given. */
typedef struct StoreChange StoreChange;
int store_change_new(Store *store, StoreChange **ret_change);
StoreChange *store_change_free(StoreChange *change);
int store_change_put_certificate(StoreChange *change, const Certificate *certificate);
int store_change_delete_certificate(StoreChange *change, const char *id);
int store_change_put_backend(StoreChange *change, const Backend *backend);
int store_change_delete_backend(StoreChange *change, const char *name);
/* A small fact of another room, under a key of its own ("audit-head"). value NULL: forget it. */
int store_change_put_note(StoreChange *change, const char *key, const char *value);
DEFINE_CLEANUP(StoreChange, store_change_free)

/*
 * A note that goes with each change of a certificate or backend, in its transaction: asked for when that is committed.
 * False: there is none now.
 */
typedef bool (*store_companion)(void *userdata, char *value, size_t n);
void store_accompany(Store *store, const char *key, store_companion companion, void *userdata);

/*
 * failure->status 0: committed. Takes the change in every case, unless it returns < 0 (queue full,
 * memory).
 */
typedef void (*store_done)(void *userdata, const Failure *failure);
int store_commit(StoreChange *change, store_done done, void *userdata);
