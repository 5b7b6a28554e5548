/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds method calls and a{sv} dictionaries. libdbus abort()s the program on text that is not UTF-8
 * and on bad paths and names, so everything is checked here first: nothing that a caller may have read
 * somewhere can end the process.
 */
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define DEFAULT_PATH      "/org/certbroker1"
#define DEFAULT_INTERFACE "org.certbroker1.Manager"

typedef struct Entry {
        char *key;
        int type; /* 's', 'b', 'u', 't'; 'S': as, 'U': au */
        uint64_t number;
        char **strings; /* n of them; of 's' one */
        uint32_t *numbers;
        size_t n;
} Entry;

struct cb_dict {
        Entry *entries;
        size_t n;
};

/* ------------------------------------------------------------------ dictionaries */

static void entry_deinit(Entry *entry)
{
        free(entry->key);
        for (size_t i = 0; entry->strings && i < entry->n; i++)
                free(entry->strings[i]);
        free(entry->strings);
        free(entry->numbers);
}

int cb_dict_new(cb_dict **ret_dict)
{
        cb_dict *dict;

        if (!ret_dict)
                return -EINVAL;
        dict = calloc(1, sizeof(*dict));
        if (!dict)
                return -ENOMEM;
        *ret_dict = dict;
        return 0;
}

cb_dict *cb_dict_free(cb_dict *dict)
{
        if (dict) {
                for (size_t i = 0; i < dict->n; i++)
                        entry_deinit(&dict->entries[i]);
                free(dict->entries);
                free(dict);
        }
        return NULL;
}

static bool text_is_sendable(const char *text)
{
        return text && dbus_validate_utf8(text, NULL);
}

/* Takes what entry holds, also on failure; its key is set here. */
static int dict_take(cb_dict *dict, const char *key, Entry *entry)
{
        Entry *entries;
        int r = -ENOMEM;

        if (!dict || !key)
                r = -EINVAL;
        else if (!text_is_sendable(key))
                r = CB_INVALID_ARGUMENT;
        else
                entry->key = strdup(key);
        if (!entry->key)
                goto fail;

        for (size_t i = 0; i < dict->n; i++)
                if (strcmp(dict->entries[i].key, key) == 0) {
                        entry_deinit(&dict->entries[i]);
                        dict->entries[i] = *entry;
                        return 0;
                }

        entries = reallocarray(dict->entries, dict->n + 1, sizeof(*entries));
        if (!entries)
                goto fail;
        dict->entries = entries;
        entries[dict->n++] = *entry;
        return 0;

fail:
        entry_deinit(entry);
        return r;
}

static int dict_set_texts(cb_dict *dict, const char *key, int type, const char *const *values,
                          size_t n_values)
{
        Entry entry = { .type = type };

        if (!values && n_values > 0)
                return -EINVAL;
        for (size_t i = 0; i < n_values; i++) {
                if (!values[i])
                        return -EINVAL;
                if (!text_is_sendable(values[i]))
                        return CB_INVALID_ARGUMENT;
        }

        entry.strings = calloc(n_values + 1, sizeof(*entry.strings));
        if (!entry.strings)
                return -ENOMEM;
        for (; entry.n < n_values; entry.n++) {
                entry.strings[entry.n] = strdup(values[entry.n]);
                if (!entry.strings[entry.n]) {
                        entry_deinit(&entry);
                        return -ENOMEM;
                }
        }
        return dict_take(dict, key, &entry);
}

int cb_dict_set_string(cb_dict *dict, const char *key, const char *value)
{
        return dict_set_texts(dict, key, 's', &value, 1);
}

int cb_dict_set_strings(cb_dict *dict, const char *key, const char *const *values, size_t n_values)
{
        return dict_set_texts(dict, key, 'S', values, n_values);
}

int cb_dict_set_boolean(cb_dict *dict, const char *key, bool value)
{
        return dict_take(dict, key, &(Entry){ .type = 'b', .number = value });
}

int cb_dict_set_uint32(cb_dict *dict, const char *key, uint32_t value)
{
        return dict_take(dict, key, &(Entry){ .type = 'u', .number = value });
}

int cb_dict_set_uint64(cb_dict *dict, const char *key, uint64_t value)
{
        return dict_take(dict, key, &(Entry){ .type = 't', .number = value });
}

