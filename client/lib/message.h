/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to be sent: arguments, checked before libdbus sees them. */
#pragma once

#include <stdarg.h>

#include <dbus/dbus.h>

#include <certbroker/certbroker.h>

#include "macro.h"

static inline void message_unrefp(DBusMessage **message)
{
        if (*message)
                dbus_message_unref(*message);
}

/* A call with the arguments that signature names; it never starts a service by itself. */
int message_new(const cb_method *method, const char *signature, va_list args,
                DBusMessage **ret_message, cb_error *error);
