/* SPDX-License-Identifier: Apache-2.0 */
/* OpenAudit and GetMetrics: what has happened, as a log that is not read here, and as numbers. */
#include "broker/bus/room.h"

#include <errno.h>
#include <string.h>

static void answer_audit(Call *call, int fd, dbus_uint64_t seq, const char *hash)
{
        DBusMessage *reply = call_new_answer(call);

        if (reply && !dbus_message_append_args(reply, DBUS_TYPE_UNIX_FD, &fd, DBUS_TYPE_UINT64,
                                               &seq, DBUS_TYPE_STRING, &hash, DBUS_TYPE_INVALID)) {
                dbus_message_unref(reply);
                reply = NULL;
        }
        if (reply)
                call_answer(call, reply);
        else
                call_fail_memory(call);
}

void manager_open_audit(Call *call, DBusMessage *message)
{
        const BusHost *host = &call->bus->host;
        CLEANUP(closep) int fd = -1;
        char hash[THUMBPRINT_TEXT] = "";
        uint64_t seq = 0;
        int r;

        (void)message;
        r = host->open_audit(call->bus->userdata, &fd, &seq, hash);
        if (r < 0)
                call_fail_status(call, CB_FAILED, "the audit log cannot be opened: %s",
                                 strerror(-r));
        else
                answer_audit(call, fd, seq, hash);
}

void manager_get_metrics(Call *call, DBusMessage *message)
{
        CLEANUP(freep) char *text = NULL;
        Value value;

        (void)message;
        if (call->bus->host.report(call->bus->userdata, &text) < 0) {
                call_fail_memory(call);
                return;
        }
        value = value_string(text);
        call_answer_value(call, &value);
}
