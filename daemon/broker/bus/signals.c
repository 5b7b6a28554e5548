/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals: one peer is told what has changed, by unicast; a broadcast would be seen by everybody. What is told is what
 * there is now, to those who may read it now, so no signal says less than an answer before it did. What is to be told
 * to whom, and when, is for changes.c and teller.c.
 */
#include "broker/bus/room.h"

#include <string.h>

bool peer_listens(const Peer *peer)
{
        if (peer->state != PEER_KNOWN)
                return false;
        if (peer->name)
                return peer->has_called;
        /* On the channel libdbus answers some calls by itself; being let in is what counts. */
        return dbus_connection_get_is_authenticated(peer->connection);
}

static bool lets_read(const Peer *peer, ObjectKind kind, const char *name)
{
        return may_read(peer->bus, &peer->subject, kind, name);
}

/* Takes the signal; not `ok`, or NULL: there was no memory for it. */
static void send(Peer *peer, DBusMessage *signal, bool ok)
{
        if (!signal || !ok || !dbus_message_set_destination(signal, peer->name))
                complain(peer->bus, "no memory for a signal");
        else
                peer_send(peer, signal);
        if (signal)
                dbus_message_unref(signal);
}

static DBusMessage *new_signal_of(ObjectKind kind, const char *name, const char *interface,
                                  const char *member)
{
        char path[OBJECT_PATH_MAX];

        object_path_encode(kind, name, path);
        return dbus_message_new_signal(path, interface, member);
}

static DBusMessage *new_signal_of_root(const char *member)
{
        return dbus_message_new_signal(OBJECT_ROOT, interface_table[INTERFACE_OBJECT_MANAGER].name,
                                       member);
}

/* --- PropertiesChanged --- */

static bool append_changes(DBusMessageIter *dictionary, const Object *object, uint64_t properties)
{
        const Interface *interface = &interface_table[node_own_interface(object->kind)];

        for (size_t i = 0; i < interface->n_properties; i++) {
                PropertyId property = (PropertyId)(interface->first_property + i);
                CLEANUP(value_deinit) Value value = { 0 };

                if (!(properties & property_bit(property)))
                        continue;
                if (property_value(property, object, &value) < 0 ||
                    !value_append_entry(dictionary, property_table[property].name, &value))
                        return false;
        }
        return true;
}

static bool append_changed(DBusMessage *signal, const Object *object, uint64_t properties)
{
        DBusMessageIter iter, dictionary, invalidated;

        dbus_message_iter_init_append(signal, &iter);
        if (!append_string(&iter, interface_table[node_own_interface(object->kind)].name) ||
            !dbus_message_iter_open_container(&iter, DBUS_TYPE_ARRAY, "{sv}", &dictionary))
                return false;
        if (!append_changes(&dictionary, object, properties)) {
                dbus_message_iter_abandon_container(&iter, &dictionary);
                return false;
        }
        return dbus_message_iter_close_container(&iter, &dictionary) &&
               dbus_message_iter_open_container(&iter, DBUS_TYPE_ARRAY, "s", &invalidated) &&
               dbus_message_iter_close_container(&iter, &invalidated);
}

static void tell_changed(Peer *peer, ObjectKind kind, const char *name, uint64_t properties)
{
        Failure ignored = { 0 };
        DBusMessage *signal;
        Object object;

        if (object_find(peer->bus, &peer->subject, kind, name, &object, &ignored) != 0)
                return;
        signal = new_signal_of(kind, name, DBUS_INTERFACE_PROPERTIES, "PropertiesChanged");
        send(peer, signal, signal && append_changed(signal, &object, properties));
}

void signal_users_to(Peer *peer, const char *certificate)
{
        tell_changed(peer, OBJECT_CERTIFICATE, certificate,
                     property_bit(PROPERTY_CERTIFICATE_BACKENDS));
}

/* --- objects that come and go --- */

static bool append_added(DBusMessage *signal, const Object *object)
{
        char path[OBJECT_PATH_MAX];
        DBusMessageIter iter;
        size_t size = 0;
        Value value;

        object_path(object, path);
        value = value_path(path);
        dbus_message_iter_init_append(signal, &iter);
        return value_append(&iter, &value) && interfaces_append(&iter, object, &size) == 0;
}

void signal_added_to(Peer *peer, ObjectKind kind, const char *name)
{
        Failure ignored = { 0 };
        DBusMessage *signal;
        Object object;

        if (object_find(peer->bus, &peer->subject, kind, name, &object, &ignored) != 0)
                return;
        signal = new_signal_of_root("InterfacesAdded");
        send(peer, signal, signal && append_added(signal, &object));
}

static bool append_removed(DBusMessage *signal, ObjectKind kind, const char *name)
{
        const char *interface = interface_table[node_own_interface(kind)].name;
        char *const interfaces[] = { (char *)(uintptr_t)interface, NULL };
        const Value removed = value_strings(interfaces);
        char path[OBJECT_PATH_MAX];
        DBusMessageIter iter;
        Value object;

        object_path_encode(kind, name, path);
        object = value_path(path);
        dbus_message_iter_init_append(signal, &iter);
        return value_append(&iter, &object) && value_append(&iter, &removed);
}

void signal_removed_to(Peer *peer, ObjectKind kind, const char *name)
{
        DBusMessage *signal = new_signal_of_root("InterfacesRemoved");

        send(peer, signal, signal && append_removed(signal, kind, name));
}

/* --- Rotated, CredentialChanged, ExpiryWarning --- */

static bool append_numbers(DBusMessage *signal, const uint64_t *numbers, size_t n)
{
        DBusMessageIter iter;

        dbus_message_iter_init_append(signal, &iter);
        for (size_t i = 0; i < n; i++) {
                const Value value = value_u64(numbers[i]);

                if (!value_append(&iter, &value))
                        return false;
        }
        return true;
}

static void tell_numbers(Peer *peer, const Notice *notice, const char *member, size_t n)
{
        DBusMessage *signal;

        if (!lets_read(peer, notice->kind, notice->name))
                return;
        signal = new_signal_of(notice->kind, notice->name,
                               interface_table[node_own_interface(notice->kind)].name, member);
        send(peer, signal, signal && append_numbers(signal, notice->numbers, n));
}

/* --- any of them --- */

void signal_tell(Peer *peer, const Notice *notice)
{
        switch (notice->type) {
        case NOTICE_REMOVED:
                /* Also to whom could read it until a reload, and has not been told yet that he cannot any more. */
                if (lets_read(peer, notice->kind, notice->name) ||
                    view_may_have(peer, notice->kind, notice->name))
                        signal_removed_to(peer, notice->kind, notice->name);
                break;
        case NOTICE_ADDED:
                signal_added_to(peer, notice->kind, notice->name);
                break;
        case NOTICE_CHANGED:
                tell_changed(peer, notice->kind, notice->name, notice->properties);
                break;
        case NOTICE_USED:
                /* To whom may read both the certificate and the backend that uses it, or did. */
                if (lets_read(peer, OBJECT_BACKEND, notice->user))
                        signal_users_to(peer, notice->name);
                break;
        case NOTICE_ROTATED:
                tell_numbers(peer, notice, "Rotated", 1);
                break;
        case NOTICE_CREDENTIAL:
                tell_numbers(peer, notice, "CredentialChanged", 1);
                break;
        case NOTICE_EXPIRY:
                tell_numbers(peer, notice, "ExpiryWarning", 2);
                break;
        }
}
