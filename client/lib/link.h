/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Link: one D-Bus connection, used by one thread at a time. It knows messages and deadlines, and
 * nothing of the broker.
 */
#pragma once

#include <sys/types.h>

#include <certbroker/certbroker.h>

#include "descriptor.h"
#include "incoming.h"
#include "macro.h"
#include "message.h"
#include "trust.h"

/* Points in time of CLOCK_MONOTONIC, in usec; UINT64_MAX is never. */
uint64_t link_now(void);
uint64_t link_deadline(uint64_t after_usec);

static inline uint64_t earlier(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

typedef struct Link Link;

/* Called with the socket of a connection when it has been made, and before it goes away. */
typedef struct LinkRegister {
        void (*opened)(void *context, const Descriptor *socket);
        void (*closing)(void *context, const Descriptor *socket);
        void *context;
} LinkRegister;

/*
 * Connects to the first of the addresses whose server answers and may be talked to (trust.h), logs
 * in, and says Hello where a bus is wanted. Only unix: addresses. CB_UNREACHABLE, CB_TIMED_OUT,
 * CB_ACCESS_DENIED, CB_INVALID_ARGUMENT; CB_FAILED: that is no bus.
 */
int link_new(const char *addresses, const Wanted *wanted, const LinkRegister *fd_register,
             uint64_t deadline, Link **ret_link, cb_error *error);
Link *link_free(Link *link);
DEFINE_CLEANUP(Link *, link_free)

bool link_is_bus(const Link *link); /* else the other end is the broker itself */
pid_t link_server_pid(const Link *link);
uid_t link_own_uid(const Link *link); /* effective, when the connection was made */

/*
 * On a bus: the broker's unique name. It is never given to another connection, as the well-known
 * one is, so what was found out about it stays true. NULL until it is set.
 */
int link_set_broker(Link *link, const char *name);
const char *link_broker(const Link *link);
/* On a bus anybody may send anything, but not as another. */
bool link_is_from_broker(const Link *link, const Incoming *message);

/* Reads what lies there, drops it; false where the connection is dead. Never waits. */
bool link_refresh(Link *link);
bool link_is_alive(const Link *link);

/*
 * Sends a call and waits for the answer of its destination (on a channel NULL); everything else that
 * comes in is dropped. 0 with the
 * answer's arguments (ret_body may be NULL); else the outcome. After CB_UNREACHABLE and
 * CB_TIMED_OUT the link is of no use any more.
 */
int link_call(Link *link, const Message *call, const char *destination, uint64_t deadline,
              cb_value **ret_body, cb_error *error);
/* The last call came back because its addressee does not exist: it was certainly not done. */
bool link_reached_nobody(const Link *link);
bool link_was_refused(const Link *link); /* the last call, by the bus itself */
void link_note_nobody(Link *link);       /* that is why: there is nobody any more */

/* Waits for a message of any kind: CB_TIMED_OUT, CB_UNREACHABLE, -EINTR. */
int link_next(Link *link, uint64_t deadline, Incoming **ret_message, cb_error *error);
