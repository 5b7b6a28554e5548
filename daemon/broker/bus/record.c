/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the audit log is told of a call: who, what, on which object, by which grant, and what came of it. Never an
 * argument beyond these, an input or a signature. Whatever changes or uses something is recorded whatever comes of it;
 * reading is recorded where it was refused, whether the object is there or not: so neither the log nor the time that it
 * takes says which. Everything is counted. Of what failed too often the sum is told (refused.c).
 */
#include "broker/bus/room.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strings.h"

#define ASKED_MAX 24 /* bytes of an algorithm that is none */

bool method_is_recorded(MethodId method)
{
        switch (method_table[method].access) {
        case ACCESS_TLS:
        case ACCESS_USE:
        case ACCESS_DECRYPT:
        case ACCESS_EXPORT:
        case ACCESS_MANAGE:
        case ACCESS_MANAGE_ALL:
        case ACCESS_AUDIT:
        case ACCESS_CREATE_CERTIFICATE:
        case ACCESS_CREATE_IN_SOURCE:
        case ACCESS_CREATE_BACKEND:
                return true;
        case ACCESS_ANY:
        case ACCESS_READ:
        case _ACCESS_CLASS_N:
                break;
        }
        return method == METHOD_PROPERTIES_SET;
}

/* What is wrong with the log, or with anything, must be there to be asked also while nothing can be recorded. */
bool method_needs_record(MethodId method)
{
        return method_is_recorded(method) && method_table[method].access != ACCESS_AUDIT;
}

int call_note_grant(Call *call, const Grant *grant)
{
        return string_set(&call->grant, grant ? grant->name : NULL);
}

static bool makes_generation(MethodId method)
{
        return method == METHOD_MANAGER_IMPORT_CERTIFICATE ||
               method == METHOD_MANAGER_GENERATE_KEY ||
               method == METHOD_MANAGER_REGISTER_CERTIFICATE ||
               method == METHOD_CERTIFICATE_INSTALL_CERTIFICATE;
}

/* Which one was made is known when it is there: it is the newest. */
void call_note_made(Call *call)
{
        const char *id = call->answers_path ? call->name : call->node.name;
        const Certificate *certificate;

        if (!makes_generation(call->method))
                return;
        certificate = catalog_find_certificate(call->bus->rooms.catalog, id);
        if (certificate && certificate->n_generations > 0)
                call->generation = certificate->generations[certificate->n_generations - 1]->number;
}

/* The object that is made, where the call makes one. */
static void put_object(const Node *node, bool makes, ObjectKind kind, const char *name,
                       char *ret_path)
{
        if (makes && name[0])
                object_path_encode(kind, name, ret_path);
        else
                object_path_encode(node->type == NODE_OBJECT ? node->kind : OBJECT_MANAGER,
                                   node->name, ret_path);
}

static bool is_refused_reading(const Call *call)
{
        return call->refused && call->node.type == NODE_OBJECT &&
               call->node.kind != OBJECT_MANAGER;
}

/* An algorithm that is known by its name; of another its beginning. */
static void put_algorithm(const char *text, char ret_text[ASKED_TEXT])
{
        CLEANUP(freep) char *escaped = NULL;
        Algorithm algorithm = algorithm_from_name(text);

        if (algorithm == ALGORITHM_NONE)
                escaped = text_escape(text, strlen(text), ASKED_MAX);
        snprintf(ret_text, ASKED_TEXT, "%s",
                 algorithm == ALGORITHM_NONE ? string_or_empty(escaped)
                                             : algorithm_name(algorithm));
}

static bool begins_with(const char *text, const char *beginning)
{
        return strncmp(text, beginning, strlen(beginning)) == 0;
}

void asked_of(MethodId method, DBusMessage *message, Asked *ret_asked)
{
        const char *names = method_table[method].in_names;
        dbus_uint64_t generation;
        DBusMessageIter iter;
        const char *text;

        *ret_asked = (Asked){ 0 };
        /* Where there are any, they come first. */
        if (!begins_with(names, "generation") || !dbus_message_iter_init(message, &iter))
                return;
        dbus_message_iter_get_basic(&iter, &generation);
        ret_asked->generation = generation;
        if (!begins_with(names, "generation, algorithm"))
                return;
        dbus_message_iter_next(&iter);
        dbus_message_iter_get_basic(&iter, &text);
        put_algorithm(text, ret_asked->algorithm);
}

static void ignore(void *call, int r)
{
        (void)call;
        (void)r;
}

