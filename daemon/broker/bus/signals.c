/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals: what changed, told by unicast to each peer that has called the broker and may read the object.
 * A broadcast would be seen by everybody. A peer that does not read its messages is told nothing more
 * until it does; nothing is queued for it here.
 */
#include "broker/bus/room.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"

bool peer_listens(const Peer *peer)
{
        if (peer->state != PEER_KNOWN)
                return false;
        if (peer->name)
                return peer->has_called;
        /* On the channel libdbus answers some calls by itself; being let in is what counts. */
        return dbus_connection_get_is_authenticated(peer->connection);
}

static void send_copy(Peer *peer, DBusMessage *signal)
{
        DBusMessage *copy;

        if (!peer_takes_signals(peer))
                return;
        copy = dbus_message_copy(signal);
        if (!copy || !dbus_message_set_destination(copy, peer->name))
                complain(peer->bus, "no memory for a signal");
        else
                peer_send(peer, copy);
        if (copy)
                dbus_message_unref(copy);
}

/* To all that may read this object. */
static void send_signal(Bus *bus, ObjectKind kind, const char *name, DBusMessage *signal)
{
        Peer *peer, *next;

        for (peer = TAILQ_FIRST(&bus->peers); peer; peer = next) {
                next = TAILQ_NEXT(peer, entry);
                if (peer_listens(peer) && may_read(bus, &peer->subject, kind, name))
                        send_copy(peer, signal);
        }
}

static DBusMessage *new_signal(const char *path, const char *interface, const char *member)
{
        DBusMessage *signal = dbus_message_new_signal(path, interface, member);

        if (!signal)
                log_warning("no memory for a signal");
        return signal;
}

/* --- PropertiesChanged --- */

typedef struct Changes {
        DBusMessage *signal;
        DBusMessageIter iter, dictionary;
        size_t n;
        bool failed;
} Changes;

static bool changes_open(Changes *changes, ObjectKind kind, const char *name)
{
        char path[OBJECT_PATH_MAX];

        object_path_encode(kind, name, path);
        *changes = (Changes){ .signal = new_signal(path, DBUS_INTERFACE_PROPERTIES,
                                                   "PropertiesChanged") };
        if (!changes->signal)
                return false;
        dbus_message_iter_init_append(changes->signal, &changes->iter);
        if (append_string(&changes->iter, interface_table[node_own_interface(kind)].name) &&
            dbus_message_iter_open_container(&changes->iter, DBUS_TYPE_ARRAY, "{sv}",
                                             &changes->dictionary))
                return true;
        dbus_message_unref(TAKE(changes->signal));
        return false;
}

static void changes_add(Changes *changes, PropertyId property, const Value *value)
{
        if (!changes->failed &&
            value_append_entry(&changes->dictionary, property_table[property].name, value))
                changes->n++;
        else
                changes->failed = true;
}

/* A signal to send, or NULL where nothing changed. */
static DBusMessage *changes_close(Changes *changes)
{
        DBusMessageIter invalidated;

        if (changes->failed || changes->n == 0) {
                dbus_message_iter_abandon_container(&changes->iter, &changes->dictionary);
        } else if (dbus_message_iter_close_container(&changes->iter, &changes->dictionary) &&
                   dbus_message_iter_open_container(&changes->iter, DBUS_TYPE_ARRAY, "s",
                                                    &invalidated) &&
                   dbus_message_iter_close_container(&changes->iter, &invalidated)) {
                return changes->signal;
        }
        dbus_message_unref(changes->signal);
        return NULL;
}

/* What this property is worth depends on who reads it: it is told on its own. */
static bool is_personal(PropertyId property)
{
        return property == PROPERTY_CERTIFICATE_BACKENDS;
}

static void add_difference(Changes *changes, PropertyId property, const Object *before,
                           const Object *after)
{
        CLEANUP(value_deinit) Value old = { 0 };
        CLEANUP(value_deinit) Value new = { 0 };

        if (!property_table[property].emits_changed || is_personal(property))
                return;
        if (property_value(property, after, &new) < 0 ||
            (before && property_value(property, before, &old) < 0)) {
                changes->failed = true;
                return;
        }
        if (!before || !value_equal(&old, &new))
                changes_add(changes, property, &new);
}

