/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values between our structures and libdbus messages. libdbus aborts the process over a string that is
 * not UTF-8 or a path that is none: append_string() is the last guard, and nothing outside this file
 * appends text. What is read is bounded here, before anything is allocated for it.
 */
#include "broker/bus/value.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "core/identifier.h"

static const char *const signatures[_VALUE_TYPE_N] = {
        [VALUE_NONE] = "",      [VALUE_STRING] = "s",
        [VALUE_PATH] = "o",     [VALUE_BOOLEAN] = "b",
        [VALUE_U32] = "u",      [VALUE_U64] = "t",
        [VALUE_STRINGS] = "as", [VALUE_U32S] = "au",
        [VALUE_CHAIN] = "aay",  [VALUE_GENERATIONS] = "a(tst)",
};

Value value_string(const char *string)
{
        return (Value){ .type = VALUE_STRING, .string = string };
}

Value value_path(const char *path)
{
        return (Value){ .type = VALUE_PATH, .string = path };
}

Value value_boolean(bool boolean)
{
        return (Value){ .type = VALUE_BOOLEAN, .boolean = boolean };
}

Value value_u64(uint64_t number)
{
        return (Value){ .type = VALUE_U64, .number = number };
}

Value value_take_string(char *string)
{
        return (Value){ .type = VALUE_STRING, .string = string, .owned = string };
}

Value value_strings(char *const *strings)
{
        return (Value){ .type = VALUE_STRINGS, .strings = strings };
}

Value value_take_strings(char **strings)
{
        return (Value){ .type = VALUE_STRINGS, .strings = strings, .owned_strings = strings };
}

Value value_chain(const BytesList *chain)
{
        return (Value){ .type = VALUE_CHAIN, .chain = chain };
}

Value value_take_generations(ValueGeneration *generations, size_t n)
{
        return (Value){ .type = VALUE_GENERATIONS, .owned = generations, .n_owned = n };
}

void value_deinit(Value *value)
{
        strv_free(value->owned_strings);
        free(value->owned);
        *value = (Value){ 0 };
}

const char *value_signature(const Value *value)
{
        return signatures[value->type];
}

static bool generations_equal(const Value *a, const Value *b)
{
        const ValueGeneration *left = a->owned, *right = b->owned;

        if (a->n_owned != b->n_owned)
                return false;
        for (size_t i = 0; i < a->n_owned; i++) {
                if (left[i].number != right[i].number ||
                    left[i].usable_until_sec != right[i].usable_until_sec ||
                    !string_equal(left[i].thumbprint_sha256, right[i].thumbprint_sha256))
                        return false;
        }
        return true;
}

bool value_equal(const Value *a, const Value *b)
{
        if (a->type != b->type)
                return false;
        switch (a->type) {
        case VALUE_NONE:
                return true;
        case VALUE_STRING:
        case VALUE_PATH:
                return strcmp(string_or_empty(a->string), string_or_empty(b->string)) == 0;
        case VALUE_BOOLEAN:
                return a->boolean == b->boolean;
        case VALUE_U32:
        case VALUE_U64:
                return a->number == b->number;
        case VALUE_STRINGS:
                return strv_equal(a->strings, b->strings);
        case VALUE_U32S:
                return a->n_owned == b->n_owned &&
                       (a->n_owned == 0 ||
                        memcmp(a->owned, b->owned, a->n_owned * sizeof(uint32_t)) == 0);
        case VALUE_CHAIN:
                return bytes_list_equal(a->chain, b->chain);
        case VALUE_GENERATIONS:
                return generations_equal(a, b);
        case _VALUE_TYPE_N:
                break;
        }
        assert_always(false);
        return false;
}

/* --- writing --- */

bool append_string(DBusMessageIter *iter, const char *string)
{
        CLEANUP(freep) char *escaped = NULL;
        const char *text = string_or_empty(string);

        /* libdbus's own check is the one that aborts. */
        if (!utf8_is_valid(text, strlen(text)) || !dbus_validate_utf8(text, NULL)) {
                escaped = text_escape(text, strlen(text), VALUE_TEXT_MAX);
                if (!escaped)
                        return false;
                text = escaped;
        }
        return dbus_message_iter_append_basic(iter, DBUS_TYPE_STRING, &text);
}

static bool append_path(DBusMessageIter *iter, const char *path)
{
        const char *text = dbus_validate_path(path, NULL) ? path : OBJECT_ROOT;

        return dbus_message_iter_append_basic(iter, DBUS_TYPE_OBJECT_PATH, &text);
}

static bool append_boolean(DBusMessageIter *iter, bool boolean)
{
        dbus_bool_t value = boolean ? TRUE : FALSE;

        return dbus_message_iter_append_basic(iter, DBUS_TYPE_BOOLEAN, &value);
}

