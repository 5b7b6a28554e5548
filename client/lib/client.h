/* SPDX-License-Identifier: Apache-2.0 */
/* The client: which broker, and calls to it. */
#pragma once

#include "link.h"
#include "pool.h"

/* Where the broker is looked for. Immutable. */
typedef struct Place {
        char *bus; /* D-Bus addresses */
        PeerKind kind;
        const char *fallback; /* channel addresses for when the bus is out of reach, or NULL */
        Trust trust;
} Place;

/* A new link to the broker itself, or to the bus that it is on. */
int connect_broker(const Place *place, Pool *pool, uint64_t deadline, Link **ret_link,
                   cb_error *error);

/* Nobody is there, but systemd is about to start it again: it has kept the runtime directory. */
bool connect_is_restarting(const Place *place);

/* Of "system", "session" or an address; NULL: the environment's. The caller frees its bus. */
int connect_place(const char *bus, Place *ret_place);

const Place *client_place(const cb_client *client);
uint64_t client_connect_usec(cb_client *client);
uint64_t client_call_usec(cb_client *client);
int client_pool(cb_client *client, Pool **ret_pool, cb_error *error);

/* Sends to the broker on either kind of link. */
int client_call_on(Link *link, const Message *call, uint64_t deadline, cb_value **ret_body,
                   cb_error *error);
int client_pid_on(Link *link, uint64_t deadline, pid_t *ret_pid, cb_error *error);
