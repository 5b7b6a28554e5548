/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects as one subject sees them: what it may not read is not there. Nothing is kept: an Object borrows
 * from the catalog and from the sources until the loop's next turn. A cursor keeps a name alone, so between two steps of
 * it anything may come and go.
 */
#include "broker/bus/room.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static bool fill(const Bus *bus, ObjectKind kind, const char *name, Object *object)
{
        switch (kind) {
        case OBJECT_MANAGER:
                return true;
        case OBJECT_CERTIFICATE:
                object->certificate = catalog_find_certificate(bus->rooms.catalog, name);
                return object->certificate != NULL;
        case OBJECT_BACKEND:
                object->backend = catalog_find_backend(bus->rooms.catalog, name);
                return object->backend != NULL;
        case OBJECT_SOURCE:
                return bus->rooms.source_view->find(bus->rooms.sources, name, &object->source);
        case _OBJECT_KIND_N:
                break;
        }
        return false;
}

int object_find(const Bus *bus, const Subject *subject, ObjectKind kind, const char *name,
                Object *ret_object, Failure *failure)
{
        Object object = {
                .bus = bus,
                .subject = subject,
                .kind = kind,
                .name = name,
                .now_sec = clock_realtime_sec(),
        };

        if (!may_read(bus, subject, kind, name) || !fill(bus, kind, name, &object))
                return object_not_found(failure, kind, name);
        *ret_object = object;
        return 0;
}

void object_path(const Object *object, char *ret_path)
{
        object_path_encode(object->kind, object->name, ret_path);
}

/* --- one after the other --- */

static bool next_of_map(const Map *map, const char *after, const char **ret_name)
{
        size_t i = map_index_after(map, after);

        if (i >= map->n)
                return false;
        *ret_name = map->entries[i].key;
        return true;
}

/* They are few, and in no order. */
static bool next_source(const Bus *bus, const char *after, const char **ret_name)
{
        size_t n = bus->rooms.source_view->count(bus->rooms.sources);
        const char *next = NULL;

        for (size_t i = 0; i < n; i++) {
                BusSource source;

                bus->rooms.source_view->at(bus->rooms.sources, i, &source);
                if (strcmp(source.name, after) > 0 && (!next || strcmp(source.name, next) < 0))
                        next = source.name;
        }
        *ret_name = next;
        return next != NULL;
}

static bool next_of_kind(const Bus *bus, ObjectKind kind, const char *after, const char **ret_name)
{
        switch (kind) {
        case OBJECT_CERTIFICATE:
                return next_of_map(catalog_certificates(bus->rooms.catalog), after, ret_name);
        case OBJECT_BACKEND:
                return next_of_map(catalog_backends(bus->rooms.catalog), after, ret_name);
        case OBJECT_SOURCE:
                return next_source(bus, after, ret_name);
        case OBJECT_MANAGER: /* the root is there for everybody, and never in a list */
        case _OBJECT_KIND_N:
                break;
        }
        return false;
}

bool objects_next(const Bus *bus, ObjectCursor *cursor)
{
        const char *name;

        for (; cursor->kind <= cursor->last_kind; cursor->kind++, cursor->name[0] = '\0') {
                if (next_of_kind(bus, cursor->kind, cursor->name, &name)) {
                        snprintf(cursor->name, sizeof(cursor->name), "%s", name);
                        return true;
                }
        }
        return false;
}
