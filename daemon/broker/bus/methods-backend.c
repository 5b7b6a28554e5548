/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods of a backend, and how its settings are read: CreateBackend, Change and Set of one property are the same
 * table. A certificate is bound only by who may read it; one that the caller may not read is, in the same words,
 * not found.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/bus/methods.h"
#include "broker/resolve/credential.h"
#include "core/thumbprint.h"

/* A row a writable property; the type is the XML's. */
static const struct {
        PropertyId property;
        BackendField field;
        size_t offset;
} fields[] = {
        { PROPERTY_BACKEND_URL, BACKEND_URL, offsetof(BackendSettings, url) },
        { PROPERTY_BACKEND_CERTIFICATE, BACKEND_CERTIFICATE,
          offsetof(BackendSettings, certificate) },
        { PROPERTY_BACKEND_VALIDATE_CHAIN, BACKEND_VALIDATE_CHAIN,
          offsetof(BackendSettings, validate_chain) },
        { PROPERTY_BACKEND_VALIDATE_NAME, BACKEND_VALIDATE_NAME,
          offsetof(BackendSettings, validate_name) },
        { PROPERTY_BACKEND_SERVER_NAMES, BACKEND_SERVER_NAMES,
          offsetof(BackendSettings, server_names) },
        { PROPERTY_BACKEND_CA_FILE, BACKEND_CA_FILE, offsetof(BackendSettings, ca_file) },
        { PROPERTY_BACKEND_SERVER_THUMBPRINTS, BACKEND_SERVER_THUMBPRINTS,
          offsetof(BackendSettings, server_thumbprints) },
        { PROPERTY_BACKEND_SKIP_REASON, BACKEND_SKIP_REASON,
          offsetof(BackendSettings, skip_reason) },
        { PROPERTY_BACKEND_SKIP_UNTIL, BACKEND_SKIP_UNTIL,
          offsetof(BackendSettings, skip_until_sec) },
};
#define FIELDS_N ELEMENTSOF(fields)

static void store_value(const Value *value, size_t i, BackendSettings *settings)
{
        void *place = (char *)settings + fields[i].offset;

        if (value->type == VALUE_NONE)
                return;
        settings->set |= (unsigned)fields[i].field;
        if (value->type == VALUE_STRING)
                *(const char **)place = value->string;
        else if (value->type == VALUE_BOOLEAN)
                *(bool *)place = value->boolean;
        else if (value->type == VALUE_U64)
                *(uint64_t *)place = value->number;
        else
                *(char ***)place = value->owned_strings;
}

/* Values stay the owner of what settings borrow. */
static int read_settings(Call *call, DBusMessageIter *iter, Value *values,
                         BackendSettings *settings, Failure *failure)
{
        Option options[FIELDS_N];
        int r;

        for (size_t i = 0; i < FIELDS_N; i++)
                options[i] = (Option){ property_table[fields[i].property].name,
                                       property_table[fields[i].property].signature };
        r = call_read_options(call, iter, options, FIELDS_N, values, failure);
        if (r != 0)
                return r;
        for (size_t i = 0; i < FIELDS_N; i++)
                store_value(&values[i], i, settings);
        return 0;
}

/* What was written as an id or a thumbprint becomes an id that the caller may read. */
static int resolve_certificate(Call *call, BackendSettings *settings, Failure *failure)
{
        uint8_t digest[DIGEST_LENGTH_MAX];
        Certificate *certificate;
        size_t n;
        int r;

        if (!(settings->set & BACKEND_CERTIFICATE))
                return 0;
        if (!identifier_is_valid(settings->certificate) &&
            !thumbprint_parse(settings->certificate, digest, &n, NULL))
                return catalog_refuse_selector(settings->certificate, CB_INVALID_ARGUMENT, failure);
        r = select_certificate(call, settings->certificate, &certificate, failure);
        if (r != 0)
                return r;
        settings->certificate = certificate->id;
        return string_set(&call->bound, certificate->id) == 0
                       ? 0
                       : fail(failure, -ENOMEM, "no memory to bind certificate '%s'",
                              certificate->id);
}

void manager_create_backend(Call *call, DBusMessage *message)
{
        BackendSettings settings = { 0 };
        Value values[FIELDS_N];
        Failure failure = { 0 };
        DBusMessageIter iter;
        const char *name;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &name);
        dbus_message_iter_next(&iter);
        if (read_settings(call, &iter, values, &settings, &failure) != 0 ||
            resolve_certificate(call, &settings, &failure) != 0) {
                call_fail(call, &failure);
        } else {
                call->answers_path = true;
                call->kind = OBJECT_BACKEND;
                snprintf(call->name, sizeof(call->name), "%s", name);
                manage_create_backend(call->bus->rooms.manage, name, &settings, call_on_done, call);
        }
        values_deinit(values, FIELDS_N);
}

void backend_change(Call *call, DBusMessage *message)
{
        BackendSettings settings = { 0 };
        Value values[FIELDS_N];
        Failure failure = { 0 };
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        if (read_settings(call, &iter, values, &settings, &failure) != 0 ||
            resolve_certificate(call, &settings, &failure) != 0)
                call_fail(call, &failure);
        else
                manage_change_backend(call->bus->rooms.manage, call->node.name, &settings,
                                      call_on_done, call);
        values_deinit(values, FIELDS_N);
}