static bool append_u32(DBusMessageIter *iter, uint32_t number)
{
        dbus_uint32_t value = number;

        return dbus_message_iter_append_basic(iter, DBUS_TYPE_UINT32, &value);
}

static bool append_u64(DBusMessageIter *iter, uint64_t number)
{
        dbus_uint64_t value = number;

        return dbus_message_iter_append_basic(iter, DBUS_TYPE_UINT64, &value);
}

static bool append_strings(DBusMessageIter *array, const Value *value)
{
        for (size_t i = 0; value->strings && value->strings[i]; i++) {
                if (!append_string(array, value->strings[i]))
                        return false;
        }
        return true;
}

static bool append_bytes(DBusMessageIter *iter, const Bytes *bytes)
{
        DBusMessageIter array;

        return dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, "y", &array) &&
               (bytes->n == 0 || dbus_message_iter_append_fixed_array(
                                         &array, DBUS_TYPE_BYTE, &bytes->data, (int)bytes->n)) &&
               dbus_message_iter_close_container(iter, &array);
}

static bool append_chain(DBusMessageIter *array, const Value *value)
{
        for (size_t i = 0; i < value->chain->n; i++) {
                if (!append_bytes(array, &value->chain->items[i]))
                        return false;
        }
        return true;
}

static bool append_generations(DBusMessageIter *array, const Value *value)
{
        const ValueGeneration *generations = value->owned;

        for (size_t i = 0; i < value->n_owned; i++) {
                DBusMessageIter row;

                if (!dbus_message_iter_open_container(array, DBUS_TYPE_STRUCT, NULL, &row) ||
                    !append_u64(&row, generations[i].number) ||
                    !append_string(&row, generations[i].thumbprint_sha256) ||
                    !append_u64(&row, generations[i].usable_until_sec) ||
                    !dbus_message_iter_close_container(array, &row))
                        return false;
        }
        return true;
}

static bool append_array(DBusMessageIter *iter, const Value *value,
                         bool (*append)(DBusMessageIter *array, const Value *value))
{
        DBusMessageIter array;

        return dbus_message_iter_open_container(iter, DBUS_TYPE_ARRAY, value_signature(value) + 1,
                                                &array) &&
               append(&array, value) && dbus_message_iter_close_container(iter, &array);
}

bool value_append(DBusMessageIter *iter, const Value *value)
{
        switch (value->type) {
        case VALUE_STRING:
                return append_string(iter, value->string);
        case VALUE_PATH:
                return append_path(iter, value->string);
        case VALUE_BOOLEAN:
                return append_boolean(iter, value->boolean);
        case VALUE_U32:
                return append_u32(iter, (uint32_t)value->number);
        case VALUE_U64:
                return append_u64(iter, value->number);
        case VALUE_STRINGS:
                return append_array(iter, value, append_strings);
        case VALUE_CHAIN:
                return append_array(iter, value, append_chain);
        case VALUE_GENERATIONS:
                return append_array(iter, value, append_generations);
        case VALUE_NONE:
        case VALUE_U32S:
        case _VALUE_TYPE_N:
                break;
        }
        assert_always(false);
        return false;
}

bool value_append_variant(DBusMessageIter *iter, const Value *value)
{
        DBusMessageIter variant;

        return dbus_message_iter_open_container(iter, DBUS_TYPE_VARIANT, value_signature(value),
                                                &variant) &&
               value_append(&variant, value) && dbus_message_iter_close_container(iter, &variant);
}

bool value_append_entry(DBusMessageIter *dictionary, const char *key, const Value *value)
{
        DBusMessageIter entry;

        return dbus_message_iter_open_container(dictionary, DBUS_TYPE_DICT_ENTRY, NULL, &entry) &&
               append_string(&entry, key) && value_append_variant(&entry, value) &&
               dbus_message_iter_close_container(dictionary, &entry);
}

/* --- how much it is: the marshalling of the D-Bus specification, without a byte --- */

static size_t aligned(size_t at, size_t n)
{
        return (at + n - 1) / n * n;
}

static size_t string_end(const char *string, size_t at)
{
        return aligned(at, 4) + 4 + strlen(string_or_empty(string)) + 1;
}

size_t struct_begin(size_t at)
{
        return aligned(at, 8);
}

size_t array_of_structs_begin(size_t at)
{
        return struct_begin(aligned(at, 4) + 4);
}

static size_t strings_end(char *const *strings, size_t at)
{
        at = aligned(at, 4) + 4;
        for (; strings && *strings; strings++)
                at = string_end(*strings, at);
        return at;
}

static size_t chain_end(const BytesList *chain, size_t at)
{
        at = aligned(at, 4) + 4;
        for (size_t i = 0; i < chain->n; i++)
                at = aligned(at, 4) + 4 + chain->items[i].n;
        return at;
}

