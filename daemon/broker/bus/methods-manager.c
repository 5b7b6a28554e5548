/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods of the root: org.certbroker1.Manager and ObjectManager. The dispatcher has checked signature and access;
 * what is left for here is arguments, and answers that hold only what the caller may read.
 */
#include "broker/bus/methods.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strings.h"

#define PAGE_MAX 1000

/* Arguments of a checked signature cannot be wrong; descriptors can run out. */
static bool get_args(Call *call, DBusMessage *message, int first_type, ...)
{
        va_list arguments;
        bool ok;

        va_start(arguments, first_type);
        ok = dbus_message_get_args_valist(message, NULL, first_type, arguments);
        va_end(arguments);
        if (!ok)
                call_fail_memory(call);
        return ok;
}

/* At the message's last argument. */
static void last_argument(DBusMessage *message, DBusMessageIter *iter)
{
        DBusMessageIter next;

        dbus_message_iter_init(message, iter);
        for (next = *iter; dbus_message_iter_next(&next);)
                *iter = next;
}

enum { IMPORT_EXTRACTABLE, IMPORT_REPLACE, IMPORT_FORCE, _IMPORT_N };
static const Option import_options[_IMPORT_N] = {
        [IMPORT_EXTRACTABLE] = { "extractable", "b" },
        [IMPORT_REPLACE] = { "replace", "b" },
        [IMPORT_FORCE] = { "force", "b" },
};

/* Descriptors come as our own duplicates. */
static bool get_import(const Call *call, DBusMessage *message, ImportRequest *request)
{
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &request->id);
        dbus_message_iter_next(&iter);
        dbus_message_iter_get_basic(&iter, &request->source);
        dbus_message_iter_next(&iter);
        request->bundle_fd = call_take_descriptor(call, &iter);
        dbus_message_iter_next(&iter);
        request->passphrase_fd = call_take_descriptor(call, &iter);
        return request->bundle_fd >= 0 && request->passphrase_fd >= 0;
}

static int read_import_options(Call *call, DBusMessage *message, ImportRequest *request,
                               Failure *failure)
{
        Value values[_IMPORT_N];
        DBusMessageIter iter;
        int r;

        last_argument(message, &iter);
        r = call_read_options(call, &iter, import_options, _IMPORT_N, values, failure);
        request->extractable = values[IMPORT_EXTRACTABLE].boolean;
        request->replace = values[IMPORT_REPLACE].boolean;
        request->force = call->forced = values[IMPORT_FORCE].boolean;
        values_deinit(values, _IMPORT_N);
        return r;
}