/*
 * Refused reading is answered at once: to wait for the disk would tell that there is something. So is what needs no record:
 * a disk that does not answer is what somebody asks about.
 */
bool call_record(Call *call, bus_recorded done)
{
        const BusHost *host = &call->bus->host;
        bool is_reading = !method_is_recorded(call->method) && is_refused_reading(call);
        bool waits = !is_reading && method_needs_record(call->method);
        bool has_grant = call->grant ||
                         (call->peer && grants_name(call->bus->grants, call_subject(call)));
        char object[OBJECT_PATH_MAX];

        if (!host->record || !(method_is_recorded(call->method) || is_reading))
                return false;
        if (call->result &&
            !refusal_is_single(call->bus, call->uid, has_grant, call->method, call->result))
                return false;

        put_object(&call->node, call->answers_path, call->kind, call->name, object);
        host->record(call->bus->userdata,
                     &(BusRecord){
                             .event = method_table[call->method].name,
                             .uid = call->uid,
                             .pid = call->pid,
                             .unit = call->unit,
                             .object = object,
                             .generation = call->generation,
                             .algorithm = call->algorithm_asked,
                             .grant = call->grant,
                             .certificate = call->certificate,
                             .forced = call->forced,
                             .is_disabled = call->is_disabled,
                             .is_enabled = call->is_enabled,
                             .result = call->result ? call->result : "ok",
                     },
                     waits ? done : ignore, call);
        if (!is_reading && !waits)
                done(call, 0);
        return !is_reading;
}

void record_own(Bus *bus, const char *event, ObjectKind kind, const char *name, const Asked *asked)
{
        char object[OBJECT_PATH_MAX];

        object_path_encode(kind, name, object);
        bus->host.record(bus->userdata,
                         &(BusRecord){
                                 .event = event,
                                 .uid = (uint32_t)getuid(),
                                 .pid = (uint32_t)getpid(),
                                 .object = object,
                                 .generation = asked->generation,
                                 .algorithm = asked->algorithm,
                                 .result = "ok",
                         },
                         ignore, NULL);
}

void record_refusal(Peer *peer, const Node *node, MethodId method, DBusMessage *message, int status)
{
        const BusHost *host = &peer->bus->host;
        const char *event = method_table[method].name;
        const char *result = status_error_name(status) + strlen(CB_ERROR_PREFIX);
        char object[OBJECT_PATH_MAX];
        Asked asked;

        if (peer->bus->rooms.metrics)
                metrics_count(peer->bus->rooms.metrics, event, "", result, METRICS_NO_DURATION);
        if (!host->record || !method_is_recorded(method) ||
            !refusal_is_single(peer->bus, peer->subject.uid,
                               grants_name(peer->bus->grants, &peer->subject), method, result))
                return;

        asked_of(method, message, &asked);
        put_object(node, false, OBJECT_MANAGER, "", object);
        host->record(peer->bus->userdata,
                     &(BusRecord){
                             .event = event,
                             .uid = peer->subject.uid,
                             .pid = peer->subject.pid,
                             .unit = peer->subject.unit,
                             .object = object,
                             .generation = asked.generation,
                             .algorithm = asked.algorithm,
                             .result = result,
                     },
                     ignore, NULL);
}

/* The source of the key that was used, or of the object that was called. */
static const char *source_of(const Call *call)
{
        const Catalog *catalog = call->bus->rooms.catalog;
        const Certificate *certificate = NULL;
        const Backend *backend;

        /* Nothing was used, and to look would take a time of its own. */
        if (call->refused || call->node.type != NODE_OBJECT)
                return "";

        switch (call->node.kind) {
        case OBJECT_CERTIFICATE:
                certificate = catalog_find_certificate(catalog, call->node.name);
                break;
        case OBJECT_BACKEND:
                backend = catalog_find_backend(catalog, call->node.name);
                certificate =
                        backend ? catalog_find_certificate(catalog, backend->certificate) : NULL;
                break;
        case OBJECT_SOURCE: /* as it was called: it may be none */
        case OBJECT_MANAGER:
        case _OBJECT_KIND_N:
                break;
        }
        return certificate ? certificate->source : "";
}

void call_count(const Call *call)
{
        if (call->bus->rooms.metrics)
                metrics_count(call->bus->rooms.metrics, method_table[call->method].name,
                              source_of(call), call->result ? call->result : "ok",
                              clock_monotonic_usec() - call->began_usec);
}