/* before NULL: all that may have changed is told, changed or not. */
static void tell_changed(Bus *bus, const Object *before, const Object *after)
{
        const Interface *interface = &interface_table[node_own_interface(after->kind)];
        DBusMessage *signal;
        Changes changes;

        if (!changes_open(&changes, after->kind, after->name))
                return;
        for (size_t i = 0; i < interface->n_properties; i++)
                add_difference(&changes, (PropertyId)(interface->first_property + i), before,
                               after);
        signal = changes_close(&changes);
        if (!signal)
                return;
        send_signal(bus, after->kind, after->name, signal);
        dbus_message_unref(signal);
}

static void tell_one(Bus *bus, const Object *object, PropertyId property, Peer *only)
{
        CLEANUP(value_deinit) Value value = { 0 };
        DBusMessage *signal;
        Changes changes;

        if (!changes_open(&changes, object->kind, object->name))
                return;
        if (property_value(property, object, &value) == 0)
                changes_add(&changes, property, &value);
        signal = changes_close(&changes);
        if (!signal)
                return;
        if (only)
                send_copy(only, signal);
        else
                send_signal(bus, object->kind, object->name, signal);
        dbus_message_unref(signal);
}

/* --- objects that come and go --- */

static Object object_of(const Bus *bus, ObjectKind kind, const char *name)
{
        return (Object){ .bus = bus, .kind = kind, .name = name, .now_sec = clock_realtime_sec() };
}

/* Backends of a certificate differ by reader, so each gets a message of its own. */
static void tell_added_to(Peer *peer, Object *object)
{
        DBusMessage *signal = new_signal(
                OBJECT_ROOT, interface_table[INTERFACE_OBJECT_MANAGER].name, "InterfacesAdded");
        char path[OBJECT_PATH_MAX];
        DBusMessageIter iter;
        Value value;

        if (!signal)
                return;
        object->subject = &peer->subject;
        object_path(object, path);
        value = value_path(path);
        dbus_message_iter_init_append(signal, &iter);
        if (value_append(&iter, &value) && interfaces_append(&iter, object) == 0)
                send_copy(peer, signal);
        dbus_message_unref(signal);
}

static void tell_added(Bus *bus, Object object)
{
        Peer *peer, *next;

        for (peer = TAILQ_FIRST(&bus->peers); peer; peer = next) {
                next = TAILQ_NEXT(peer, entry);
                if (peer_listens(peer) && may_read(bus, &peer->subject, object.kind, object.name))
                        tell_added_to(peer, &object);
        }
}

static DBusMessage *new_removed(ObjectKind kind, const char *name)
{
        const char *interface = interface_table[node_own_interface(kind)].name;
        char *const interfaces[] = { (char *)(uintptr_t)interface, NULL };
        const Value removed = value_strings(interfaces);
        char path[OBJECT_PATH_MAX];
        DBusMessageIter iter;
        DBusMessage *signal;
        Value object;

        object_path_encode(kind, name, path);
        object = value_path(path);
        signal = new_signal(OBJECT_ROOT, interface_table[INTERFACE_OBJECT_MANAGER].name,
                            "InterfacesRemoved");
        if (!signal)
                return NULL;
        dbus_message_iter_init_append(signal, &iter);
        if (value_append(&iter, &object) && value_append(&iter, &removed))
                return signal;
        dbus_message_unref(signal);
        return NULL;
}

/* Also to those who could read it until a reload, and have not been told yet that they cannot any more. */
static void tell_removed(Bus *bus, ObjectKind kind, const char *name)
{
        DBusMessage *signal = new_removed(kind, name);
        Peer *peer, *next;

        if (!signal)
                return;
        for (peer = TAILQ_FIRST(&bus->peers); peer; peer = next) {
                next = TAILQ_NEXT(peer, entry);
                if (peer_listens(peer) &&
                    (may_read(bus, &peer->subject, kind, name) || view_may_have(peer, kind, name)))
                        send_copy(peer, signal);
        }
        dbus_message_unref(signal);
}

