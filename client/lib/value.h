/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as trees of cb_value. */
#pragma once

#include <dbus/dbus.h>

#include <certbroker/certbroker.h>

#include "macro.h"

/* The arguments of a message, as the list that is a tree's root. -EBADMSG: deeper than 8. */
int value_from_message(DBusMessage *message, cb_value **ret_value);

DEFINE_CLEANUP(cb_value *, cb_value_free)
