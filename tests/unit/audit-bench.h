/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the audit log share. */
#pragma once

#include <jansson.h>
#include <systemd/sd-event.h>

#include "broker/audit/audit.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

typedef struct Log {
        char folder[64];
        char path[96];
        sd_event *event;
        Lane *lane;
        Audit *audit;
        AuditHead stored, oldest;
        unsigned n_losses;
        const char *journal;
        unsigned n_done, n_failed, n_synced, n_sync_failed, n_planned;
        int last;
        char moved[64];
} Log;

int log_setup(void **state);
int log_teardown(void **state);
#define CASE(name) cmocka_unit_test_setup_teardown(name, log_setup, log_teardown)

void log_on_done(void *log, int r);
void open_log(Log *log, uint64_t max_size, uint64_t sync_usec);
void close_log(Log *log);
void append(Log *log, const char *event);
void append_many(Log *log, unsigned n);
json_t *last_record(const Log *log); /* the caller's */
/* Follows the chain through a file; the number of records, and the hash of the last one. */
unsigned follow(const char *path, char prev[65]);
/* The line that has n_after lines after it says this; `object` is how its object begins. */
bool line_says(const Log *log, unsigned n_after, const char *event, const char *object);
