/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record as a line of JSON. The order of its members is part of the form: who verifies the log finds time, seq, event
 * and prev at their places without reading the rest.
 */
#include "broker/audit/record.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"

static void set_text(json_t *record, const char *key, const char *text)
{
        json_object_set_new(record, key, text && text[0] ? json_string(text) : json_null());
}

/* A caller may give any generation; there is no JSON integer above this in most readers, nor a generation. */
static void set_number(json_t *record, const char *key, uint64_t number)
{
        json_object_set_new(record, key, json_integer((json_int_t)MIN(number, INT64_MAX)));
}

void record_time(uint64_t usec, char ret_text[RECORD_TIME_TEXT])
{
        time_t sec = (time_t)(usec / USEC_PER_SEC);
        struct tm broken;
        char seconds[32];

        gmtime_r(&sec, &broken);
        strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &broken);
        snprintf(ret_text, RECORD_TIME_TEXT, "%s.%06uZ", seconds,
                 (unsigned)(usec % USEC_PER_SEC));
}

static void set_time(json_t *record, const char *key, uint64_t usec)
{
        char text[RECORD_TIME_TEXT];

        record_time(usec, text);
        set_text(record, key, text);
}

/* Many that failed. Of several users `uid` is the lowest; of those that lie anywhere, `users` are at least so many. */
static void set_sum(json_t *record, const RefusalSum *sum)
{
        set_text(record, "refused", sum->event);
        set_number(record, "count", sum->n);
        set_number(record, "users", sum->n_users);
        if (sum->uid_last != sum->uid)
                set_number(record, "uid-last", sum->uid_last);
        if (sum->is_rest)
                json_object_set_new(record, "rest", json_true());
        set_time(record, "since", sum->since_usec);
        set_time(record, "until", sum->until_usec);
}

char *record_format(const AuditRecord *record, const AuditHead *before)
{
        json_t *json = json_object();
        char *text;

        set_time(json, "time", clock_realtime_usec());
        set_number(json, "seq", before->seq + 1);
        set_text(json, "event", record->event);
        set_number(json, "uid", record->uid);
        set_number(json, "pid", record->pid);
        set_text(json, "unit", record->unit);
        set_text(json, "object", record->object);
        set_number(json, "generation", record->generation);
        set_text(json, "algorithm", record->algorithm);
        set_text(json, "grant", record->grant);
        if (record->certificate)
                set_text(json, "certificate", record->certificate);
        if (record->forced)
                json_object_set_new(json, "force", json_true());
        if (record->is_disabled || record->is_enabled)
                json_object_set_new(json, "enabled", json_boolean(record->is_enabled));
        if (record->sum)
                set_sum(json, record->sum);
        set_text(json, "result", record->result);
        set_text(json, "prev", before->hash);
        text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
        json_decref(json);
        return text;
}
