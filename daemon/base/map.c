/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Map from strings to pointers. Invariant: entries are sorted by strcmp() and no key is there twice. The
 * keys are the map's, the values their owner's: the map never frees one.
 */
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void map_init(Map *map)
{
        *map = (Map){ 0 };
}

void map_deinit(Map *map)
{
        for (size_t i = 0; i < map->n; i++)
                free(map->entries[i].key);
        free(map->entries);
        map_init(map);
}

/* The first entry whose key is not smaller; *ret_found: it is this key. */
static size_t lower_bound(const Map *map, const char *key, bool *ret_found)
{
        size_t low = 0, high = map->n;

        *ret_found = false;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int order = strcmp(map->entries[middle].key, key);

                if (order < 0) {
                        low = middle + 1;
                } else {
                        high = middle;
                        *ret_found |= order == 0;
                }
        }
        return low;
}

static int make_room(Map *map)
{
        struct MapEntry *entries;
        size_t n_allocated = MAX(map->n_allocated * 2, (size_t)8);

        if (map->n < map->n_allocated)
                return 0;
        entries = reallocarray(map->entries, n_allocated, sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        map->entries = entries;
        map->n_allocated = n_allocated;
        return 0;
}

static int insert_at(Map *map, size_t index, const char *key, void *value)
{
        char *copy;

        if (make_room(map) < 0)
                return -ENOMEM;
        copy = strdup(key);
        if (!copy)
                return -ENOMEM;

        memmove(map->entries + index + 1, map->entries + index,
                (map->n - index) * sizeof(*map->entries));
        map->entries[index] = (struct MapEntry){ .key = copy, .value = value };
        map->n++;
        return 0;
}

int map_put(Map *map, const char *key, void *value)
{
        bool found;
        size_t index = lower_bound(map, key, &found);

        if (found)
                return -EEXIST;
        return insert_at(map, index, key, value);
}

int map_set(Map *map, const char *key, void *value)
{
        bool found;
        size_t index = lower_bound(map, key, &found);

        if (!found)
                return insert_at(map, index, key, value);
        map->entries[index].value = value;
        return 0;
}

void *map_find(const Map *map, const char *key)
{
        bool found;
        size_t index = lower_bound(map, key, &found);

        return found ? map->entries[index].value : NULL;
}

void *map_remove(Map *map, const char *key)
{
        bool found;
        size_t index = lower_bound(map, key, &found);
        struct MapEntry entry;

        if (!found)
                return NULL;
        entry = map->entries[index];
        map->n--;
        memmove(map->entries + index, map->entries + index + 1,
                (map->n - index) * sizeof(*map->entries));
        free(entry.key); /* last: `key` may be the entry's own */
        return entry.value;
}

size_t map_index_after(const Map *map, const char *key)
{
        bool found;
        size_t index = lower_bound(map, key, &found);

        return found ? index + 1 : index;
}
