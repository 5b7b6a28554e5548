/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods that change a certificate, and its request, chain and export: arguments in, one call of manage or
 * resolve, and the answer in the shape that the interface has. What uses the key is in methods-key.c.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/resolve/credential.h"

/* A look-up is shared with others: that it was allowed is asked once more when it is answered. */
static void on_refreshed(void *userdata, const Failure *failure)
{
        Failure denied = { 0 };

        call_on_done(userdata, call_decide_again(userdata, &denied) != 0 ? &denied : failure);
}

void certificate_refresh(Call *call, DBusMessage *message)
{
        manage_refresh(call->bus->rooms.manage, call->node.name, on_refreshed, call);
}

void certificate_set_enabled(Call *call, DBusMessage *message)
{
        dbus_bool_t enabled;
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &enabled);
        call->is_enabled = enabled;
        call->is_disabled = !enabled;
        manage_set_enabled(call->bus->rooms.manage, call->node.name, enabled, call_on_done, call);
}

/* Names the backends that the caller may read; that there are others is all that it learns of those. */
static int tell_users(const Call *call, Failure *failure)
{
        const Catalog *catalog = call->bus->rooms.catalog;
        CLEANUP(strv_freep) char **names = NULL;
        CLEANUP(freep) char *text = NULL;
        const char *user = "";
        size_t n_users = 0;
        int r = 0;

        while (r == 0 && (user = catalog_next_user(catalog, call->node.name, user))) {
                n_users++;
                if (may_read(call->bus, call_subject(call), OBJECT_BACKEND, user))
                        r = strv_append(&names, user);
        }
        if (r == 0 && n_users == 0)
                return 0; /* it is in use by something else, which has been told */
        text = r == 0 ? strv_join(names, ", ") : NULL;
        if (!text)
                return fail(failure, -ENOMEM, "no memory to delete certificate '%s'",
                            call->node.name);
        return fail(failure, CB_IN_USE,
                    "certificate '%s' is used by: %.300s%s; bind these backends to another one, or "
                    "delete them first",
                    call->node.name, text,
                    strv_length(names) == n_users ? ""
                    : strv_length(names) == 0     ? "backends that you may not read"
                                                  : " and others that you may not read");
}

static void on_deleted(void *userdata, const Failure *failure)
{
        Call *call = userdata;
        Failure told = *failure;

        if (failure->status == CB_IN_USE && call->peer)
                (void)tell_users(call, &told);
        call_on_done(call, &told);
}

void certificate_delete(Call *call, DBusMessage *message)
{
        static const Option options[] = { { "destroy-key", "b" } };
        Failure failure = { 0 };
        DBusMessageIter iter;
        Value destroy;

        dbus_message_iter_init(message, &iter);
        if (call_read_options(call, &iter, options, ELEMENTSOF(options), &destroy, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        manage_delete_certificate(call->bus->rooms.manage, call->node.name, destroy.boolean,
                                  on_deleted, call);
}

/* --- the life of a key --- */

enum { GENERATE_REPLACE, GENERATE_EXTRACTABLE, _GENERATE_N };
static const Option generate_options[_GENERATE_N] = {
        [GENERATE_REPLACE] = { "replace", "b" },
        [GENERATE_EXTRACTABLE] = { "extractable", "b" },
};

void manager_generate_key(Call *call, DBusMessage *message)
{
        GenerateRequest request = { 0 };
        Value values[_GENERATE_N];
        Failure failure = { 0 };
        const char *key_type;
        DBusMessageIter iter;
        int r;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &request.id);
        dbus_message_iter_next(&iter);
        dbus_message_iter_get_basic(&iter, &request.source);
        dbus_message_iter_next(&iter);
        dbus_message_iter_get_basic(&iter, &key_type);
        dbus_message_iter_next(&iter);
        r = call_read_options(call, &iter, generate_options, _GENERATE_N, values, &failure);
        request.key_type = key_type_from_name(key_type);
        request.replace = values[GENERATE_REPLACE].boolean;
        request.extractable = values[GENERATE_EXTRACTABLE].boolean;
        values_deinit(values, _GENERATE_N);
        if (r != 0) {
                call_fail(call, &failure);
                return;
        }
        call_answers_path(call, OBJECT_CERTIFICATE, request.id);
        manage_generate(call->bus->rooms.manage, &request, call_on_done, call);
}

static void on_request(void *userdata, const Failure *failure, uint64_t generation,
                       const Bytes *der)
{
        Failure denied = { 0 };

        if (call_may_hand_out(userdata, generation, &denied) != 0)
                call_fail(userdata, &denied);
        else if (failure->status != 0)
                call_fail(userdata, failure);
        else
                call_answer_bytes(userdata, der);
}

_Static_assert(REQUEST_NAMES_MAX <= VALUE_LIST_MAX, "the limit that is told is the first that is met");

void certificate_create_request(Call *call, DBusMessage *message)
{
        RequestRequest request = { .id = call->node.name };
        DBusMessageIter iter;
        Value names = { 0 };
        int r;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &request.subject);
        dbus_message_iter_next(&iter);
        r = value_read(&iter, "as", &names);
        if (r != 0) {
                call_fail_status(call, r == -ENOMEM ? r : CB_INVALID_ARGUMENT, REQUEST_NAMES_TEXT,
                                 REQUEST_NAMES_MAX, REQUEST_NAMES_BYTES_MAX / 1024);
                return;
        }
        request.alt_names = names.owned_strings;
        manage_request(call->bus->rooms.manage, &request, on_request, call);
        value_deinit(&names);
}

