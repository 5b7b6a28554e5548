/* SPDX-License-Identifier: Apache-2.0 */
/* D-Bus addresses of unix sockets, and whether somebody answers there. */
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <dbus/dbus.h>

#include <certbroker/certbroker.h>

#include "macro.h"

typedef struct Address {
        char text[sizeof(((struct sockaddr_un *)0)->sun_path) * 3 + 32]; /* one D-Bus address */
        struct sockaddr_un socket;
        socklen_t n_socket;
} Address;

/* -EPROTONOSUPPORT: not a unix socket that can be connected to. */
int address_from_entry(DBusAddressEntry *entry, Address *ret_address);

/* A list of D-Bus addresses, at least one of which can be used. */
bool address_is_valid(const char *addresses);

/*
 * Connects without waiting, asks for the server's greeting, and closes: 0 when it came before the
 * deadline (CLOCK_MONOTONIC, usec). -errno of the connect, -EAGAIN where the server's queue is full,
 * -ETIMEDOUT.
 */
int address_knock(const Address *address, uint64_t deadline);
