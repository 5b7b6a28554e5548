/* SPDX-License-Identifier: Apache-2.0 */
/* A log in a folder of its own, what its owner would remember of it, and a lane to sync it on. */
#include "audit-bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/audit/tail.h"

static void on_synced(void *userdata, const AuditHead *head)
{
        Log *log = userdata;

        log->stored = *head;
        log->n_synced++;
}

static void on_oldest(void *userdata, const AuditHead *oldest, bool is_loss)
{
        Log *log = userdata;

        log->oldest = *oldest;
        log->n_losses += is_loss;
}

static void on_sync_in(void *userdata, uint64_t usec)
{
        Log *log = userdata;

        assert_true(usec > 0);
        log->n_planned++;
}

static void on_sync_failed(void *userdata)
{
        Log *log = userdata;

        log->n_sync_failed++;
}

static void on_moved(void *userdata, const char *text)
{
        Log *log = userdata;

        snprintf(log->moved, sizeof(log->moved), "%s", text);
}

void log_on_done(void *userdata, int r)
{
        Log *log = userdata;

        log->last = r;
        log->n_done++;
        if (r != 0)
                log->n_failed++;
}

void open_log(Log *log, uint64_t max_size, uint64_t sync_usec)
{
        const AuditSettings settings = { log->path, max_size, sync_usec, log->journal };
        const AuditEvents events = { .synced = on_synced,
                                     .oldest = on_oldest,
                                     .sync_in = on_sync_in,
                                     .sync_failed = on_sync_failed,
                                     .moved = on_moved };
        Failure failure = { 0 };

        assert_int_equal(
                audit_open(&settings, &log->stored, log->lane, &events, log, &log->audit, &failure),
                0);
        audit_watch_oldest(log->audit, &log->oldest);
}

void close_log(Log *log)
{
        lane_drain(log->lane);
        log->audit = audit_free(log->audit);
}

void append(Log *log, const char *event)
{
        audit_append(log->audit,
                     &(AuditRecord){
                             .event = event, .uid = 33, .pid = 7, .object = "/o", .result = "ok" },
                     log_on_done, log);
}

void append_many(Log *log, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                append(log, "Sign");
        audit_sync(log->audit);
        lane_drain(log->lane);
}

int log_setup(void **state)
{
        Log *log = calloc(1, sizeof(*log));

        strcpy(log->folder, "/tmp/cb-audit-XXXXXX");
        assert_non_null(mkdtemp(log->folder));
        snprintf(log->path, sizeof(log->path), "%s/audit.jsonl", log->folder);
        strcpy(log->stored.hash, ZEROS);
        assert_int_equal(sd_event_new(&log->event), 0);
        assert_int_equal(lane_new(log->event, 64, &log->lane), 0);
        *state = log;
        return 0;
}

int log_teardown(void **state)
{
        char command[96];
        Log *log = *state;

        if (log->audit)
                close_log(log);
        lane_free(log->lane);
        sd_event_unref(log->event);
        snprintf(command, sizeof(command), "rm -rf %s", log->folder);
        assert_int_equal(system(command), 0);
        free(log);
        return 0;
}

json_t *last_record(const Log *log)
{
        FILE *file = fopen(log->path, "re");
        json_t *record = NULL;
        char line[4096];

        assert_non_null(file);
        while (fgets(line, sizeof(line), file)) {
                json_decref(record);
                record = json_loads(line, 0, NULL);
        }
        fclose(file);
        assert_non_null(record);
        return record;
}

/* Follows the chain through a file; returns the number of records, and the hash of the last one. */
unsigned follow(const char *path, char prev[65])
{
        FILE *file = fopen(path, "re");
        unsigned n = 0;
        char line[4096];

        assert_non_null(file);
        while (fgets(line, sizeof(line), file)) {
                json_t *record;

                assert_int_equal(line[strlen(line) - 1], '\n');
                line[strlen(line) - 1] = '\0';
                record = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
                assert_non_null(record);
                assert_string_equal(json_string_value(json_object_get(record, "prev")), prev);
                json_decref(record);
                assert_int_equal(audit_hash_line(line, strlen(line), prev), 0);
                n++;
        }
        fclose(file);
        return n;
}

/* The line that has n_after lines after it; `object` is how its object begins. */
bool line_says(const Log *log, unsigned n_after, const char *event, const char *object)
{
        char lines[2][1024] = { "", "" };
        FILE *file = fopen(log->path, "re");
        unsigned n = 0;
        json_t *record;
        bool is;

        assert_non_null(file);
        while (fgets(lines[n % 2], sizeof(lines[0]), file))
                n++;
        fclose(file);
        assert_true(n > n_after && n_after < 2);
        record = json_loads(lines[(n - 1 - n_after) % 2], 0, NULL);
        assert_non_null(record);
        is = strcmp(json_string_value(json_object_get(record, "event")), event) == 0 &&
             strncmp(json_string_value(json_object_get(record, "object")), object,
                     strlen(object)) == 0;
        json_decref(record);
        return is;
}
