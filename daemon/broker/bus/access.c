/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions: turns a method's access class into what core/grants.h is asked. The invariant is that an
 * object which may not be read and one that does not exist give the same answer, text included. It
 * remembers no decision: each call asks anew, under the grants that are in force then, and one that waited
 * is asked about again where these have changed.
 */
#include "broker/bus/room.h"

#include <errno.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/resolve/refusal.h"

/* What a class asks of the object that is called. */
static const Operation class_operations[_ACCESS_CLASS_N] = {
        [ACCESS_READ] = OPERATION_READ,     [ACCESS_TLS] = OPERATION_TLS,
        [ACCESS_USE] = OPERATION_SIGN,      [ACCESS_DECRYPT] = OPERATION_DECRYPT,
        [ACCESS_EXPORT] = OPERATION_EXPORT, [ACCESS_MANAGE] = OPERATION_MANAGE,
        [ACCESS_AUDIT] = OPERATION_AUDIT,
};

bool may_read(const Bus *bus, const Subject *subject, ObjectKind kind, const char *name)
{
        const Request request = { .operation = OPERATION_READ, .kind = kind, .name = name };

        /* The manager is there for everybody; it shows each what it may read. */
        return kind == OBJECT_MANAGER || grants_decide(bus->grants, subject, &request, NULL);
}

int check_access(const Bus *bus, const Subject *subject, const Request *request, Failure *failure)
{
        Failure denied = { 0 };

        if (grants_decide(bus->grants, subject, request, &denied))
                return 0;
        if (!may_read(bus, subject, request->kind, request->name))
                return object_not_found(failure, request->kind, request->name);
        *failure = denied;
        return CB_ACCESS_DENIED;
}

static int check_manager(const Bus *bus, const Subject *subject, Failure *failure)
{
        const Request request = { .operation = OPERATION_MANAGE, .kind = OBJECT_MANAGER };

        if (grants_decide(bus->grants, subject, &request, failure))
                return 0;
        return CB_ACCESS_DENIED;
}

/* Who may not manage what it would make learns nothing about whether it is there already. */
static int check_create(const Bus *bus, const Subject *subject, ObjectKind kind, const char *name,
                        Failure *failure)
{
        const Request request = { .operation = OPERATION_MANAGE, .kind = kind, .name = name };

        if (grants_decide(bus->grants, subject, &request, failure))
                return 0;
        return CB_ACCESS_DENIED;
}

int check_method(const Bus *bus, const Subject *subject, const Node *node, MethodId method,
                 const char *argument, Failure *failure)
{
        AccessClass access = method_table[method].access;
        Request request = { .kind = node->kind, .name = node->name };

        if (node->type == NODE_FOLDER)
                return 0; /* it has only children, each of which is decided on */

        switch (access) {
        case ACCESS_ANY:
                return 0;
        case ACCESS_READ:
        case ACCESS_TLS:
        case ACCESS_USE:
        case ACCESS_DECRYPT:
        case ACCESS_EXPORT:
        case ACCESS_MANAGE:
        case ACCESS_AUDIT:
                if (access == ACCESS_READ && node->kind == OBJECT_MANAGER)
                        return 0;
                request.operation = class_operations[access];
                return check_access(bus, subject, &request, failure);
        case ACCESS_MANAGE_ALL:
                if (!may_read(bus, subject, node->kind, node->name))
                        return object_not_found(failure, node->kind, node->name);
                return check_manager(bus, subject, failure);
        case ACCESS_CREATE_CERTIFICATE:
        case ACCESS_CREATE_IN_SOURCE: /* the source by call_needs_source() */
                return check_create(bus, subject, OBJECT_CERTIFICATE, argument, failure);
        case ACCESS_CREATE_BACKEND:
                return check_create(bus, subject, OBJECT_BACKEND, argument, failure);
        case _ACCESS_CLASS_N:
                break;
        }
        assert_always(false);
        return CB_ACCESS_DENIED;
}

int check_source(const Bus *bus, const Subject *subject, const char *source, Failure *failure)
{
        const Request request = { .operation = OPERATION_MANAGE,
                                  .kind = OBJECT_SOURCE,
                                  .name = source };

        return check_access(bus, subject, &request, failure);
}

