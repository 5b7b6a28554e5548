/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: the audit log between the bus, which tells it what happened, and the store, which remembers where its
 * chain stands. It decides what a log that cannot be written means.
 */
#pragma once

#include "base/failure.h"
#include "base/macro.h"
#include "broker/audit/audit.h"
#include "broker/bus/bus.h"
#include "broker/config/config.h"
#include "broker/store/store.h"

typedef struct Ledger Ledger;

/* Reads the store: before the loop runs. */
int ledger_new(sd_event *event, Lane *lane, Store *store, const Config *config, Ledger **ret_ledger,
               Failure *failure);
Ledger *ledger_free(Ledger *ledger);
/* audit-failure, audit-sync and audit-max-size; another audit-log needs a restart, and a warning says so. */
void ledger_configure(Ledger *ledger, const Config *config);
DEFINE_CLEANUP(Ledger, ledger_free)

/* Begins to make durable what is not; drain the lane after it: then the store knows the end of the log. */
void ledger_flush(Ledger *ledger);

/* The changes that the log has and the store did not know of at start: see audit_read_since(). */
int ledger_read_since(const Ledger *ledger, audit_past tell, void (*goes_on)(void), void *userdata);
/*
 * What follows from them is not in the store yet: until it is, the store goes on not to know of them, so that the next
 * start finds them again.
 */
void ledger_hold(Ledger *ledger);
void ledger_release(Ledger *ledger);
/* The store is older than the log: recorded, logged, and a problem until the next reload. */
void ledger_tell_rollback(Ledger *ledger, const char *text);
const char *ledger_rollback(const Ledger *ledger); /* "": none */

/* Log or store begin to fail, or end it. */
void ledger_observe(Ledger *ledger, void (*health)(void *userdata), void *userdata);
bool ledger_is_failing(const Ledger *ledger); /* the log cannot be written, or not be made durable */

/* In the shapes of BusHost. */
void ledger_record(Ledger *ledger, const BusRecord *record, bus_recorded done, void *call);
int ledger_may_record(Ledger *ledger, Failure *failure);
int ledger_open(Ledger *ledger, int *ret_fd, uint64_t *ret_seq, char ret_hash[THUMBPRINT_TEXT]);
uint64_t ledger_records(const Ledger *ledger);
uint64_t ledger_lag(const Ledger *ledger); /* records not known to be on the disk */
uint64_t ledger_lost(const Ledger *ledger); /* records that could not be written, and are not told yet */
/* What is wrong with the log; "": nothing. */
const char *ledger_problem(const Ledger *ledger);
