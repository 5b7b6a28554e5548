/* SPDX-License-Identifier: Apache-2.0 */
/*
 * org.freedesktop.DBus.Properties, and the dictionaries of properties that other answers hold. The
 * invariant is that Chain, and whatever else is not for bulk answers, leaves by Get alone.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <string.h>

static const Interface *own_interface(ObjectKind kind)
{
        return &interface_table[node_own_interface(kind)];
}

static bool append_property(DBusMessageIter *dictionary, PropertyId property, const Object *object,
                            size_t *size)
{
        const char *name = property_table[property].name;
        CLEANUP(value_deinit) Value value = { 0 };

        if (property_value(property, object, &value) < 0 ||
            !value_append_entry(dictionary, name, &value))
                return false;
        *size = value_entry_end(name, &value, *size);
        return true;
}

int properties_append(DBusMessageIter *iter, const Object *object, size_t *size)
{
        const Interface *interface = own_interface(object->kind);
        DBusMessageIter dictionary;

        if (!dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, "{sv}", &dictionary))
                return -ENOMEM;
        *size = array_of_structs_begin(*size);
        for (size_t i = 0; i < interface->n_properties; i++) {
                PropertyId property = (PropertyId)(interface->first_property + i);

                if (property_table[property].bulk &&
                    !append_property(&dictionary, property, object, size)) {
                        dbus_message_iter_abandon_container(iter, &dictionary);
                        return -ENOMEM;
                }
        }
        return dbus_message_iter_close_container(iter, &dictionary) ? 0 : -ENOMEM;
}

int interfaces_append(DBusMessageIter *iter, const Object *object, size_t *size)
{
        const Value name = value_string(own_interface(object->kind)->name);
        DBusMessageIter dictionary, entry;

        *size = value_end(&name, array_of_structs_begin(*size));
        if (!dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, "{sa{sv}}", &dictionary) ||
            !dbus_message_iter_open_container(&dictionary, DBUS_TYPE_DICT_ENTRY, NULL, &entry) ||
            !value_append(&entry, &name) ||
            properties_append(&entry, object, size) < 0 ||
            !dbus_message_iter_close_container(&dictionary, &entry) ||
            !dbus_message_iter_close_container(iter, &dictionary))
                return -ENOMEM;
        return 0;
}

/* Answers the error itself; NULL: it has. Standard interfaces have no properties. */
static const Interface *find_interface(Call *call, const char *name)
{
        for (size_t i = 0; i < _INTERFACE_N; i++) {
                if (node_has_interface(&call->node, (InterfaceId)i) &&
                    strcmp(interface_table[i].name, name) == 0)
                        return &interface_table[i];
        }
        call_fail_standard(call, DBUS_ERROR_UNKNOWN_INTERFACE, "the object has no interface %s",
                           name);
        return NULL;
}

static bool find_property(Call *call, const char *interface_name, const char *name,
                          PropertyId *ret_property)
{
        const Interface *interface = find_interface(call, interface_name);

        if (!interface)
                return false;
        for (size_t i = 0; i < interface->n_properties; i++) {
                if (strcmp(property_table[interface->first_property + i].name, name) == 0) {
                        *ret_property = (PropertyId)(interface->first_property + i);
                        return true;
                }
        }
        call_fail_standard(call, DBUS_ERROR_UNKNOWN_PROPERTY, "interface %s has no property %s",
                           interface_name, name);
        return false;
}

/* The dispatcher has found it a moment ago. */
static void find_object(Call *call, Object *ret_object)
{
        int r = object_find(call->bus, call_subject(call), call->node.kind, call->node.name,
                            ret_object, NULL);

        assert_always(r == 0);
}

void properties_get(Call *call, DBusMessage *message)
{
        CLEANUP(value_deinit) Value value = { 0 };
        const char *interface, *name;
        PropertyId property;
        DBusMessageIter iter;
        DBusMessage *reply;
        Object object;

        if (!dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &interface, DBUS_TYPE_STRING,
                                   &name, DBUS_TYPE_INVALID)) {
                call_fail_memory(call);
                return;
        }
        if (!find_property(call, interface, name, &property))
                return;
        find_object(call, &object);
        reply = call_new_answer(call);
        if (!reply || property_value(property, &object, &value) < 0) {
                if (reply)
                        dbus_message_unref(reply);
                call_fail_memory(call);
                return;
        }
        dbus_message_iter_init_append(reply, &iter);
        if (!value_append_variant(&iter, &value)) {
                dbus_message_unref(reply);
                call_fail_memory(call);
                return;
        }
        call_answer(call, reply);
}

static int append_empty(DBusMessageIter *iter)
{
        DBusMessageIter dictionary;

        return dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, "{sv}", &dictionary) &&
                               dbus_message_iter_close_container(iter, &dictionary)
                       ? 0
                       : -ENOMEM;
}

void properties_get_all(Call *call, DBusMessage *message)
{
        const Interface *interface = NULL;
        const char *name = NULL;
        DBusMessageIter iter;
        DBusMessage *reply;
        size_t size = 0;
        Object object;
        int r;

        if (!dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_INVALID)) {
                call_fail_memory(call);
                return;
        }
        /* The empty name asks for all that the object has: that is one interface's. */
        if (*name != '\0') {
                interface = find_interface(call, name);
                if (!interface)
                        return;
        }
        reply = call_new_answer(call);
        if (!reply) {
                call_fail_memory(call);
                return;
        }
        dbus_message_iter_init_append(reply, &iter);
        if (call->node.type == NODE_FOLDER ||
            (interface && interface != own_interface(call->node.kind))) {
                r = append_empty(&iter);
        } else {
                find_object(call, &object);
                r = properties_append(&iter, &object, &size);
        }
        if (r < 0) {
                dbus_message_unref(reply);
                call_fail_memory(call);
                return;
        }
        call_answer(call, reply);
}

void properties_set(Call *call, DBusMessage *message)
{
        const char *interface, *name;
        DBusMessageIter iter, variant;
        PropertyId property;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &interface);
        dbus_message_iter_next(&iter);
        dbus_message_iter_get_basic(&iter, &name);
        dbus_message_iter_next(&iter);
        dbus_message_iter_recurse(&iter, &variant);

        if (!find_property(call, interface, name, &property))
                return;
        if (!property_table[property].writable) {
                call_fail_standard(call, DBUS_ERROR_PROPERTY_READ_ONLY, "%s cannot be set", name);
                return;
        }
        backend_set_property(call, name, &variant);
}
