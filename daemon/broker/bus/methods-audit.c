/* SPDX-License-Identifier: Apache-2.0 */
/* OpenAudit and GetMetrics: what has happened, as a log that is not read here, and as numbers. */
#include "broker/bus/room.h"

#include <errno.h>
#include <string.h>

static int open_log(const Call *call, int *ret_fd, uint64_t *ret_seq,
                    char ret_hash[THUMBPRINT_TEXT])
{
        return call->bus->host.open_audit(call->bus->userdata, ret_fd, ret_seq, ret_hash);
}

/* When the call has its own record: then that is the last one, and whoever reads the log finds it at the end. */
static DBusMessage *new_audit_answer(const Call *call)
{
        DBusMessage *reply = call_new_answer(call);
        CLEANUP(closep) int fd = -1;
        char hash[THUMBPRINT_TEXT] = "";
        const char *text = hash;
        uint64_t seq = 0;
        dbus_uint64_t number;

        if (!reply)
                return NULL;
        if (open_log(call, &fd, &seq, hash) == 0) {
                number = seq;
                if (dbus_message_append_args(reply, DBUS_TYPE_UNIX_FD, &fd, DBUS_TYPE_UINT64,
                                             &number, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID))
                        return reply;
        }
        dbus_message_unref(reply);
        return NULL;
}

void manager_open_audit(Call *call, DBusMessage *message)
{
        CLEANUP(closep) int fd = -1;
        char hash[THUMBPRINT_TEXT] = "";
        uint64_t seq = 0;
        int r;

        (void)message;
        refusals_tell(call->bus);
        r = open_log(call, &fd, &seq, hash);
        if (r < 0)
                call_fail_status(call, CB_FAILED, "the audit log cannot be opened: %s",
                                 strerror(-r));
        else
                call_answer_recorded(call, new_audit_answer);
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
