/* SPDX-License-Identifier: Apache-2.0 */
/* The client: which broker, and calls to it. */
#pragma once

#include "link.h"
#include "pool.h"

/* Where the broker is looked for. Immutable. */
typedef struct Place {
        char *bus;            /* D-Bus addresses */
        const char *fallback; /* channel addresses for when the bus is out of reach, or NULL */
        uid_t broker_uid;     /* of the user `certbroker`, or 0 */
} Place;

/* A new link to the broker itself, or to the bus that it is on. */
int connect_broker(const Place *place, Pool *pool, uint64_t deadline, Link **ret_link,
                   cb_error *error);

/* The address of "system", "session" or an address; NULL: the environment's. Caller frees. */
int connect_address(const char *bus, char **ret_address, bool *ret_is_system);

const Place *client_place(const cb_client *client);
uint64_t client_connect_usec(cb_client *client);
uint64_t client_call_usec(cb_client *client);
int client_pool(cb_client *client, Pool **ret_pool, cb_error *error);

/* Sends to the broker on either kind of link. */
int client_call_on(Link *link, const Message *call, uint64_t deadline, cb_value **ret_body,
                   cb_error *error);
