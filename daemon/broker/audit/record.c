/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record as a line of JSON. The order of its members is part of the form: who verifies the log finds time, seq, event
 * and prev at their places without reading the rest.
 */
#include "broker/audit/record.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

static void set_text(json_t *record, const char *key, const char *text)
{
        json_object_set_new(record, key, text && text[0] ? json_string(text) : json_null());
}

/* A caller may give any generation; there is no JSON integer above this in most readers, nor a generation. */
static void set_number(json_t *record, const char *key, uint64_t number)
{
        json_object_set_new(record, key, json_integer((json_int_t)MIN(number, INT64_MAX)));
}

static char *now_text(char *ret_text, size_t n)
{
        struct timespec now;
        struct tm broken;
        char seconds[32];

        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &broken);
        strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &broken);
        snprintf(ret_text, n, "%s.%06uZ", seconds, (unsigned)(now.tv_nsec / 1000) % 1000000);
        return ret_text;
}

char *record_format(const AuditRecord *record, const AuditHead *before)
{
        json_t *json = json_object();
        char time[48];
        char *text;

        set_text(json, "time", now_text(time, sizeof(time)));
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
        set_text(json, "result", record->result);
        set_text(json, "prev", before->hash);
        text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
        json_decref(json);
        return text;
}
