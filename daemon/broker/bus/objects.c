/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects as one subject sees them: what it may not read is not there. Nothing is kept: an Object borrows
 * from the catalog and from the sources until the loop's next turn.
 */
#include "broker/bus/room.h"

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

/* false: `each` wants no more. */
static bool visit(Object *object, object_each each, void *userdata)
{
        if (!may_read(object->bus, object->subject, object->kind, object->name))
                return true;
        return each(userdata, object);
}

static bool visit_sources(Object *object, object_each each, void *userdata)
{
        const Bus *bus = object->bus;
        size_t n = bus->rooms.source_view->count(bus->rooms.sources);

        for (size_t i = 0; i < n; i++) {
                bus->rooms.source_view->at(bus->rooms.sources, i, &object->source);
                object->name = object->source.name;
                if (!visit(object, each, userdata))
                        return false;
        }
        return true;
}

bool objects_visit(const Bus *bus, const Subject *subject, ObjectKind kind, object_each each,
                   void *userdata)
{
        Object object = {
                .bus = bus,
                .subject = subject,
                .kind = kind,
                .now_sec = clock_realtime_sec(),
        };

        switch (kind) {
        case OBJECT_MANAGER:
                object.name = "";
                return each(userdata, &object);
        case OBJECT_CERTIFICATE:
                MAP_FOREACH (catalog_certificates(bus->rooms.catalog), entry) {
                        object.name = entry->key;
                        object.certificate = entry->value;
                        if (!visit(&object, each, userdata))
                                return false;
                }
                return true;
        case OBJECT_BACKEND:
                MAP_FOREACH (catalog_backends(bus->rooms.catalog), entry) {
                        object.name = entry->key;
                        object.backend = entry->value;
                        if (!visit(&object, each, userdata))
                                return false;
                }
                return true;
        case OBJECT_SOURCE:
                return visit_sources(&object, each, userdata);
        case _OBJECT_KIND_N:
                break;
        }
        return true;
}