int cb_dict_set_uint32s(cb_dict *dict, const char *key, const uint32_t *values, size_t n_values)
{
        Entry entry = { .type = 'U', .n = n_values };

        if (!values && n_values > 0)
                return -EINVAL;
        entry.numbers = calloc(n_values + 1, sizeof(*entry.numbers));
        if (!entry.numbers)
                return -ENOMEM;
        if (n_values > 0)
                memcpy(entry.numbers, values, n_values * sizeof(*values));
        return dict_take(dict, key, &entry);
}

/* ------------------------------------------------------------------ appending; all give a bool: memory */

static bool append_strings(DBusMessageIter *iter, const char *const *strings, size_t n)
{
        DBusMessageIter array;

        if (!dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, "s", &array))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!dbus_message_iter_append_basic(&array, DBUS_TYPE_STRING, &strings[i])) {
                        dbus_message_iter_abandon_container(iter, &array);
                        return false;
                }
        return dbus_message_iter_close_container(iter, &array);
}

static bool append_fixed(DBusMessageIter *iter, int type, const void *data, size_t n)
{
        const char signature[] = { (char)type, '\0' };
        DBusMessageIter array;

        if (!dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, signature, &array))
                return false;
        if (n > 0 && !dbus_message_iter_append_fixed_array(&array, type, &data, (int)n)) {
                dbus_message_iter_abandon_container(iter, &array);
                return false;
        }
        return dbus_message_iter_close_container(iter, &array);
}

static bool append_entry_value(DBusMessageIter *iter, const Entry *entry)
{
        dbus_bool_t truth = entry->number != 0;
        uint32_t number = (uint32_t)entry->number;

        switch (entry->type) {
        case 's':
                return dbus_message_iter_append_basic(iter, DBUS_TYPE_STRING, &entry->strings[0]);
        case 'b':
                return dbus_message_iter_append_basic(iter, DBUS_TYPE_BOOLEAN, &truth);
        case 'u':
                return dbus_message_iter_append_basic(iter, DBUS_TYPE_UINT32, &number);
        case 't':
                return dbus_message_iter_append_basic(iter, DBUS_TYPE_UINT64, &entry->number);
        case 'S':
                return append_strings(iter, (const char *const *)entry->strings, entry->n);
        default:
                return append_fixed(iter, DBUS_TYPE_UINT32, entry->numbers, entry->n);
        }
}

static const char *entry_signature(const Entry *entry)
{
        switch (entry->type) {
        case 's':
                return "s";
        case 'b':
                return "b";
        case 'u':
                return "u";
        case 't':
                return "t";
        case 'S':
                return "as";
        default:
                return "au";
        }
}

static bool append_entry(DBusMessageIter *array, const Entry *entry)
{
        DBusMessageIter pair = DBUS_MESSAGE_ITER_INIT_CLOSED;
        DBusMessageIter variant = DBUS_MESSAGE_ITER_INIT_CLOSED;

        if (dbus_message_iter_open_container(array, DBUS_TYPE_DICT_ENTRY, NULL, &pair) &&
            dbus_message_iter_append_basic(&pair, DBUS_TYPE_STRING, &entry->key) &&
            dbus_message_iter_open_container(&pair, DBUS_TYPE_VARIANT, entry_signature(entry),
                                             &variant) &&
            append_entry_value(&variant, entry) &&
            dbus_message_iter_close_container(&pair, &variant) &&
            dbus_message_iter_close_container(array, &pair))
                return true;

        dbus_message_iter_abandon_container_if_open(&pair, &variant);
        dbus_message_iter_abandon_container_if_open(array, &pair);
        return false;
}

static bool append_dict(DBusMessageIter *iter, const cb_dict *dict)
{
        DBusMessageIter array;

        if (!dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, "{sv}", &array))
                return false;
        for (size_t i = 0; dict && i < dict->n; i++)
                if (!append_entry(&array, &dict->entries[i])) {
                        dbus_message_iter_abandon_container(iter, &array);
                        return false;
                }
        return dbus_message_iter_close_container(iter, &array);
}

/* ------------------------------------------------------------------ arguments */

typedef struct Arguments {
        DBusMessageIter iter;
        va_list list;
        cb_error *error;
} Arguments;

static int add_basic(Arguments *args, int type, const void *value)
{
        return dbus_message_iter_append_basic(&args->iter, type, value) ? 0 : -ENOMEM;
}

static int add_string(Arguments *args)
{
        const char *text = va_arg(args->list, const char *);

        if (!text)
                return error_set(args->error, -EINVAL, "A text argument is missing.");
        if (!text_is_sendable(text))
                return error_set(args->error, CB_INVALID_ARGUMENT,
                                 "An argument is not valid UTF-8 text.");
        return add_basic(args, DBUS_TYPE_STRING, &text);
}

