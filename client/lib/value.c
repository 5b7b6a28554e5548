/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns the arguments of a message into a tree of cb_value, and reads and frees such trees. The tree
 * holds copies of everything and nothing of libdbus. Recursion goes down the levels of the message,
 * and stops at DEPTH_MAX; sizes are bounded by the connection's largest message.
 */
#include "value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 8

static void value_deinit(cb_value *value)
{
        switch (value->type) {
        case CB_TYPE_STRING:
                free(value->as.string);
                break;
        case CB_TYPE_FD:
                if (value->as.fd >= 0)
                        (void)close(value->as.fd);
                break;
        case CB_TYPE_BYTES:
                free(value->as.bytes.data);
                break;
        case CB_TYPE_LIST:
        case CB_TYPE_DICT:
                for (size_t i = 0; i < value->as.list.n; i++) {
                        value_deinit(&value->as.list.items[i]);
                        if (value->as.list.keys)
                                free(value->as.list.keys[i]);
                }
                free(value->as.list.items);
                free(value->as.list.keys);
                break;
        case CB_TYPE_NUMBER:
        case CB_TYPE_INTEGER:
        case CB_TYPE_DOUBLE:
        case CB_TYPE_BOOLEAN:
        case _CB_TYPE_N:
                break;
        }
}

cb_value *cb_value_free(cb_value *value)
{
        if (value) {
                value_deinit(value);
                free(value);
        }
        return NULL;
}

static int read_value(DBusMessageIter *iter, unsigned depth, cb_value *value);

