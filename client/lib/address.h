/* SPDX-License-Identifier: Apache-2.0 */
/* D-Bus addresses of unix sockets. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESS_TEXT_MAX 144

typedef struct Address {
        struct sockaddr_un socket;
        socklen_t n_socket;
        char text[ADDRESS_TEXT_MAX]; /* for messages */
} Address;

/*
 * The next address of a list, separated by `;`; *list is moved behind it. -ENOENT: no more;
 * -EPROTONOSUPPORT: not a unix socket that can be connected to; -EINVAL: not an address.
 */
int address_next(const char **list, Address *ret_address);
/* A list, at least one of which can be used, and none of which is malformed. */
bool address_is_valid(const char *list);
/* The address of a socket at a path; the caller frees it. NULL: memory. */
char *address_of_path(const char *directory, const char *file);
