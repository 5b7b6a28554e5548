/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One private connection and its waits. libdbus never blocks and never dispatches here: we poll its
 * descriptor against our own deadline, let it read and write through its watches, and pop what came.
 * So no handler of anybody runs inside a call, and no signal, stopped bus or missing main loop can
 * stretch a deadline. A link is used by one thread at a time and is thrown away after a time-out: a
 * late answer can never be taken for another's.
 */
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "error.h"
#include "message.h"

#define MESSAGE_SIZE_MAX (32L * 1024 * 1024)

struct Link {
        DBusConnection *bus;
        DBusWatch *watches[4]; /* libdbus makes two: one reads, one writes */
        LinkRegister fd_register;
        int fd;
        uid_t server_uid, own_uid;
        bool is_bus, reached_nobody;
};

uint64_t link_now(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t link_deadline(uint64_t after_usec)
{
        uint64_t now = link_now();

        return after_usec < UINT64_MAX - now ? now + after_usec : UINT64_MAX;
}

/* ------------------------------------------------------------------ libdbus's watches */

static dbus_bool_t on_watch_add(DBusWatch *watch, void *userdata)
{
        Link *link = userdata;

        for (size_t i = 0; i < ELEMENTSOF(link->watches); i++)
                if (!link->watches[i]) {
                        link->watches[i] = watch;
                        return TRUE;
                }
        return FALSE;
}

static void on_watch_remove(DBusWatch *watch, void *userdata)
{
        Link *link = userdata;

        for (size_t i = 0; i < ELEMENTSOF(link->watches); i++)
                if (link->watches[i] == watch)
                        link->watches[i] = NULL;
}

static short watched_events(const Link *link)
{
        short events = 0;

        for (size_t i = 0; i < ELEMENTSOF(link->watches); i++) {
                unsigned flags;

                if (!link->watches[i] || !dbus_watch_get_enabled(link->watches[i]))
                        continue;
                flags = dbus_watch_get_flags(link->watches[i]);
                if (flags & DBUS_WATCH_READABLE)
                        events |= POLLIN;
                if (flags & DBUS_WATCH_WRITABLE)
                        events |= POLLOUT;
        }
        return events;
}

static void handle_events(Link *link, short revents)
{
        unsigned happened = (revents & POLLIN ? DBUS_WATCH_READABLE : 0u) |
                            (revents & POLLOUT ? DBUS_WATCH_WRITABLE : 0u) |
                            (revents & POLLHUP ? DBUS_WATCH_HANGUP : 0u) |
                            (revents & (POLLERR | POLLNVAL) ? DBUS_WATCH_ERROR : 0u);

        for (size_t i = 0; i < ELEMENTSOF(link->watches); i++) {
                DBusWatch *watch = link->watches[i];
                unsigned flags;

                if (!watch || !dbus_watch_get_enabled(watch))
                        continue;
                flags = happened &
                        (dbus_watch_get_flags(watch) | DBUS_WATCH_HANGUP | DBUS_WATCH_ERROR);
                if (flags)
                        (void)dbus_watch_handle(watch, flags);
        }
}

/* Waits once for the descriptor. -ETIMEDOUT, -EINTR, -ENOTCONN. */
static int link_poll(Link *link, uint64_t deadline)
{
        uint64_t now = link_now(), left = deadline > now ? deadline - now : 0;
        struct timespec timeout = { .tv_sec = (time_t)(left / USEC_PER_SEC),
                                    .tv_nsec = (long)(left % USEC_PER_SEC) * 1000 };
        struct pollfd p = { .fd = link->fd, .events = watched_events(link) };
        int n;

        if (!dbus_connection_get_is_connected(link->bus))
                return -ENOTCONN;
        n = ppoll(&p, 1, deadline == UINT64_MAX ? NULL : &timeout, NULL);
        if (n < 0)
                return -errno;
        if (n == 0)
                return -ETIMEDOUT;
        handle_events(link, p.revents);
        return 0;
}

/* ------------------------------------------------------------------ messages */

static bool is_disconnected_signal(DBusMessage *message)
{
        return dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected") &&
               dbus_message_has_path(message, DBUS_PATH_LOCAL);
}

int link_next(Link *link, uint64_t deadline, DBusMessage **ret_message, cb_error *error)
{
        for (;;) {
                DBusMessage *message = dbus_connection_pop_message(link->bus);
                int r;

                if (message && !is_disconnected_signal(message)) {
                        *ret_message = message;
                        return 0;
                }
                if (message) {
                        dbus_message_unref(message);
                        r = -ENOTCONN;
                } else {
                        r = link_poll(link, deadline);
                }
                if (r == -ETIMEDOUT)
                        return error_set(error, CB_TIMED_OUT,
                                         "certbrokerd gave no answer in time.");
                if (r == -ENOTCONN)
                        return error_set(error, CB_UNREACHABLE,
                                         "The connection to certbrokerd broke before its answer.");
                if (r == -EINTR)
                        return error_set(error, r, "Interrupted by a signal.");
                if (r)
                        return error_set(error, r, "Waiting for certbrokerd: %s", strerror(-r));
        }
}

static int link_send(Link *link, DBusMessage *call, uint32_t *ret_serial, cb_error *error)
{
        if (dbus_message_contains_unix_fds(call) &&
            !dbus_connection_can_send_type(link->bus, DBUS_TYPE_UNIX_FD))
                return error_set(error, CB_FAILED,
                                 "The connection to certbrokerd cannot carry file descriptors.");
        if (!dbus_connection_send(link->bus, call, ret_serial))
                return error_set(error, -ENOMEM, "Out of memory.");
        return 0;
}

int link_call(Link *link, DBusMessage *call, uint64_t deadline, DBusMessage **ret_reply,
              cb_error *error)
{
        uint32_t serial;
        int r;

        link->reached_nobody = false;
        r = link_send(link, call, &serial, error);
        if (r)
                return r;

        for (;;) {
                CLEANUP(message_unrefp) DBusMessage *message = NULL;

                r = link_next(link, deadline, &message, error);
                if (r == -EINTR)
                        continue;
                if (r)
                        return r;
                if (dbus_message_get_reply_serial(message) != serial)
                        continue;
                if (dbus_message_get_type(message) == DBUS_MESSAGE_TYPE_ERROR) {
                        link->reached_nobody =
                                dbus_message_is_error(message, DBUS_ERROR_SERVICE_UNKNOWN) ||
                                dbus_message_is_error(message, DBUS_ERROR_NAME_HAS_NO_OWNER);
                        return error_from_message(error, message);
                }
                if (dbus_message_get_type(message) != DBUS_MESSAGE_TYPE_METHOD_RETURN)
                        continue;
                *ret_reply = TAKE(message);
                return 0;
        }
}

bool link_is_alive(Link *link)
{
        return dbus_connection_get_is_connected(link->bus);
}

bool link_refresh(Link *link)
{
        /* A bounded number of turns: who sends faster than we read shall not hold us here. */
        for (unsigned i = 0; i < 64; i++) {
                DBusMessage *message;
                int r = link_poll(link, 0);

                while ((message = dbus_connection_pop_message(link->bus)))
                        dbus_message_unref(message);
                if (r == -EINTR)
                        continue;
                if (r)
                        return r == -ETIMEDOUT && link_is_alive(link);
                if (!link_is_alive(link))
                        return false;
        }
        return false;
}

/* ------------------------------------------------------------------ opening */

static int link_authenticate(Link *link, uint64_t deadline, cb_error *error)
{
        while (!dbus_connection_get_is_authenticated(link->bus)) {
                int r = link_poll(link, deadline);

                /* Libdbus finishes the handshake where it looks for messages; none can be lost yet. */
                (void)dbus_connection_get_dispatch_status(link->bus);
                if (r == -ETIMEDOUT)
                        return error_set(error, CB_TIMED_OUT,
                                         "The other end did not finish the log-in in time.");
                if (r == -ENOTCONN || !link_is_alive(link))
                        return error_set(error, CB_UNREACHABLE,
                                         "The other end refused the log-in.");
                if (r && r != -EINTR)
                        return error_set(error, r, "Waiting for the log-in: %s", strerror(-r));
        }
        return 0;
}

/* On a channel nobody knows Hello: that, and nothing else, is how the two are told apart. */
static int link_hello(Link *link, uint64_t deadline, cb_error *error)
{
        CLEANUP(message_unrefp) DBusMessage *call = NULL;
        CLEANUP(message_unrefp) DBusMessage *reply = NULL;
        const char *name;
        cb_error hello_error = { 0 };
        int r;

        call = dbus_message_new_method_call(DBUS_SERVICE_DBUS, DBUS_PATH_DBUS, DBUS_INTERFACE_DBUS,
                                            "Hello");
        if (!call)
                return error_set(error, -ENOMEM, "Out of memory.");

        r = link_call(link, call, deadline, &reply, &hello_error);
        if (r == CB_FAILED || r == CB_NOT_FOUND || r == CB_NOT_SUPPORTED)
                return 0;
        if (r)
                return error_set(error, r, "%s", hello_error.text);
        if (!dbus_message_get_args(reply, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_INVALID))
                return error_set(error, CB_FAILED, "The bus gave no name.");
        if (!dbus_bus_set_unique_name(link->bus, name))
                return error_set(error, -ENOMEM, "Out of memory.");
        link->is_bus = true;
        return 0;
}

static int link_attach(Link *link)
{
        struct ucred peer;
        socklen_t n_peer = sizeof(peer);

        dbus_connection_set_exit_on_disconnect(link->bus, FALSE);
        dbus_connection_set_max_message_size(link->bus, MESSAGE_SIZE_MAX);
        dbus_connection_set_max_received_size(link->bus, MESSAGE_SIZE_MAX);
        if (!dbus_connection_get_unix_fd(link->bus, &link->fd))
                return -ENOTCONN;
        if (getsockopt(link->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n_peer) < 0)
                return -errno;
        link->server_uid = peer.uid;
        link->own_uid = geteuid();
        link->fd_register.opened(link->fd_register.context, link->fd);
        if (!dbus_connection_set_watch_functions(link->bus, on_watch_add, on_watch_remove, NULL,
                                                 link, NULL))
                return -ENOMEM;
        return 0;
}

static int link_open(const Address *address, const LinkRegister *fd_register, uint64_t deadline,
                     Link **ret_link, cb_error *error)
{
        CLEANUP(link_freep) Link *link = NULL;
        DBusError dbus_error = DBUS_ERROR_INIT;
        int r;

        link = calloc(1, sizeof(*link));
        if (!link)
                return error_set(error, -ENOMEM, "Out of memory.");
        link->fd = -1;
        link->fd_register = *fd_register;

        /* Else libdbus makes the program that we live in ignore SIGPIPE; it sends with MSG_NOSIGNAL. */
        dbus_connection_set_change_sigpipe(FALSE);
        link->bus = dbus_connection_open_private(address->text, &dbus_error);
        if (!link->bus) {
                error_set(error, CB_UNREACHABLE, "Cannot connect to %s: %s", address->text,
                          dbus_error.message ? dbus_error.message : "unknown error");
                dbus_error_free(&dbus_error);
                return CB_UNREACHABLE;
        }
        r = link_attach(link);
        if (r)
                return error_set(error, r, "Cannot use %s: %s", address->text, strerror(-r));
        r = link_authenticate(link, deadline, error);
        if (r)
                return r;
        r = link_hello(link, deadline, error);
        if (r)
                return r;

        *ret_link = TAKE(link);
        return 0;
}

static int knock_outcome(cb_error *error, const Address *address, int r)
{
        switch (-r) {
        case ETIMEDOUT:
                return error_set(error, CB_TIMED_OUT,
                                 "Nobody answered at %s in time, though the socket is open.",
                                 address->text);
        case EAGAIN:
                return error_set(error, CB_TIMED_OUT,
                                 "The queue of %s is full: its server does not take connections.",
                                 address->text);
        case EACCES:
        case EPERM:
                return error_set(error, CB_ACCESS_DENIED, "May not connect to %s: %s",
                                 address->text, strerror(-r));
        default:
                return error_set(error, CB_UNREACHABLE, "Cannot connect to %s: %s", address->text,
                                 strerror(-r));
        }
}

static int try_entry(DBusAddressEntry *entry, const LinkRegister *fd_register, uint64_t deadline,
                     Link **ret_link, cb_error *error)
{
        Address address;
        int r;

        r = address_from_entry(entry, &address);
        if (r)
                return error_set(error, CB_INVALID_ARGUMENT,
                                 "Only unix:path= and unix:abstract= addresses can be used.");
        r = address_knock(&address, deadline);
        if (r)
                return knock_outcome(error, &address, r);
        return link_open(&address, fd_register, deadline, ret_link, error);
}

int link_new(const char *addresses, const LinkRegister *fd_register, uint64_t deadline,
             Link **ret_link, cb_error *error)
{
        DBusAddressEntry **entries;
        int n, r;

        if (!dbus_parse_address(addresses, &entries, &n, NULL))
                return error_set(error, CB_INVALID_ARGUMENT, "Not a D-Bus address: %s", addresses);

        r = error_set(error, CB_INVALID_ARGUMENT, "The D-Bus address is empty.");
        for (int i = 0; i < n; i++) {
                r = try_entry(entries[i], fd_register, deadline, ret_link, error);
                if (r == 0 || link_now() >= deadline)
                        break;
        }
        dbus_address_entries_free(entries);
        return r;
}

Link *link_free(Link *link)
{
        if (!link)
                return NULL;
        if (link->bus) {
                /* Struck off first: a number that is closed may belong to another file at once. */
                if (link->fd >= 0)
                        link->fd_register.closing(link->fd_register.context, link->fd);
                (void)dbus_connection_set_watch_functions(link->bus, NULL, NULL, NULL, NULL, NULL);
                dbus_connection_close(link->bus);
                dbus_connection_unref(link->bus);
        }
        free(link);
        return NULL;
}

bool link_reached_nobody(const Link *link)
{
        return link->reached_nobody;
}

bool link_is_bus(const Link *link)
{
        return link->is_bus;
}

uid_t link_server_uid(const Link *link)
{
        return link->server_uid;
}

uid_t link_own_uid(const Link *link)
{
        return link->own_uid;
}

int link_fd(const Link *link)
{
        return link->fd;
}