/* --- to one peer, after a reload --- */

void signal_removed_to(Peer *peer, ObjectKind kind, const char *name)
{
        DBusMessage *signal = new_removed(kind, name);

        if (!signal)
                return;
        send_copy(peer, signal);
        dbus_message_unref(signal);
}

void signal_added_to(Peer *peer, ObjectKind kind, const char *name)
{
        Failure ignored = { 0 };
        Object object;

        if (object_find(peer->bus, &peer->subject, kind, name, &object, &ignored) == 0)
                tell_added_to(peer, &object);
}

void signal_users_to(Peer *peer, const char *certificate)
{
        Failure ignored = { 0 };
        Object object;

        if (object_find(peer->bus, &peer->subject, OBJECT_CERTIFICATE, certificate, &object,
                        &ignored) == 0)
                tell_one(peer->bus, &object, PROPERTY_CERTIFICATE_BACKENDS, peer);
}

/* --- signals of numbers: Rotated, CredentialChanged, ExpiryWarning --- */

static void tell_numbers(Bus *bus, ObjectKind kind, const char *name, const char *member,
                         const uint64_t *numbers, size_t n)
{
        char path[OBJECT_PATH_MAX];
        DBusMessageIter iter;
        DBusMessage *signal;
        bool ok = true;

        object_path_encode(kind, name, path);
        signal = new_signal(path, interface_table[node_own_interface(kind)].name, member);
        if (!signal)
                return;
        dbus_message_iter_init_append(signal, &iter);
        for (size_t i = 0; ok && i < n; i++) {
                const Value value = value_u64(numbers[i]);

                ok = value_append(&iter, &value);
        }
        if (ok)
                send_signal(bus, kind, name, signal);
        dbus_message_unref(signal);
}

/* --- what manage says --- */

static void on_certificate_changed(void *userdata, const char *id, const Certificate *before,
                                   const Certificate *after)
{
        Bus *bus = userdata;
        Object new = object_of(bus, OBJECT_CERTIFICATE, id), old = new;

        new.certificate = after;
        old.certificate = before;
        if (before)
                tell_changed(bus, &old, &new);
        else
                tell_added(bus, new);
}

static void on_certificate_state_changed(void *userdata, const char *id)
{
        Bus *bus = userdata;
        Object object = object_of(bus, OBJECT_CERTIFICATE, id);

        object.certificate = catalog_find_certificate(bus->rooms.catalog, id);
        if (object.certificate)
                tell_one(bus, &object, PROPERTY_CERTIFICATE_STATE, NULL);
}

static void on_certificate_removed(void *userdata, const char *id)
{
        tell_removed(userdata, OBJECT_CERTIFICATE, id);
}

/* To those who may read both the certificate and the backend that uses it, or did. */
static void tell_backends_of(Bus *bus, const char *id, const char *backend)
{
        Object object = object_of(bus, OBJECT_CERTIFICATE, id);
        Peer *peer, *next;

        object.certificate = catalog_find_certificate(bus->rooms.catalog, id);
        if (!object.certificate)
                return;
        for (peer = TAILQ_FIRST(&bus->peers); peer; peer = next) {
                next = TAILQ_NEXT(peer, entry);
                object.subject = &peer->subject;
                if (peer_listens(peer) && may_read(bus, &peer->subject, OBJECT_CERTIFICATE, id) &&
                    may_read(bus, &peer->subject, OBJECT_BACKEND, backend))
                        tell_one(bus, &object, PROPERTY_CERTIFICATE_BACKENDS, peer);
        }
}

static void on_backend_changed(void *userdata, const char *name, const Backend *before,
                               const Backend *after)
{
        Bus *bus = userdata;
        Object new = object_of(bus, OBJECT_BACKEND, name), old = new;

        new.backend = after;
        old.backend = before;
        if (before)
                tell_changed(bus, &old, &new);
        else
                tell_added(bus, new);
        if (before && string_equal(before->certificate, after->certificate))
                return;
        if (before)
                tell_backends_of(bus, before->certificate, name);
        tell_backends_of(bus, after->certificate, name);
}

