/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Map from strings to pointers, kept sorted by strcmp() so that it can be paged through. Keys are
 * copied; values are borrowed. A lookup is a binary search, an insertion a move of pointers: right for
 * thousands, which is what a broker has.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/macro.h"

typedef struct Map Map;

struct MapEntry {
        char *key;
        void *value;
};

struct Map {
        struct MapEntry *entries;
        size_t n;
        size_t n_allocated;
};

void map_init(Map *map);
void map_deinit(Map *map); /* frees the keys; the values are their owner's */
int map_put(Map *map, const char *key, void *value);     /* -EEXIST where the key is taken */
int map_set(Map *map, const char *key, void *value);     /* puts or replaces */
void *map_find(const Map *map, const char *key);         /* NULL: none */
void *map_remove(Map *map, const char *key);             /* the value, or NULL */
size_t map_index_after(const Map *map, const char *key); /* first entry with a key > `key` */

#define MAP_FOREACH(map, entry)                                                                    \
        for (struct MapEntry *entry = (map)->entries; entry && entry < (map)->entries + (map)->n;  \
             entry++)