/* One more item of a list or dict, empty; its place may move when the next is added. */
static int list_grow(cb_value *list, size_t *n_room)
{
        size_t n = list->as.list.n;

        if (n == *n_room) {
                size_t room = n < 4 ? 4 : 2 * n;
                cb_value *items = reallocarray(list->as.list.items, room, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                list->as.list.items = items;
                if (list->type == CB_TYPE_DICT) {
                        char **keys = reallocarray(list->as.list.keys, room, sizeof(*keys));

                        if (!keys)
                                return -ENOMEM;
                        list->as.list.keys = keys;
                }
                *n_room = room;
        }
        list->as.list.items[n] = (cb_value){ .type = _CB_TYPE_N };
        if (list->as.list.keys)
                list->as.list.keys[n] = NULL;
        list->as.list.n++;
        return 0;
}

static int read_list(DBusMessageIter *iter, unsigned depth, cb_value *value)
{
        size_t n_room = 0;
        int r;

        *value = (cb_value){ .type = CB_TYPE_LIST };
        for (; dbus_message_iter_get_arg_type(iter) != DBUS_TYPE_INVALID;
             dbus_message_iter_next(iter)) {
                r = list_grow(value, &n_room);
                if (r)
                        return r;
                r = read_value(iter, depth + 1, &value->as.list.items[value->as.list.n - 1]);
                if (r)
                        return r;
        }
        return 0;
}

static int read_dict(DBusMessageIter *iter, unsigned depth, cb_value *value)
{
        size_t n_room = 0;
        int r;

        *value = (cb_value){ .type = CB_TYPE_DICT };
        for (; dbus_message_iter_get_arg_type(iter) == DBUS_TYPE_DICT_ENTRY;
             dbus_message_iter_next(iter)) {
                DBusMessageIter entry;
                const char *key;
                size_t n;

                r = list_grow(value, &n_room);
                if (r)
                        return r;
                n = value->as.list.n - 1;

                dbus_message_iter_recurse(iter, &entry);
                dbus_message_iter_get_basic(&entry, &key);
                value->as.list.keys[n] = strdup(key);
                if (!value->as.list.keys[n])
                        return -ENOMEM;
                dbus_message_iter_next(&entry);
                r = read_value(&entry, depth + 1, &value->as.list.items[n]);
                if (r)
                        return r;
        }
        return 0;
}

static int read_bytes(DBusMessageIter *array, cb_value *value)
{
        const uint8_t *data = NULL;
        uint8_t *copy;
        int n = 0;

        dbus_message_iter_get_fixed_array(array, &data, &n);
        copy = malloc(n > 0 ? (size_t)n : 1);
        if (!copy)
                return -ENOMEM;
        if (n > 0)
                memcpy(copy, data, (size_t)n);
        *value = (cb_value){ .type = CB_TYPE_BYTES, .as.bytes = { copy, n > 0 ? (size_t)n : 0 } };
        return 0;
}

/* A dict is what has keys that are text; any other is a list of pairs. */
static bool is_text_dict(DBusMessageIter *array)
{
        DBusMessageIter entry;
        char *signature = dbus_message_iter_get_signature(array);
        bool empty_dict =
                signature && (strncmp(signature, "{s", 2) == 0 || strncmp(signature, "{o", 2) == 0);
        int type;

        dbus_free(signature);
        if (dbus_message_iter_get_arg_type(array) == DBUS_TYPE_INVALID)
                return empty_dict;
        dbus_message_iter_recurse(array, &entry);
        type = dbus_message_iter_get_arg_type(&entry);
        return type == DBUS_TYPE_STRING || type == DBUS_TYPE_OBJECT_PATH;
}

static int read_array(DBusMessageIter *iter, unsigned depth, cb_value *value)
{
        DBusMessageIter array;
        int type = dbus_message_iter_get_element_type(iter);

        dbus_message_iter_recurse(iter, &array);
        if (type == DBUS_TYPE_BYTE)
                return read_bytes(&array, value);
        if (type == DBUS_TYPE_DICT_ENTRY && is_text_dict(&array))
                return read_dict(&array, depth, value);
        return read_list(&array, depth, value);
}

static int read_string(const char *text, cb_value *value)
{
        char *copy = strdup(text);

        if (!copy)
                return -ENOMEM;
        *value = (cb_value){ .type = CB_TYPE_STRING, .as.string = copy };
        return 0;
}

static void read_number(uint64_t number, cb_value *value)
{
        *value = (cb_value){ .type = CB_TYPE_NUMBER, .as.number = number };
}

static void read_integer(int64_t integer, cb_value *value)
{
        if (integer >= 0)
                read_number((uint64_t)integer, value);
        else
                *value = (cb_value){ .type = CB_TYPE_INTEGER, .as.integer = integer };
}

static int read_basic(DBusMessageIter *iter, int type, cb_value *value)
{
        DBusBasicValue basic;

        dbus_message_iter_get_basic(iter, &basic);
        switch (type) {
        case DBUS_TYPE_STRING:
        case DBUS_TYPE_OBJECT_PATH:
        case DBUS_TYPE_SIGNATURE:
                return read_string(basic.str, value);
        case DBUS_TYPE_BYTE:
                read_number(basic.byt, value);
                return 0;
        case DBUS_TYPE_UINT16:
                read_number(basic.u16, value);
                return 0;
        case DBUS_TYPE_UINT32:
                read_number(basic.u32, value);
                return 0;
        case DBUS_TYPE_UINT64:
                read_number(basic.u64, value);
                return 0;
        case DBUS_TYPE_INT16:
                read_integer(basic.i16, value);
                return 0;
        case DBUS_TYPE_INT32:
                read_integer(basic.i32, value);
                return 0;
        case DBUS_TYPE_INT64:
                read_integer(basic.i64, value);
                return 0;
        case DBUS_TYPE_DOUBLE:
                *value = (cb_value){ .type = CB_TYPE_DOUBLE, .as.real = basic.dbl };
                return 0;
        case DBUS_TYPE_BOOLEAN:
                *value = (cb_value){ .type = CB_TYPE_BOOLEAN, .as.boolean = basic.bool_val };
                return 0;
        case DBUS_TYPE_UNIX_FD:
                *value = (cb_value){ .type = CB_TYPE_FD, .as.fd = basic.fd };
                return 0;
        default:
                return -EBADMSG;
        }
}

static int read_value(DBusMessageIter *iter, unsigned depth, cb_value *value)
{
        int type = dbus_message_iter_get_arg_type(iter);
        DBusMessageIter inner;

        if (depth > DEPTH_MAX)
                return -EBADMSG;

        switch (type) {
        case DBUS_TYPE_VARIANT:
                dbus_message_iter_recurse(iter, &inner);
                return read_value(&inner, depth + 1, value);
        case DBUS_TYPE_STRUCT:
        case DBUS_TYPE_DICT_ENTRY:
                dbus_message_iter_recurse(iter, &inner);
                return read_list(&inner, depth, value);
        case DBUS_TYPE_ARRAY:
                return read_array(iter, depth, value);
        default:
                return read_basic(iter, type, value);
        }
}

int value_from_message(DBusMessage *message, cb_value **ret_value)
{
        CLEANUP(cb_value_freep) cb_value *root = NULL;
        DBusMessageIter iter;
        int r;

        root = malloc(sizeof(*root));
        if (!root)
                return -ENOMEM;
        *root = (cb_value){ .type = CB_TYPE_LIST };

        if (dbus_message_iter_init(message, &iter)) {
                r = read_list(&iter, 0, root);
                if (r)
                        return r;
        }
        *ret_value = TAKE(root);
        return 0;
}

const cb_value *cb_value_at(const cb_value *list, size_t index)
{
        if (!list || (list->type != CB_TYPE_LIST && list->type != CB_TYPE_DICT))
                return NULL;
        return index < list->as.list.n ? &list->as.list.items[index] : NULL;
}

const cb_value *cb_value_get(const cb_value *dict, const char *key)
{
        if (!dict || dict->type != CB_TYPE_DICT)
                return NULL;
        for (size_t i = 0; i < dict->as.list.n; i++)
                if (strcmp(dict->as.list.keys[i], key) == 0)
                        return &dict->as.list.items[i];
        return NULL;
}

const char *cb_value_string(const cb_value *value, const char *fallback)
{
        return value && value->type == CB_TYPE_STRING ? value->as.string : fallback;
}

uint64_t cb_value_number(const cb_value *value, uint64_t fallback)
{
        return value && value->type == CB_TYPE_NUMBER ? value->as.number : fallback;
}

bool cb_value_boolean(const cb_value *value, bool fallback)
{
        return value && value->type == CB_TYPE_BOOLEAN ? value->as.boolean : fallback;
}

size_t cb_value_length(const cb_value *value)
{
        if (!value)
                return 0;
        switch (value->type) {
        case CB_TYPE_STRING:
                return strlen(value->as.string);
        case CB_TYPE_BYTES:
                return value->as.bytes.n;
        case CB_TYPE_LIST:
        case CB_TYPE_DICT:
                return value->as.list.n;
        case CB_TYPE_NUMBER:
        case CB_TYPE_INTEGER:
        case CB_TYPE_DOUBLE:
        case CB_TYPE_BOOLEAN:
        case CB_TYPE_FD:
        case _CB_TYPE_N:
                break;
        }
        return 0;
}
