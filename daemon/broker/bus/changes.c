/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What manage, the sources and the channel say has changed, noted for all who listen (core/news.h). To tell them takes
 * the longer, the more there are, and is for their turns (teller.c).
 */
#include "broker/bus/room.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/strings.h"

static void note(Bus *bus, const Notice *notice)
{
        if (news_add(bus->news, notice) < 0)
                complain(bus, "no memory to tell what has changed");
        tellers_tell_at_once(bus);
}

static void note_type(Bus *bus, NoticeType type, ObjectKind kind, const char *name)
{
        const Notice notice = { .type = type, .kind = kind, .name = name };

        note(bus, &notice);
}

static void note_numbers(Bus *bus, NoticeType type, ObjectKind kind, const char *name, uint64_t a,
                         uint64_t b)
{
        const Notice notice = { .type = type, .kind = kind, .name = name, .numbers = { a, b } };

        note(bus, &notice);
}

static void note_properties(Bus *bus, ObjectKind kind, const char *name, uint64_t properties)
{
        const Notice notice = {
                .type = NOTICE_CHANGED, .kind = kind, .name = name, .properties = properties
        };

        if (properties != 0)
                note(bus, &notice);
}

static void note_used(Bus *bus, const char *certificate, const char *backend)
{
        const Notice notice = { .type = NOTICE_USED,
                                .kind = OBJECT_CERTIFICATE,
                                .name = certificate,
                                .user = backend };

        if (catalog_find_certificate(bus->rooms.catalog, certificate))
                note(bus, &notice);
}

/* --- which properties --- */

/* What this property is worth depends on who reads it: it is told on its own. */
static bool is_personal(PropertyId property)
{
        return property == PROPERTY_CERTIFICATE_BACKENDS;
}

/* Without memory to find out it has changed. */
static bool differs(PropertyId property, const Object *before, const Object *after)
{
        CLEANUP(value_deinit) Value old = { 0 };
        CLEANUP(value_deinit) Value new = { 0 };

        return property_value(property, before, &old) < 0 ||
               property_value(property, after, &new) < 0 || !value_equal(&old, &new);
}

/* before NULL: all that may have changed. */
static uint64_t difference(ObjectKind kind, const Object *before, const Object *after)
{
        const Interface *interface = &interface_table[node_own_interface(kind)];
        uint64_t properties = 0;

        for (size_t i = 0; i < interface->n_properties; i++) {
                PropertyId property = (PropertyId)(interface->first_property + i);

                if (property_table[property].emits_changed && !is_personal(property) &&
                    (!before || differs(property, before, after)))
                        properties |= property_bit(property);
        }
        return properties;
}

static Object object_of(const Bus *bus, ObjectKind kind, const char *name)
{
        return (Object){ .bus = bus, .kind = kind, .name = name, .now_sec = clock_realtime_sec() };
}

/* --- what manage says --- */

static void on_certificate_changed(void *userdata, const char *id, const Certificate *before,
                                   const Certificate *after)
{
        Bus *bus = userdata;
        Object new = object_of(bus, OBJECT_CERTIFICATE, id), old = new;

        stock_add(bus, OBJECT_CERTIFICATE, id, before ? 0 : 1,
                  (int64_t)after->n_generations - (before ? (int64_t)before->n_generations : 0));
        new.certificate = after;
        old.certificate = before;
        if (before)
                note_properties(bus, OBJECT_CERTIFICATE, id,
                                difference(OBJECT_CERTIFICATE, &old, &new));
        else
                note_type(bus, NOTICE_ADDED, OBJECT_CERTIFICATE, id);
}

static void on_certificate_state_changed(void *userdata, const char *id)
{
        note_properties(userdata, OBJECT_CERTIFICATE, id, property_bit(PROPERTY_CERTIFICATE_STATE));
}

static void on_certificate_trouble_changed(void *userdata, const char *id)
{
        note_properties(userdata, OBJECT_CERTIFICATE, id,
                        property_bit(PROPERTY_CERTIFICATE_LAST_ERROR));
}

static void on_certificate_removed(void *userdata, const char *id, size_t n_generations)
{
        stock_add(userdata, OBJECT_CERTIFICATE, id, -1, -(int64_t)n_generations);
        note_type(userdata, NOTICE_REMOVED, OBJECT_CERTIFICATE, id);
}

static void on_backend_changed(void *userdata, const char *name, const Backend *before,
                               const Backend *after)
{
        Bus *bus = userdata;
        Object new = object_of(bus, OBJECT_BACKEND, name), old = new;

        stock_add(bus, OBJECT_BACKEND, name, before ? 0 : 1, 0);
        new.backend = after;
        old.backend = before;
        if (before)
                note_properties(bus, OBJECT_BACKEND, name, difference(OBJECT_BACKEND, &old, &new));
        else
                note_type(bus, NOTICE_ADDED, OBJECT_BACKEND, name);
        if (before && string_equal(before->certificate, after->certificate))
                return;
        if (before)
                note_used(bus, before->certificate, name);
        note_used(bus, after->certificate, name);
}

