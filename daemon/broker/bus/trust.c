/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus is believed because of who runs it, and a message because it is the bus's own. The first is the kernel's
 * word about the socket; the second the bus's, which writes the sender into each message that it passes on.
 */
#include "broker/bus/trust.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "build-config.h"

static bool is_bus_user(uid_t uid)
{
        const struct passwd *user = getpwnam(BUS_USER);

        return user && user->pw_uid == uid;
}

int check_bus_owner(DBusConnection *connection, const char *address, Failure *failure)
{
        struct ucred peer = { .uid = (uid_t)-1 };
        socklen_t n = sizeof(peer);
        int fd = -1;

        if (!dbus_connection_get_socket(connection, &fd) ||
            getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || n != sizeof(peer) ||
            peer.uid == (uid_t)-1)
                return fail(failure, CB_ACCESS_DENIED,
                            "the system does not say who runs the message bus at %s; it has to be a "
                            "Unix socket",
                            address);
        if (peer.uid == 0 || peer.uid == geteuid() || is_bus_user(peer.uid))
                return 0;
        return fail(failure, CB_ACCESS_DENIED,
                    "the message bus at %s is run by uid %u, whose word about callers counts for "
                    "nothing: it has to be root, " BUS_USER " or who runs certbrokerd",
                    address, peer.uid);
}

bool is_of_bus(DBusMessage *message)
{
        return dbus_message_has_sender(message, DBUS_SERVICE_DBUS);
}
