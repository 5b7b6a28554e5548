/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of a source. A PIN's descriptor is handed on unread: it never is in this process's memory. */
#include "broker/bus/room.h"

#include <errno.h>

void source_refresh(Call *call, DBusMessage *message)
{
        manage_refresh_source(call->bus->rooms.manage, call->node.name, call_on_done, call);
}

void source_unlock(Call *call, DBusMessage *message)
{
        CLEANUP(closep) int pin_fd = -1;
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        pin_fd = call_take_descriptor(call, &iter);
        if (pin_fd < 0) {
                call_fail_status(call, -EMFILE, "no descriptors left to unlock source '%s' with",
                                 call->node.name);
                return;
        }
        manage_unlock_source(call->bus->rooms.manage, call->node.name, pin_fd, call_on_done, call);
}