void manager_import_certificate(Call *call, DBusMessage *message)
{
        ImportRequest request = { .bundle_fd = -1, .passphrase_fd = -1 };
        Failure failure = { 0 };

        if (read_import_options(call, message, &request, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        if (get_import(call, message, &request)) {
                call_answers_path(call, OBJECT_CERTIFICATE, request.id);
                manage_import(call->bus->rooms.manage, &request, call_on_done, call);
        } else {
                call_fail_status(call, -EMFILE, "no descriptors left to import '%.128s' with",
                                 request.id);
        }
        close_fd(request.bundle_fd);
        close_fd(request.passphrase_fd);
}

void manager_register_certificate(Call *call, DBusMessage *message)
{
        static const Option options[] = { { "source", "s" } };
        DBusMessageIter iter;
        Failure failure = { 0 };
        const char *id, *uri;
        Value source;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &id);
        dbus_message_iter_next(&iter);
        dbus_message_iter_get_basic(&iter, &uri);
        dbus_message_iter_next(&iter);
        if (call_read_options(call, &iter, options, ELEMENTSOF(options), &source, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        call_answers_path(call, OBJECT_CERTIFICATE, id);
        manage_register(call->bus->rooms.manage, id, uri, source.string, call_on_done, call);
}

/* --- finding --- */

static bool is_visible(void *userdata, const char *id)
{
        const Call *call = userdata;

        return may_read(call->bus, call_subject(call), OBJECT_CERTIFICATE, id);
}

int select_certificate(Call *call, const char *selector, Certificate **ret_certificate,
                       Failure *failure)
{
        return catalog_select(call->bus->rooms.catalog, selector, is_visible, call, ret_certificate,
                              failure);
}

static void answer_search(Call *call, const CatalogSearch *search)
{
        char path[OBJECT_PATH_MAX];
        Certificate *certificate;
        Failure failure = { 0 };
        Value value;

        if (catalog_search_end(search, &certificate, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        object_path_encode(OBJECT_CERTIFICATE, certificate->id, path);
        value = value_path(path);
        call_answer_value(call, &value);
}

static bool next_of_search(Bulk *bulk)
{
        return catalog_search_step(&bulk->search, is_visible, bulk->call);
}

static void end_search(Bulk *bulk)
{
        answer_search(bulk->call, &bulk->search);
}

/* Thousands may have one subject, or one leaf: what one turn is not enough for is found as lists are made. */
static void search(Call *call, CatalogSearch *search)
{
        static const BulkForm form = { .next = next_of_search, .finish = end_search };
        uint64_t until_usec = clock_monotonic_usec() + TURN_USEC;

        while (catalog_search_step(search, is_visible, call)) {
                if (clock_monotonic_usec() < until_usec)
                        continue;
                bulk_search(call, &form, search);
                return;
        }
        answer_search(call, search);
}

void manager_get_certificate(Call *call, DBusMessage *message)
{
        CLEANUP(catalog_search_deinit) CatalogSearch begun = { 0 };
        CLEANUP(freep) char *normal = NULL;
        const char *selector;
        Failure why = { 0 };

        if (!get_args(call, message, DBUS_TYPE_STRING, &selector, DBUS_TYPE_INVALID))
                return;
        if (manage_selector(selector, &normal, &why) < 0 ||
            catalog_search_begin(&begun, call->bus->rooms.catalog, selector) < 0 ||
            catalog_search_also(&begun, normal) < 0 || catalog_search_doubt(&begun, why.text) < 0)
                call_fail_memory(call);
        else
                search(call, &begun);
}

/* --- lists --- */

static bool begin_list(Bulk *bulk, const char *signature)
{
        bulk->reply = call_new_answer(bulk->call);
        if (!bulk->reply)
                return false;
        bulk->size = sizeof(uint32_t); /* of the array */
        dbus_message_iter_init_append(bulk->reply, &bulk->iter);
        return dbus_message_iter_open_container(&bulk->iter, DBUS_TYPE_ARRAY, signature,
                                                &bulk->items);
}

static DBusMessage *end_list(Bulk *bulk)
{
        return dbus_message_iter_close_container(&bulk->iter, &bulk->items) ? TAKE(bulk->reply)
                                                                            : NULL;
}

static bool begin_page(Bulk *bulk)
{
        return begin_list(bulk, "a{sv}");
}

static bool add_row(Bulk *bulk, const Object *object)
{
        return properties_append(&bulk->items, object, &bulk->size) == 0;
}

void manager_list_certificates(Call *call, DBusMessage *message)
{
        static const BulkForm form = { .begin = begin_page, .add = add_row, .end = end_list };
        ObjectCursor cursor = { .kind = OBJECT_CERTIFICATE, .last_kind = OBJECT_CERTIFICATE };
        dbus_uint32_t n_max;
        const char *after;

        if (!get_args(call, message, DBUS_TYPE_STRING, &after, DBUS_TYPE_UINT32, &n_max,
                      DBUS_TYPE_INVALID))
                return;
        if (n_max == 0 || n_max > PAGE_MAX)
                n_max = PAGE_MAX;
        /* Of a longer text the beginning: no id is as long, so what comes after the one comes after the other. */
        snprintf(cursor.name, sizeof(cursor.name), "%s", after);
        bulk_answer(call, &form, &cursor, n_max);
}

static bool begin_objects(Bulk *bulk)
{
        return begin_list(bulk, "{oa{sa{sv}}}");
}

static bool add_object(Bulk *bulk, const Object *object)
{
        char path[OBJECT_PATH_MAX];
        DBusMessageIter entry;
        Value value;

        object_path(object, path);
        value = value_path(path);
        bulk->size = value_end(&value, struct_begin(bulk->size));
        return dbus_message_iter_open_container(&bulk->items, DBUS_TYPE_DICT_ENTRY, NULL, &entry) &&
               value_append(&entry, &value) &&
               interfaces_append(&entry, object, &bulk->size) == 0 &&
               dbus_message_iter_close_container(&bulk->items, &entry);
}

void manager_get_managed_objects(Call *call, DBusMessage *message)
{
        static const BulkForm form = { .begin = begin_objects, .add = add_object, .end = end_list };
        const ObjectCursor cursor = { .kind = OBJECT_MANAGER + 1,
                                      .last_kind = _OBJECT_KIND_N - 1 };

        bulk_answer(call, &form, &cursor, SIZE_MAX);
}

/* --- configuration and policy --- */

void manager_reload(Call *call, DBusMessage *message)
{
        Failure failure = { 0 };

        if (call->bus->host.reload(call->bus->userdata, &failure) != 0)
                call_fail(call, &failure);
        else
                call_answer_empty(call);
}

enum { SUBJECT_UID, SUBJECT_GIDS, SUBJECT_UNIT, SUBJECT_LABEL, _SUBJECT_N };
static const Option subject_options[_SUBJECT_N] = {
        [SUBJECT_UID] = { "uid", "u" },
        [SUBJECT_GIDS] = { "gids", "au" },
        [SUBJECT_UNIT] = { "unit", "s" },
        [SUBJECT_LABEL] = { "label", "s" },
};

/* A subject of borrowed parts, which is never handed to subject_deinit(). */
static void check_for(const Call *call, const Value *values, const Request *request,
                      Failure *ret_failure, const Grant **ret_grant)
{
        CLEANUP(freep) char *unit = NULL, *label = NULL;
        Subject subject = { .uid = SUBJECT_UID_UNKNOWN };

        if (string_set(&unit, values[SUBJECT_UNIT].string) < 0 ||
            string_set(&label, values[SUBJECT_LABEL].string) < 0) {
                fail(ret_failure, -ENOMEM, "no memory to check a subject");
                return;
        }
        if (values[SUBJECT_UID].type != VALUE_NONE)
                subject.uid = (uint32_t)values[SUBJECT_UID].number;
        subject.gids = values[SUBJECT_GIDS].owned;
        subject.n_gids = values[SUBJECT_GIDS].n_owned;
        subject.unit = unit;
        subject.label = label;
        *ret_grant = grants_decide(call->bus->grants, &subject, request, ret_failure);
}

static void answer_check(Call *call, const Grant *grant, const Failure *failure)
{
        DBusMessage *reply = call_new_answer(call);
        char reason[sizeof(failure->text)];
        Value allowed = value_boolean(grant != NULL);
        DBusMessageIter iter;

        if (grant)
                snprintf(reason, sizeof(reason), "grant '%s' allows it", grant->name);
        else
                snprintf(reason, sizeof(reason), "%s", failure->text);
        if (reply) {
                dbus_message_iter_init_append(reply, &iter);
                if (value_append(&iter, &allowed) && append_string(&iter, reason)) {
                        call_answer(call, reply);
                        return;
                }
                dbus_message_unref(reply);
        }
        call_fail_memory(call);
}

static bool parse_check(const char *word, const char *path, char *name, Request *request,
                        Failure *failure)
{
        unsigned operations = operation_from_name(word);

        if (operations == 0) {
                fail(failure, CB_INVALID_ARGUMENT,
                     "there is no operation '%.64s'; there are: read, tls, use, decrypt, export, "
                     "manage, audit",
                     word);
                return false;
        }
        if (object_path_decode(path, &request->kind, name) < 0) {
                fail(failure, CB_INVALID_ARGUMENT, "%s is no object of certbroker", path);
                return false;
        }
        /* Each word brings the ones before it; the one that only it gives is the question. */
        request->operation = operations & OPERATION_AUDIT     ? OPERATION_AUDIT
                             : operations & OPERATION_MANAGE  ? OPERATION_MANAGE
                             : operations & OPERATION_EXPORT  ? OPERATION_EXPORT
                             : operations & OPERATION_DECRYPT ? OPERATION_DECRYPT
                             : operations & OPERATION_SIGN    ? OPERATION_SIGN
                             : operations & OPERATION_TLS     ? OPERATION_TLS
                                                              : OPERATION_READ;
        request->name = request->kind == OBJECT_MANAGER ? NULL : name;
        return true;
}

void manager_check_access(Call *call, DBusMessage *message)
{
        char name[IDENTIFIER_LENGTH_MAX + 1];
        const char *operation, *path;
        const Grant *grant = NULL;
        Value values[_SUBJECT_N];
        DBusMessageIter iter, next;
        Failure failure = { 0 };
        Request request = { 0 };

        dbus_message_iter_init(message, &iter);
        next = iter;
        dbus_message_iter_next(&next);
        dbus_message_iter_get_basic(&next, &operation);
        dbus_message_iter_next(&next);
        dbus_message_iter_get_basic(&next, &path);

        if (call_read_options(call, &iter, subject_options, _SUBJECT_N, values, &failure) == 0 &&
            parse_check(operation, path, name, &request, &failure))
                check_for(call, values, &request, &failure, &grant);
        values_deinit(values, _SUBJECT_N);

        if (!grant && failure.status != CB_ACCESS_DENIED)
                call_fail(call, &failure);
        else
                answer_check(call, grant, &failure);
}