static int add_path(Arguments *args)
{
        const char *path = va_arg(args->list, const char *);

        if (!path || !dbus_validate_path(path, NULL))
                return error_set(args->error, CB_INVALID_ARGUMENT,
                                 "An argument is not an object path.");
        return add_basic(args, DBUS_TYPE_OBJECT_PATH, &path);
}

static int add_boolean(Arguments *args)
{
        dbus_bool_t truth = va_arg(args->list, int) != 0;

        return add_basic(args, DBUS_TYPE_BOOLEAN, &truth);
}

static int add_uint32(Arguments *args)
{
        uint32_t number = va_arg(args->list, uint32_t);

        return add_basic(args, DBUS_TYPE_UINT32, &number);
}

static int add_uint64(Arguments *args)
{
        uint64_t number = va_arg(args->list, uint64_t);

        return add_basic(args, DBUS_TYPE_UINT64, &number);
}

static int add_fd(Arguments *args)
{
        int fd = va_arg(args->list, int);

        if (fd < 0 || fcntl(fd, F_GETFD) < 0)
                return error_set(args->error, -EBADF, "A file descriptor is missing.");
        return add_basic(args, DBUS_TYPE_UNIX_FD, &fd);
}

static int add_bytes(Arguments *args)
{
        const void *data = va_arg(args->list, const void *);
        size_t n = va_arg(args->list, size_t);

        if (!data && n > 0)
                return error_set(args->error, -EINVAL, "A byte argument is missing.");
        if (n > DBUS_MAXIMUM_ARRAY_LENGTH / 4)
                return error_set(args->error, CB_INVALID_ARGUMENT, "An argument is too long.");
        return append_fixed(&args->iter, DBUS_TYPE_BYTE, data, n) ? 0 : -ENOMEM;
}

static int add_strings(Arguments *args)
{
        const char *const *strings = va_arg(args->list, const char *const *);
        size_t n = va_arg(args->list, size_t);

        for (size_t i = 0; i < n; i++)
                if (!strings || !text_is_sendable(strings[i]))
                        return error_set(args->error, CB_INVALID_ARGUMENT,
                                         "An argument is not valid UTF-8 text.");
        return append_strings(&args->iter, strings, n) ? 0 : -ENOMEM;
}

static int add_dict(Arguments *args)
{
        return append_dict(&args->iter, va_arg(args->list, const cb_dict *)) ? 0 : -ENOMEM;
}

static const struct {
        const char *signature;
        int (*add)(Arguments *args);
} argument_types[] = {
        { "s", add_string }, { "o", add_path },     { "b", add_boolean },
        { "u", add_uint32 }, { "t", add_uint64 },   { "h", add_fd },
        { "ay", add_bytes }, { "as", add_strings }, { "a{sv}", add_dict },
};

static int add_arguments(Arguments *args, const char *signature)
{
        while (*signature) {
                size_t i, n = 0;
                int r;

                for (i = 0; i < ELEMENTSOF(argument_types); i++) {
                        n = strlen(argument_types[i].signature);
                        if (strncmp(signature, argument_types[i].signature, n) == 0)
                                break;
                }
                if (i == ELEMENTSOF(argument_types))
                        return error_set(args->error, -EINVAL, "The signature is not supported.");
                r = argument_types[i].add(args);
                if (r)
                        return r;
                signature += n;
        }
        return 0;
}

int message_new(const cb_method *method, const char *signature, va_list list,
                DBusMessage **ret_message, cb_error *error)
{
        CLEANUP(message_unrefp) DBusMessage *message = NULL;
        const char *path = method->path ? method->path : DEFAULT_PATH;
        const char *interface = method->interface ? method->interface : DEFAULT_INTERFACE;
        Arguments args = { .error = error };
        int r;

        if (!method->member || !dbus_validate_path(path, NULL) ||
            !dbus_validate_interface(interface, NULL) ||
            !dbus_validate_member(method->member, NULL))
                return error_set(error, -EINVAL, "The path, interface or member is not valid.");

        message = dbus_message_new_method_call(NULL, path, interface, method->member);
        if (!message)
                return -ENOMEM;
        dbus_message_set_auto_start(message, FALSE);

        dbus_message_iter_init_append(message, &args.iter);
        va_copy(args.list, list);
        r = add_arguments(&args, signature ? signature : "");
        va_end(args.list);
        if (r == -ENOMEM)
                return error_set(error, r, "Out of memory.");
        if (r)
                return r;

        *ret_message = TAKE(message);
        return 0;
}