int call_needs_source(Call *call, const char *source, Failure *failure)
{
        int r;

        if (!call->peer)
                return fail(failure, CB_ACCESS_DENIED, "who asked has gone");
        r = check_source(call->bus, call_subject(call), source, failure);
        if (r == 0 && string_set(&call->source, source) < 0)
                r = fail(failure, -ENOMEM, "no memory for the call");
        return r;
}

static int decide_anew(const Call *call, Failure *failure)
{
        const Request request = { .operation = call->operation,
                                  .kind = call->node.kind,
                                  .name = call->node.name,
                                  .algorithm = call->algorithm };
        const Bus *bus = call->bus;
        int r;

        if (!call->peer)
                return fail(failure, CB_ACCESS_DENIED,
                            "who asked has gone, and the grants have changed since");
        r = check_method(bus, call_subject(call), &call->node, call->method, call->name, failure);
        if (r == 0 && call->operation)
                r = check_access(bus, call_subject(call), &request, failure);
        if (r == 0 && call->source)
                r = check_source(bus, call_subject(call), call->source, failure);
        if (r == 0 && call->bound &&
            !may_read(bus, call_subject(call), OBJECT_CERTIFICATE, call->bound))
                r = object_not_found(failure, OBJECT_CERTIFICATE, call->bound);
        return r;
}

int call_decide_again(Call *call, Failure *failure)
{
        int r;

        if (call->grants_version == call->bus->grants->version)
                return 0;
        r = decide_anew(call, failure);
        if (r == 0)
                call->grants_version = call->bus->grants->version;
        else
                call_note_grant(call, NULL); /* none allows it any more */
        return r;
}

/* A request may be signed by a key that has no certificate yet, and an expired one may be exported. */
static int may_be_used(const Call *call, const Certificate *certificate,
                       const Generation *generation)
{
        if (call->method == METHOD_CERTIFICATE_EXPORT ||
            call->method == METHOD_CERTIFICATE_CREATE_REQUEST)
                return certificate_may_use_key(certificate, generation);
        return certificate_may_sign(certificate, generation, clock_realtime_sec());
}

static int check_key(const Call *call, uint64_t number, Failure *failure)
{
        const char *id = call->node.name;
        const Certificate *certificate = catalog_find_certificate(call->bus->rooms.catalog, id);
        const Generation *generation;
        int r;

        if (!certificate)
                return object_not_found(failure, OBJECT_CERTIFICATE, id);
        if (certificate->life != call->life && certificate->enabled)
                return fail(failure, CB_DISABLED,
                            "certificate '%s' was disabled or deleted while its key was used, and "
                            "is back since; call again",
                            id);

        generation = certificate_find_generation(certificate, number);
        r = may_be_used(call, certificate, generation);
        return r == 0 ? 0 : certificate_refusal(certificate, generation, r, failure);
}

int call_may_hand_out(Call *call, uint64_t generation, Failure *failure)
{
        int r = call_decide_again(call, failure);

        if (generation != 0)
                call->generation = generation;
        if (r == 0 && generation != 0)
                r = check_key(call, generation, failure);
        return r;
}

const Grant *deciding_grant(const Bus *bus, const Subject *subject, const Node *node,
                            MethodId method, const char *argument)
{
        AccessClass access = method_table[method].access;
        Request request = { .operation = OPERATION_MANAGE, .kind = node->kind, .name = node->name };

        switch (access) {
        case ACCESS_TLS:
        case ACCESS_USE:
        case ACCESS_DECRYPT:
        case ACCESS_EXPORT:
        case ACCESS_MANAGE:
        case ACCESS_AUDIT:
                request.operation = class_operations[access];
                break;
        case ACCESS_MANAGE_ALL:
                request.kind = OBJECT_MANAGER;
                break;
        case ACCESS_CREATE_CERTIFICATE:
        case ACCESS_CREATE_IN_SOURCE:
                request.kind = OBJECT_CERTIFICATE;
                request.name = argument;
                break;
        case ACCESS_CREATE_BACKEND:
                request.kind = OBJECT_BACKEND;
                request.name = argument;
                break;
        case ACCESS_ANY:
        case ACCESS_READ:
                if (method != METHOD_PROPERTIES_SET)
                        return NULL;
                break;
        case _ACCESS_CLASS_N:
                return NULL;
        }
        return grants_decide(bus->grants, subject, &request, NULL);
}
