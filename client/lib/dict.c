/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cb_dict: an a{sv} to be sent. Values are checked and copied when they are set, so that writing it
 * can only fail for lack of memory.
 */
#include "dict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

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
        return text && text_is_utf8(text, strlen(text));
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

/* ------------------------------------------------------------------ writing */

static const char *entry_signature(const Entry *entry)
{
        static const struct {
                int type;
                const char *signature;
        } signatures[] = {
                { 's', "s" }, { 'b', "b" },  { 'u', "u" },
                { 't', "t" }, { 'S', "as" }, { 'U', "au" },
        };

        for (size_t i = 0; i < ELEMENTSOF(signatures); i++)
                if (signatures[i].type == entry->type)
                        return signatures[i].signature;
        return "s";
}

static void write_strings(const Entry *entry, Writer *writer)
{
        size_t opened = writer_open_array(writer, 4);

        for (size_t i = 0; i < entry->n; i++)
                writer_string(writer, entry->strings[i]);
        writer_close_array(writer, opened, 4);
}

static void write_value(const Entry *entry, Writer *writer)
{
        switch (entry->type) {
        case 's':
                writer_string(writer, entry->strings[0]);
                break;
        case 'b':
        case 'u':
                writer_u32(writer, (uint32_t)entry->number);
                break;
        case 't':
                writer_u64(writer, entry->number);
                break;
        case 'S':
                write_strings(entry, writer);
                break;
        default:
                writer_u32(writer, (uint32_t)(entry->n * sizeof(*entry->numbers)));
                writer_bytes(writer, entry->numbers, entry->n * sizeof(*entry->numbers));
        }
}

void dict_write(const cb_dict *dict, Writer *writer)
{
        size_t opened = writer_open_array(writer, 8);

        for (size_t i = 0; dict && i < dict->n; i++) {
                writer_align(writer, 8);
                writer_string(writer, dict->entries[i].key);
                writer_signature(writer, entry_signature(&dict->entries[i]));
                write_value(&dict->entries[i], writer);
        }
        writer_close_array(writer, opened, 8);
}
