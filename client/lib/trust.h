/* SPDX-License-Identifier: Apache-2.0 */
/* Trust: whom the library talks to. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <certbroker/certbroker.h>

#include "address.h"

#define TRUST_NO_UID ((uid_t) - 1)

/* The users of this host that count; looked up once, for a chroot has no names of users. */
typedef struct Trust {
        uid_t bus_uid, broker_uid; /* TRUST_NO_UID: there is no such user */
        bool lacks_uids;           /* in a user namespace that does not have all of them */
        bool may_lack_uids;        /* that, or it could not be told */
} Trust;

/* What an address is. What answers there has no say in it. */
typedef enum PeerKind {
        PEER_BY_NAME, /* the broker's channel where the socket's name ends in /channel, else a bus */
        PEER_BUS,
        PEER_CHANNEL,
} PeerKind;

/* What is looked for: known before anything is connected. */
typedef struct Wanted {
        const Trust *trust;
        PeerKind kind;
        uid_t only; /* a channel's server, where it is known which uid it has; else TRUST_NO_UID */
} Wanted;

void trust_init(Trust *trust);

bool trust_is_bus(const Wanted *wanted, const Address *address);

/*
 * May a byte be sent to a server at this address, which the kernel says has this uid? 0, or
 * CB_ACCESS_DENIED.
 */
int trust_check(const Wanted *wanted, const Address *address, uid_t uid, cb_error *error);

/* May the broker be a process of this uid? */
bool trust_is_broker(const Trust *trust, uid_t uid);