static void on_backend_removed(void *userdata, const char *name, const char *certificate)
{
        stock_add(userdata, OBJECT_BACKEND, name, -1, 0);
        note_type(userdata, NOTICE_REMOVED, OBJECT_BACKEND, name);
        note_used(userdata, certificate, name);
}

static void on_credential_changed(void *userdata, const char *name, uint64_t generation)
{
        note_numbers(userdata, NOTICE_CREDENTIAL, OBJECT_BACKEND, name, generation, 0);
}

static void on_rotated(void *userdata, const char *id, uint64_t generation)
{
        note_numbers(userdata, NOTICE_ROTATED, OBJECT_CERTIFICATE, id, generation, 0);
}

static void on_expiry_warning(void *userdata, const char *id, uint64_t not_after_sec,
                              uint64_t left_sec)
{
        note_numbers(userdata, NOTICE_EXPIRY, OBJECT_CERTIFICATE, id, not_after_sec, left_sec);
}

static void on_exception_ended(void *userdata, const char *name)
{
        record_own(userdata, "ExceptionEnded", OBJECT_BACKEND, name, &(Asked){ 0 });
}

static void on_came_due(void *userdata, const char *id, uint64_t generation)
{
        record_own(userdata, "Rotated", OBJECT_CERTIFICATE, id, &(Asked){ .generation = generation });
}

static void on_suspected(void *userdata, const char *id, uint64_t generation, Algorithm algorithm)
{
        Asked asked = { .generation = generation };

        snprintf(asked.algorithm, sizeof(asked.algorithm), "%s", algorithm_name(algorithm));
        record_own(userdata, "KeySuspected", OBJECT_CERTIFICATE, id, &asked);
}

static void on_deletion_ended(void *userdata, const char *id)
{
        record_own(userdata, "Delete", OBJECT_CERTIFICATE, id, &(Asked){ 0 });
}

static int on_may_go_on(void *userdata, void *caller, Failure *failure)
{
        (void)userdata;
        return call_decide_again(caller, failure);
}

static int on_may_manage(void *userdata, void *caller, ObjectKind kind, const char *name,
                         Failure *failure)
{
        const Request request = { .operation = OPERATION_MANAGE, .kind = kind, .name = name };
        const Bus *bus = userdata;
        const Call *call = caller;

        if (kind == OBJECT_SOURCE)
                return call_needs_source(caller, name, failure);
        if (!call->peer)
                return fail(failure, CB_NOT_FOUND, "who asked has gone");
        return check_access(bus, call_subject(call), &request, failure);
}

static uint32_t on_uid_of(void *userdata, void *caller)
{
        const Call *call = caller;

        (void)userdata;
        return call->uid;
}

static void on_wake_at(void *userdata, uint64_t realtime_sec)
{
        Bus *bus = userdata;

        bus->host.wake_at(bus->userdata, realtime_sec);
}

static void on_retry_at(void *userdata, uint64_t monotonic_usec)
{
        Bus *bus = userdata;

        bus->host.retry_at(bus->userdata, monotonic_usec);
}

const ManageEvents changes_of_manage = {
        .certificate_changed = on_certificate_changed,
        .certificate_state_changed = on_certificate_state_changed,
        .certificate_trouble_changed = on_certificate_trouble_changed,
        .certificate_removed = on_certificate_removed,
        .backend_changed = on_backend_changed,
        .backend_removed = on_backend_removed,
        .credential_changed = on_credential_changed,
        .rotated = on_rotated,
        .exception_ended = on_exception_ended,
        .came_due = on_came_due,
        .suspected = on_suspected,
        .deletion_ended = on_deletion_ended,
        .expiry_warning = on_expiry_warning,
        .may_go_on = on_may_go_on,
        .may_manage = on_may_manage,
        .uid_of = on_uid_of,
        .wake_at = on_wake_at,
        .retry_at = on_retry_at,
};

/* --- what the channel says --- */

void note_channel_address(Bus *bus)
{
        note_properties(bus, OBJECT_MANAGER, "", property_bit(PROPERTY_MANAGER_CHANNEL_ADDRESS));
}

/* --- what the owner says of sources --- */

void bus_source_added(Bus *bus, const char *name)
{
        note_type(bus, NOTICE_ADDED, OBJECT_SOURCE, name);
}

void bus_source_changed(Bus *bus, const char *name)
{
        note_properties(bus, OBJECT_SOURCE, name, difference(OBJECT_SOURCE, NULL, NULL));
}

void bus_source_removed(Bus *bus, const char *name)
{
        note_type(bus, NOTICE_REMOVED, OBJECT_SOURCE, name);
}
