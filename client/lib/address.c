/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and the knock. libdbus connects with a blocking connect(2), and that waits without end
 * for a server that is stopped and whose queue is full: a gateway's event loop would hang with it. So we
 * knock first, with a socket of our own that never blocks, and let libdbus connect only where
 * somebody has just answered. Only unix sockets: others have no peer credentials, and unixexec:
 * would run a program that the environment names.
 */
#include "address.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "link.h"

static int set_path(Address *address, const char *path, bool is_abstract)
{
        size_t n = strlen(path), offset = is_abstract ? 1 : 0;

        if (n == 0 || n + offset + 1 > sizeof(address->socket.sun_path))
                return -ENAMETOOLONG;
        address->socket.sun_family = AF_UNIX;
        memcpy(address->socket.sun_path + offset, path, n);
        address->n_socket = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + offset + n +
                                        (is_abstract ? 0 : 1));
        return 0;
}

int address_from_entry(DBusAddressEntry *entry, Address *ret_address)
{
        const char *path, *abstract, *guid;
        Address address = { 0 };
        char *escaped;
        int r, n;

        if (strcmp(dbus_address_entry_get_method(entry), "unix") != 0)
                return -EPROTONOSUPPORT;
        path = dbus_address_entry_get_value(entry, "path");
        abstract = dbus_address_entry_get_value(entry, "abstract");
        guid = dbus_address_entry_get_value(entry, "guid");
        if (!path == !abstract)
                return -EPROTONOSUPPORT;

        r = set_path(&address, path ? path : abstract, abstract != NULL);
        if (r)
                return r;
        escaped = dbus_address_escape_value(path ? path : abstract);
        if (!escaped)
                return -ENOMEM;
        n = snprintf(address.text, sizeof(address.text), "unix:%s=%s%s%.32s",
                     path ? "path" : "abstract", escaped, guid ? ",guid=" : "", guid ? guid : "");
        dbus_free(escaped);
        if (n < 0 || (size_t)n >= sizeof(address.text))
                return -ENAMETOOLONG;

        *ret_address = address;
        return 0;
}

bool address_is_valid(const char *addresses)
{
        DBusAddressEntry **entries;
        bool valid = false;
        int n;

        if (!dbus_parse_address(addresses, &entries, &n, NULL))
                return false;
        for (int i = 0; i < n; i++) {
                Address address;

                if (address_from_entry(entries[i], &address) == 0)
                        valid = true;
        }
        dbus_address_entries_free(entries);
        return valid;
}

static int wait_readable(int fd, uint64_t deadline)
{
        for (;;) {
                uint64_t now = link_now();
                uint64_t left = deadline > now ? deadline - now : 0;
                struct timespec timeout = { .tv_sec = (time_t)(left / USEC_PER_SEC),
                                            .tv_nsec = (long)(left % USEC_PER_SEC) * 1000 };
                struct pollfd p = { .fd = fd, .events = POLLIN };
                int n = ppoll(&p, 1, &timeout, NULL);

                if (n > 0)
                        return 0;
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (left == 0)
                        return -ETIMEDOUT;
        }
}

static int knock_on(int fd, const Address *address, uint64_t deadline)
{
        /* The first byte is for credentials; AUTH without a mechanism asks for the list of them. */
        static const char greeting[] = "\0AUTH\r\n";
        char answer;
        ssize_t n;
        int r;

        if (connect(fd, (const struct sockaddr *)&address->socket, address->n_socket) < 0)
                return -errno;
        if (send(fd, greeting, sizeof(greeting) - 1, MSG_NOSIGNAL) < 0)
                return -errno;
        r = wait_readable(fd, deadline);
        if (r)
                return r;
        n = recv(fd, &answer, 1, MSG_DONTWAIT);
        if (n < 0)
                return -errno;
        return n == 1 ? 0 : -ECONNRESET;
}

int address_knock(const Address *address, uint64_t deadline)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r;

        if (fd < 0)
                return -errno;
        r = knock_on(fd, address, deadline);
        (void)close(fd);
        return r;
}