void certificate_install_certificate(Call *call, DBusMessage *message)
{
        static const Option options[] = { { "force", "b" } };
        CLEANUP(closep) int chain_fd = -1;
        Failure failure = { 0 };
        DBusMessageIter iter;
        Value force;

        dbus_message_iter_init(message, &iter);
        chain_fd = call_take_descriptor(call, &iter);
        dbus_message_iter_next(&iter);
        if (call_read_options(call, &iter, options, ELEMENTSOF(options), &force, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        call->forced = force.boolean;
        if (chain_fd < 0)
                call_fail_status(call, -EMFILE,
                                 "no descriptors left to install a certificate with");
        else
                manage_install(call->bus->rooms.manage, call->node.name, chain_fd, force.boolean,
                               call_on_done, call);
}

static uint64_t get_generation(Call *call, DBusMessage *message)
{
        dbus_uint64_t generation;
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &generation);
        call->generation = generation;
        return generation;
}

void certificate_set_current(Call *call, DBusMessage *message)
{
        manage_set_current(call->bus->rooms.manage, call->node.name, get_generation(call, message),
                           call_on_done, call);
}

void certificate_retire(Call *call, DBusMessage *message)
{
        manage_retire(call->bus->rooms.manage, call->node.name, get_generation(call, message),
                      call_on_done, call);
}

void certificate_get_chain(Call *call, DBusMessage *message)
{
        const Generation *generation;
        Failure failure = { 0 };
        Value chain;

        if (generation_resolve(call->bus->rooms.catalog, call->node.name,
                               get_generation(call, message), clock_realtime_sec(), &generation,
                               &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        chain = value_chain(&generation->chain);
        call_answer_value(call, &chain);
}

static void on_exported(void *userdata, const Failure *failure, uint64_t generation, int fd)
{
        Call *call = userdata;
        Failure denied = { 0 };
        DBusMessage *reply;

        if (call_may_hand_out(call, generation, &denied) != 0) {
                call_fail(call, &denied);
                return;
        }
        if (failure->status != 0) {
                call_fail(call, failure);
                return;
        }
        reply = call_new_answer(call);
        if (reply && dbus_message_append_args(reply, DBUS_TYPE_UNIX_FD, &fd, DBUS_TYPE_INVALID)) {
                call_answer(call, reply);
                return;
        }
        if (reply)
                dbus_message_unref(reply);
        call_fail_memory(call);
}

void certificate_export(Call *call, DBusMessage *message)
{
        ExportRequest request = { .id = call->node.name, .passphrase_fd = -1 };
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &request.format);
        dbus_message_iter_next(&iter);
        request.passphrase_fd = call_take_descriptor(call, &iter);
        if (request.passphrase_fd < 0)
                call_fail_status(call, -EMFILE, "no descriptors left to export with");
        else
                manage_export(call->bus->rooms.manage, &request, on_exported, call);
        close_fd(request.passphrase_fd);
}
