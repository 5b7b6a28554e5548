/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much a manager of some ids may make, and how fast: certificates, their generations, backends. Asked after the
 * grants have allowed it and before anything is done. The invariant is that what one grant covers stays bounded,
 * whoever makes it; who may manage everything is not bound. What is there is counted once for each reading of the
 * grants; from then on each change is added.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "broker/bus/bounds.h"

#define MAKING "/making" /* the bucket: no grant has this name */

/* What a call makes; false: nothing that stays. */
static bool makes(const Call *call, const char *argument, Request *ret_request)
{
        *ret_request = (Request){ .operation = OPERATION_MANAGE,
                                  .kind = OBJECT_CERTIFICATE,
                                  .name = argument };
        switch (method_table[call->method].access) {
        case ACCESS_CREATE_BACKEND:
                ret_request->kind = OBJECT_BACKEND;
                return true;
        case ACCESS_CREATE_CERTIFICATE:
        case ACCESS_CREATE_IN_SOURCE:
                return true;
        case ACCESS_MANAGE:
                ret_request->name = call->node.name;
                return call->method == METHOD_CERTIFICATE_INSTALL_CERTIFICATE;
        case ACCESS_ANY:
        case ACCESS_READ:
        case ACCESS_TLS:
        case ACCESS_USE:
        case ACCESS_DECRYPT:
        case ACCESS_EXPORT:
        case ACCESS_MANAGE_ALL:
        case ACCESS_AUDIT:
        case _ACCESS_CLASS_N:
                break;
        }
        return false;
}

static bool counts(const Grant *grant, ObjectKind kind, const char *name)
{
        return (grant->operations & OPERATION_MANAGE) && grant_names(grant, kind, name);
}

static Stock stock_of(const Catalog *catalog, const Grant *grant)
{
        Stock stock = { 0 };

        MAP_FOREACH (catalog_certificates(catalog), entry) {
                const Certificate *certificate = entry->value;

                if (!counts(grant, OBJECT_CERTIFICATE, entry->key))
                        continue;
                stock.certificates++;
                stock.generations += certificate->n_generations;
        }
        MAP_FOREACH (catalog_backends(catalog), entry)
                stock.backends += counts(grant, OBJECT_BACKEND, entry->key);
        return stock;
}

static int take_stock(Bus *bus)
{
        const Grants *grants = bus->grants;

        if (bus->stocks)
                return 0;
        bus->stocks = calloc(grants->n + 1, sizeof(*bus->stocks));
        if (!bus->stocks)
                return -ENOMEM;
        for (size_t i = 0; i < grants->n; i++)
                bus->stocks[i] = stock_of(bus->rooms.catalog, grants->items[i]);
        return 0;
}

void stock_forget(Bus *bus)
{
        free(TAKE(bus->stocks));
}

void stock_add(Bus *bus, ObjectKind kind, const char *name, int n_objects, int64_t n_generations)
{
        for (size_t i = 0; bus->stocks && i < bus->grants->n; i++) {
                Stock *stock = &bus->stocks[i];

                if (!counts(bus->grants->items[i], kind, name))
                        continue;
                if (kind == OBJECT_BACKEND)
                        stock->backends += (uint64_t)n_objects;
                else
                        stock->certificates += (uint64_t)n_objects;
                stock->generations += (uint64_t)n_generations;
        }
}

/* A certificate that is there already gets no more than another generation. */
static bool has_room(const Bus *bus, const Grant *grant, const Request *request)
{
        const Stock *stock = bus->stocks;

        for (size_t i = 0; bus->grants->items[i] != grant; i++)
                stock++;
        if (request->kind == OBJECT_BACKEND)
                return stock->backends < BACKENDS_OF_A_GRANT;
        return stock->generations < GENERATIONS_OF_A_GRANT &&
               (stock->certificates < CERTIFICATES_OF_A_GRANT ||
                catalog_find_certificate(bus->rooms.catalog, request->name));
}

static bool is_bound(const Call *call)
{
        const Request everything = { .operation = OPERATION_MANAGE, .kind = OBJECT_MANAGER };

        return call->peer->standing != STANDING_OWNER &&
               !grants_decide(call->bus->grants, call_subject(call), &everything, NULL);
}

static int check_rate(const Call *call, Failure *failure)
{
        uint64_t wait_usec;

        if (quota_take_tokens(call->bus->quota, MAKING, call->uid, MAKING_SEC, 1,
                              (uint64_t)MAKING_AT_ONCE * MAKING_SEC, clock_monotonic_usec(),
                              &wait_usec) == 0)
                return 0;
        note_limit(call->bus, peer_client(call->peer), RESOURCE_MAKING);
        return fail(failure, CB_LIMIT_EXCEEDED,
                    "uid %" PRIu32 " has made more than %d certificates, generations and backends "
                    "in a short time; go on in %" PRIu64 " s, or as one who may manage everything",
                    call->uid, MAKING_AT_ONCE, wait_usec / USEC_PER_SEC + 1);
}

int check_stock(const Call *call, const char *argument, Failure *failure)
{
        Bus *bus = call->bus;
        const Grant *grant = NULL, *full = NULL;
        Request request;
        int r;

        if (!makes(call, argument, &request) || !is_bound(call))
                return 0;
        r = check_rate(call, failure);
        if (r != 0)
                return r;
        if (take_stock(bus) < 0)
                return fail(failure, -ENOMEM, "no memory to see how much there is");
        while ((grant = grants_next(bus->grants, call_subject(call), &request, grant))) {
                if (has_room(bus, grant, &request))
                        return 0;
                full = grant;
        }
        note_limit(call->bus, peer_client(call->peer), RESOURCE_STOCK);
        return fail(failure, CB_LIMIT_EXCEEDED,
                    "grant '%.63s' covers as many %ss or generations as a grant may; delete some, "
                    "or have it made by one who may manage everything",
                    full ? full->name : "?", object_kind_word(request.kind));
}
