/* SPDX-License-Identifier: Apache-2.0 */
/* Whose word counts as the message bus's. */
#pragma once

#include <stdbool.h>

#include "base/failure.h"

struct DBusConnection;
struct DBusMessage;

/*
 * The other end's socket must be of root, of who runs certbrokerd, or of the user that the system's bus runs as: it
 * says who our callers are. Asked before anything is said on the connection.
 */
int check_bus_owner(struct DBusConnection *connection, const char *address, Failure *failure);

/* Is it a message of the bus itself? What carries the right serial may come from anybody on it. */
bool is_of_bus(struct DBusMessage *message);