static int read_property(const char *name, DBusMessageIter *iter, Value *value, size_t *ret_i)
{
        size_t i = 0;

        while (strcmp(property_table[fields[i].property].name, name) != 0) {
                i++;
                assert_always(i < FIELDS_N); /* every writable property is a backend's */
        }
        *ret_i = i;
        return value_read(iter, property_table[fields[i].property].signature, value);
}

void backend_set_property(Call *call, const char *name, DBusMessageIter *iter)
{
        const Request request = {
                .operation = OPERATION_MANAGE,
                .kind = OBJECT_BACKEND,
                .name = call->node.name,
        };
        CLEANUP(value_deinit) Value value = { 0 };
        BackendSettings settings = { 0 };
        Failure failure = { 0 };
        size_t i;
        int r;

        r = read_property(name, iter, &value, &i);
        if (r == -EINVAL) {
                call_fail_standard(call, DBUS_ERROR_INVALID_ARGS, "%s is of the type '%s'", name,
                                   property_table[fields[i].property].signature);
                return;
        }
        call->operation = OPERATION_MANAGE; /* which the class of Set cannot say */
        if (check_access(call->bus, call_subject(call), &request, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        if (r == -E2BIG) {
                call_fail_status(call, CB_INVALID_ARGUMENT, "the value for %s is too long", name);
                return;
        }
        if (r < 0) {
                call_fail_memory(call);
                return;
        }
        store_value(&value, i, &settings);
        if (resolve_certificate(call, &settings, &failure) != 0)
                call_fail(call, &failure);
        else
                manage_change_backend(call->bus->rooms.manage, call->node.name, &settings,
                                      call_on_done, call);
}

void backend_delete(Call *call, DBusMessage *message)
{
        manage_delete_backend(call->bus->rooms.manage, call->node.name, call_on_done, call);
}

/* --- GetCredential --- */

static bool append_credential(DBusMessageIter *iter, const Credential *credential,
                              char *const *algorithms)
{
        const Certificate *certificate = credential->certificate;
        const Generation *generation = credential->generation;
        const Backend *backend = credential->backend;
        char path[OBJECT_PATH_MAX];
        const struct {
                const char *key;
                Value value;
        } rows[] = {
                { "certificate", value_path(path) },
                { "id", value_string(certificate->id) },
                { "generation", value_u64(generation->number) },
                { "chain", value_chain(&generation->chain) },
                { "key", value_string(credential->key_uri) },
                { "algorithms", value_strings(algorithms) },
                { "not-after", value_u64(generation->facts.not_after_sec) },
                { "thumbprint", value_string(generation->facts.thumbprint) },
                { "stale", value_boolean(credential->stale) },
                { "url", value_string(backend->url) },
                { "validate-chain", value_boolean(credential->validate_chain) },
                { "validate-name", value_boolean(credential->validate_name) },
                { "server-names", value_strings(backend->server_names) },
                { "server-thumbprints", value_strings(backend->server_thumbprints) },
                { "ca-file", value_string(backend->ca_file) },
        };
        DBusMessageIter dictionary;

        object_path_encode(OBJECT_CERTIFICATE, certificate->id, path);
        if (!dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, "{sv}", &dictionary))
                return false;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                if (!value_append_entry(&dictionary, rows[i].key, &rows[i].value)) {
                        dbus_message_iter_abandon_container(iter, &dictionary);
                        return false;
                }
        }
        return dbus_message_iter_close_container(iter, &dictionary);
}

static void answer_credential(Call *call, const Credential *credential)
{
        CLEANUP(strv_freep) char **algorithms = NULL;
        DBusMessage *reply = call_new_answer(call);
        DBusMessageIter iter;

        if (reply && algorithm_names(call->bus, call_subject(call), credential->certificate->id,
                                     credential->generation->algorithms, &algorithms) == 0) {
                dbus_message_iter_init_append(reply, &iter);
                if (append_credential(&iter, credential, algorithms)) {
                        call_answer(call, reply);
                        return;
                }
        }
        if (reply)
                dbus_message_unref(reply);
        call_fail_memory(call);
}

/* Who reads the backend sees its certificate's id there: that it is not allowed is no secret, that it exists neither. */
static int check_certificate(const Call *call, const char *id, Failure *failure)
{
        const Request request = { .operation = OPERATION_TLS,
                                  .kind = OBJECT_CERTIFICATE,
                                  .name = id };

        if (grants_decide(call->bus->grants, call_subject(call), &request, failure))
                return 0;
        return CB_ACCESS_DENIED;
}

void backend_get_credential(Call *call, DBusMessage *message)
{
        const Bus *bus = call->bus;
        Backend *backend = catalog_find_backend(bus->rooms.catalog, call->node.name);
        Credential credential;
        Failure failure = { 0 };

        call->certificate = backend->certificate;
        if (check_certificate(call, backend->certificate, &failure) != 0 ||
            credential_resolve(bus->rooms.catalog, bus->rooms.sources, backend,
                               clock_realtime_sec(), &credential, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        call->generation = credential.generation->number;
        if (bus->rooms.metrics)
                metrics_count_hit(bus->rooms.metrics, credential.certificate->source,
                                  credential.stale);
        answer_credential(call, &credential);
}
