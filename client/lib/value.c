/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees of cb_value: made by who reads a message, freed and looked at here. A tree owns all that is
 * in it. A value that was added and not yet filled is of no type, so a tree may be freed at any
 * time. Freeing goes down the levels, of which there are few: who makes trees sees to that.
 */
#include "value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

int value_grow(cb_value *list, size_t *n_room)
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