static void on_backend_removed(void *userdata, const char *name, const char *certificate)
{
        tell_removed(userdata, OBJECT_BACKEND, name);
        tell_backends_of(userdata, certificate, name);
}

static void on_credential_changed(void *userdata, const char *name, uint64_t generation)
{
        tell_numbers(userdata, OBJECT_BACKEND, name, "CredentialChanged", &generation, 1);
}

static void on_rotated(void *userdata, const char *id, uint64_t generation)
{
        tell_numbers(userdata, OBJECT_CERTIFICATE, id, "Rotated", &generation, 1);
}

static void on_expiry_warning(void *userdata, const char *id, uint64_t not_after_sec,
                              uint64_t left_sec)
{
        const uint64_t numbers[] = { not_after_sec, left_sec };

        tell_numbers(userdata, OBJECT_CERTIFICATE, id, "ExpiryWarning", numbers,
                     ELEMENTSOF(numbers));
}

static void on_exception_ended(void *userdata, const char *name)
{
        record_own(userdata, "ExceptionEnded", OBJECT_BACKEND, name, &(Asked){ 0 });
}

static void on_suspected(void *userdata, const char *id, uint64_t generation, Algorithm algorithm)
{
        Asked asked = { .generation = generation };

        snprintf(asked.algorithm, sizeof(asked.algorithm), "%s", algorithm_name(algorithm));
        record_own(userdata, "KeySuspected", OBJECT_CERTIFICATE, id, &asked);
}

static int on_may_go_on(void *userdata, void *caller, Failure *failure)
{
        (void)userdata;
        return call_decide_again(caller, failure);
}

static int on_may_manage(void *userdata, void *caller, ObjectKind kind, const char *name,
                         Failure *failure)
{
        const Request request = { .operation = OPERATION_MANAGE, .kind = kind, .name = name };
        const Bus *bus = userdata;
        const Call *call = caller;

        if (kind == OBJECT_SOURCE)
                return call_needs_source(caller, name, failure);
        if (!call->peer)
                return fail(failure, CB_NOT_FOUND, "who asked has gone");
        return check_access(bus, call_subject(call), &request, failure);
}

static uint32_t on_uid_of(void *userdata, void *caller)
{
        const Call *call = caller;

        (void)userdata;
        return call->uid;
}

static void on_wake_at(void *userdata, uint64_t realtime_sec)
{
        Bus *bus = userdata;

        bus->host.wake_at(bus->userdata, realtime_sec);
}

const ManageEvents signals_of_manage = {
        .certificate_changed = on_certificate_changed,
        .certificate_state_changed = on_certificate_state_changed,
        .certificate_removed = on_certificate_removed,
        .backend_changed = on_backend_changed,
        .backend_removed = on_backend_removed,
        .credential_changed = on_credential_changed,
        .rotated = on_rotated,
        .exception_ended = on_exception_ended,
        .suspected = on_suspected,
        .expiry_warning = on_expiry_warning,
        .may_go_on = on_may_go_on,
        .may_manage = on_may_manage,
        .uid_of = on_uid_of,
        .wake_at = on_wake_at,
};

/* --- what the channel says --- */

void signal_channel_address(Bus *bus)
{
        const Object object = object_of(bus, OBJECT_MANAGER, "");

        tell_one(bus, &object, PROPERTY_MANAGER_CHANNEL_ADDRESS, NULL);
}

/* --- what the owner says of sources --- */

static bool find_source(Bus *bus, const char *name, Object *ret_object)
{
        *ret_object = object_of(bus, OBJECT_SOURCE, name);
        return bus->rooms.source_view->find(bus->rooms.sources, name, &ret_object->source);
}

void bus_source_added(Bus *bus, const char *name)
{
        Object object;

        if (find_source(bus, name, &object))
                tell_added(bus, object);
}

void bus_source_changed(Bus *bus, const char *name)
{
        Object object;

        if (find_source(bus, name, &object))
                tell_changed(bus, NULL, &object);
}

void bus_source_removed(Bus *bus, const char *name)
{
        tell_removed(bus, OBJECT_SOURCE, name);
}
