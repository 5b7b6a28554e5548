/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libdbus on sd-event: watches (merged per descriptor), timeouts, and dispatching from the loop, a
 * bounded number of messages a turn. libdbus's types are forward-declared: this header includes
 * none of its.
 */
#pragma once

#include "base/macro.h"

typedef struct sd_event sd_event;
struct DBusConnection;
struct DBusServer;

typedef struct BusLoop BusLoop;

/* Attaches a connection; detached by bus_loop_free(), which neither closes nor unrefs it. */
int bus_loop_attach_connection(sd_event *event, struct DBusConnection *connection,
                               BusLoop **ret_loop);
int bus_loop_attach_server(sd_event *event, struct DBusServer *server, BusLoop **ret_loop);
BusLoop *bus_loop_free(BusLoop *loop);
DEFINE_CLEANUP(BusLoop, bus_loop_free)
