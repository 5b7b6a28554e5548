/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record as a line of JSON. The order of its members is part of the form: who verifies the log finds time, seq, event
 * and prev at their places without reading the rest.
 */
#include "broker/audit/record.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/date.h"
#include "base/macro.h"
#include "base/strings.h"

#define TEXT_MAX 4096

/* A unit's name may be any bytes, and JSON's text may not. */
static json_t *text_of(const char *text)
{
        CLEANUP(freep) char *escaped = NULL;

        if (utf8_is_valid(text, strlen(text)))
                return json_string(text);
        escaped = text_escape(text, strlen(text), TEXT_MAX);
        return escaped ? json_string(escaped) : NULL;
}

/* 0, or -1 for want of memory: a record is whole, or it is none. */
static int set_text(json_t *record, const char *key, const char *text)
{
        return json_object_set_new(record, key, text && text[0] ? text_of(text) : json_null());
}

/* A caller may give any generation; there is no JSON integer above this in most readers, nor a generation. */
static int set_number(json_t *record, const char *key, uint64_t number)
{
        return json_object_set_new(record, key, json_integer((json_int_t)MIN(number, INT64_MAX)));
}

void record_time(uint64_t usec, char ret_text[RECORD_TIME_TEXT])
{
        char seconds[DATE_TEXT_MAX];

        date_text(usec / USEC_PER_SEC, seconds);
        snprintf(ret_text, RECORD_TIME_TEXT, "%.19s.%06uZ", seconds,
                 (unsigned)(usec % USEC_PER_SEC));
}

static int set_time(json_t *record, const char *key, uint64_t usec)
{
        char text[RECORD_TIME_TEXT];

        record_time(usec, text);
        return set_text(record, key, text);
}

/* Many that failed. Of several users `uid` is the lowest; of those that lie anywhere, `users` are at least so many. */
static int set_sum(json_t *record, const RefusalSum *sum)
{
        int r;

        r = set_text(record, "refused", sum->event);
        r |= set_number(record, "count", sum->n);
        r |= set_number(record, "users", sum->n_users);
        if (sum->uid_last != sum->uid)
                r |= set_number(record, "uid-last", sum->uid_last);
        if (sum->is_rest)
                r |= json_object_set_new(record, "rest", json_true());
        r |= set_time(record, "since", sum->since_usec);
        r |= set_time(record, "until", sum->until_usec);
        return r;
}

static int fill(json_t *json, const AuditRecord *record, const AuditHead *before)
{
        int r;

        r = set_time(json, "time", clock_realtime_usec());
        r |= set_number(json, "seq", before->seq + 1);
        r |= set_text(json, "event", record->event);
        r |= set_number(json, "uid", record->uid);
        r |= set_number(json, "pid", record->pid);
        r |= set_text(json, "unit", record->unit);
        r |= set_text(json, "object", record->object);
        r |= set_number(json, "generation", record->generation);
        r |= set_text(json, "algorithm", record->algorithm);
        r |= set_text(json, "grant", record->grant);
        if (record->certificate)
                r |= set_text(json, "certificate", record->certificate);
        if (record->forced)
                r |= json_object_set_new(json, "force", json_true());
        if (record->is_disabled || record->is_enabled)
                r |= json_object_set_new(json, "enabled", json_boolean(record->is_enabled));
        if (record->sum)
                r |= set_sum(json, record->sum);
        r |= set_text(json, "result", record->result);
        r |= set_text(json, "prev", before->hash);
        return r;
}

char *record_format(const AuditRecord *record, const AuditHead *before)
{
        json_t *json = json_object();
        char *text = NULL;

        if (fill(json, record, before) == 0)
                text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
        json_decref(json);
        return text;
}