static size_t generations_end(const Value *value, size_t at)
{
        const ValueGeneration *generations = value->owned;

        at = array_of_structs_begin(at);
        for (size_t i = 0; i < value->n_owned; i++) {
                at = string_end(generations[i].thumbprint_sha256, aligned(at, 8) + 8);
                at = aligned(at, 8) + 8;
        }
        return at;
}

size_t value_end(const Value *value, size_t at)
{
        switch (value->type) {
        case VALUE_NONE:
                return at;
        case VALUE_STRING:
        case VALUE_PATH:
                return string_end(value->string, at);
        case VALUE_BOOLEAN:
        case VALUE_U32:
                return aligned(at, 4) + 4;
        case VALUE_U64:
                return aligned(at, 8) + 8;
        case VALUE_STRINGS:
                return strings_end(value->strings, at);
        case VALUE_U32S:
                return aligned(at, 4) + 4 + value->n_owned * sizeof(uint32_t);
        case VALUE_CHAIN:
                return chain_end(value->chain, at);
        case VALUE_GENERATIONS:
                return generations_end(value, at);
        case _VALUE_TYPE_N:
                break;
        }
        return at;
}

size_t value_entry_end(const char *key, const Value *value, size_t at)
{
        at = string_end(key, aligned(at, 8));
        at += 1 + strlen(value_signature(value)) + 1;
        return value_end(value, at);
}

/* --- reading --- */

static int read_text(DBusMessageIter *iter, const char **ret_text)
{
        const char *text;

        dbus_message_iter_get_basic(iter, &text);
        if (strlen(text) > VALUE_TEXT_MAX)
                return -E2BIG;
        *ret_text = text;
        return 0;
}

static int read_strings(DBusMessageIter *iter, Value *ret_value)
{
        CLEANUP(strv_freep) char **strings = NULL;
        DBusMessageIter array;
        int r;

        if (dbus_message_iter_get_element_count(iter) > VALUE_LIST_MAX)
                return -E2BIG;
        dbus_message_iter_recurse(iter, &array);
        for (; dbus_message_iter_get_arg_type(&array) == DBUS_TYPE_STRING;
             dbus_message_iter_next(&array)) {
                const char *text;

                r = read_text(&array, &text);
                if (r == 0)
                        r = strv_append(&strings, text);
                if (r < 0)
                        return r;
        }
        *ret_value = value_take_strings(TAKE(strings));
        return 0;
}

static int read_u32s(DBusMessageIter *iter, Value *ret_value)
{
        const dbus_uint32_t *numbers = NULL;
        DBusMessageIter array;
        int n = 0;
        void *copy;

        dbus_message_iter_recurse(iter, &array);
        dbus_message_iter_get_fixed_array(&array, &numbers, &n);
        if (n > VALUE_LIST_MAX)
                return -E2BIG;
        copy = calloc((size_t)n + 1, sizeof(uint32_t));
        if (!copy)
                return -ENOMEM;
        for (int i = 0; i < n; i++)
                ((uint32_t *)copy)[i] = numbers[i];
        *ret_value = (Value){ .type = VALUE_U32S, .owned = copy, .n_owned = (size_t)n };
        return 0;
}

static ValueType type_of(const char *signature)
{
        for (size_t i = 0; i < ELEMENTSOF(signatures); i++) {
                if (strcmp(signatures[i], signature) == 0)
                        return (ValueType)i;
        }
        return VALUE_NONE;
}

static int read_basic(DBusMessageIter *iter, ValueType type, Value *ret_value)
{
        DBusBasicValue basic;

        dbus_message_iter_get_basic(iter, &basic);
        *ret_value = (Value){ .type = type };
        if (type == VALUE_BOOLEAN)
                ret_value->boolean = basic.bool_val;
        else
                ret_value->number = type == VALUE_U32 ? basic.u32 : basic.u64;
        return 0;
}

int value_read(DBusMessageIter *iter, const char *signature, Value *ret_value)
{
        char *found = dbus_message_iter_get_signature(iter);
        ValueType type = type_of(signature);
        bool same;
        int r;

        if (!found)
                return -ENOMEM;
        same = strcmp(found, signature) == 0;
        dbus_free(found);
        if (!same)
                return -EINVAL;

        switch (type) {
        case VALUE_STRING:
        case VALUE_PATH: {
                const char *text;

                r = read_text(iter, &text);
                if (r == 0)
                        *ret_value = (Value){ .type = type, .string = text };
                return r;
        }
        case VALUE_BOOLEAN:
        case VALUE_U32:
        case VALUE_U64:
                return read_basic(iter, type, ret_value);
        case VALUE_STRINGS:
                return read_strings(iter, ret_value);
        case VALUE_U32S:
                return read_u32s(iter, ret_value);
        case VALUE_NONE:
        case VALUE_CHAIN:
        case VALUE_GENERATIONS:
        case _VALUE_TYPE_N:
                break;
        }
        return -EINVAL;
}
