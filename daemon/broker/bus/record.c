/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the audit log is told of a call: who, what, on which object, by which grant, and what came of it. Never an
 * argument beyond these, an input or a signature. Whatever changes or uses something is recorded whatever comes of it;
 * reading is recorded where it was refused. Everything is counted.
 *
 * Who has no grant cannot fill the disk either: beyond a rate, refusals of one user are recorded by the thousand.
 */
#include "broker/bus/room.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strings.h"

#define REFUSALS          "" /* the bucket: no grant has this name */
#define REFUSALS_PER_SEC  10
#define REFUSALS_AT_ONCE  1000
#define REFUSALS_TOGETHER 1000

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

void call_note_grant(Call *call, const Grant *grant)
{
        (void)string_set(&call->grant, grant ? grant->name : NULL);
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

/* Nobody is refused what does not exist. */
static bool is_refused_reading(const Call *call)
{
        const Catalog *catalog = call->bus->rooms.catalog;

        if (!call->refused || call->node.type != NODE_OBJECT)
                return false;
        if (call->node.kind == OBJECT_CERTIFICATE)
                return catalog_find_certificate(catalog, call->node.name);
        return call->node.kind == OBJECT_BACKEND && catalog_find_backend(catalog, call->node.name);
}

/* Is there a record of this refusal? If not, of every so many one is written that says so. */
static bool refusal_is_recorded(Bus *bus, uint32_t uid, const char **event)
{
        uint64_t wait_usec;

        if (quota_take_token(bus->quota, REFUSALS, uid, REFUSALS_PER_SEC, REFUSALS_AT_ONCE,
                             clock_monotonic_usec(), &wait_usec) == 0)
                return true;
        if (bus->n_unrecorded++ % REFUSALS_TOGETHER != 0)
                return false;
        *event = "refusals";
        return true;
}

static void ignore(void *call, int r)
{
        (void)call;
        (void)r;
}

/* Refused reading is answered at once: to wait for the disk would tell that there is something. */
bool call_record(Call *call, bus_recorded done)
{
        const BusHost *host = &call->bus->host;
        const char *event = method_table[call->method].name;
        bool is_reading = !method_is_recorded(call->method) && is_refused_reading(call);
        char object[OBJECT_PATH_MAX];

        if (!host->record || !(method_is_recorded(call->method) || is_reading))
                return false;
        if ((call->refused || (call->result && !call->grant)) &&
            !refusal_is_recorded(call->bus, call->uid, &event))
                return false;

        put_object(&call->node, call->answers_path, call->kind, call->name, object);
        host->record(call->bus->userdata,
                     &(BusRecord){
                             .event = event,
                             .uid = call->uid,
                             .pid = call->pid,
                             .unit = call->unit,
                             .object = object,
                             .generation = call->generation,
                             .algorithm = call->algorithm == ALGORITHM_NONE
                                                  ? NULL
                                                  : algorithm_name(call->algorithm),
                             .grant = call->grant,
                             .certificate = call->certificate,
                             .forced = call->forced,
                             .result = call->result ? call->result : "ok",
                     },
                     is_reading ? ignore : done, call);
        return !is_reading;
}

void record_own(Bus *bus, const char *event, ObjectKind kind, const char *name)
{
        char object[OBJECT_PATH_MAX];

        object_path_encode(kind, name, object);
        bus->host.record(bus->userdata,
                         &(BusRecord){
                                 .event = event,
                                 .uid = (uint32_t)getuid(),
                                 .pid = (uint32_t)getpid(),
                                 .object = object,
                                 .result = "ok",
                         },
                         ignore, NULL);
}

void record_refusal(Peer *peer, const Node *node, MethodId method, int status)
{
        const BusHost *host = &peer->bus->host;
        const char *event = method_table[method].name;
        const char *result = status_error_name(status) + strlen(CB_ERROR_PREFIX);
        char object[OBJECT_PATH_MAX];

        if (peer->bus->rooms.metrics)
                metrics_count(peer->bus->rooms.metrics, event, "", result, METRICS_NO_DURATION);
        if (!host->record || !method_is_recorded(method) ||
            !refusal_is_recorded(peer->bus, peer->subject.uid, &event))
                return;

        put_object(node, false, OBJECT_MANAGER, "", object);
        host->record(peer->bus->userdata,
                     &(BusRecord){
                             .event = event,
                             .uid = peer->subject.uid,
                             .pid = peer->subject.pid,
                             .unit = peer->subject.unit,
                             .object = object,
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

        if (call->node.type != NODE_OBJECT)
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
