/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private channel: two peer-to-peer servers, one on a path below the runtime directory and one on an
 * abstract address that is made of the same path, for clients in a chroot. Everybody may connect: grants
 * decide on each call, by the socket's credentials. A socket that a dead broker left is replaced, one that
 * answers is another broker's, and is left alone.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

typedef struct Server {
        DBusServer *server;
        BusLoop *loop;
} Server;

struct Channel {
        Bus *bus;
        Server servers[2];
};

static void server_stop(Server *server)
{
        server->loop = bus_loop_free(server->loop);
        if (!server->server)
                return;
        dbus_server_disconnect(server->server); /* removes the socket, too */
        dbus_server_unref(TAKE(server->server));
}

void channel_stop(Channel *channel)
{
        for (size_t i = 0; i < ELEMENTSOF(channel->servers); i++)
                server_stop(&channel->servers[i]);
}

Channel *channel_free(Channel *channel)
{
        if (!channel)
                return NULL;
        channel_stop(channel);
        free(channel);
        return NULL;
}

static void channel_freep(Channel **place)
{
        channel_free(*place);
}

static void on_connection(DBusServer *server, DBusConnection *connection, void *userdata)
{
        peer_on_channel_connection(userdata, connection);
}

static int listen_at(Channel *channel, Server *server, const char *address, Failure *failure)
{
        static const char *mechanisms[] = { "EXTERNAL", NULL };
        DBusError error = DBUS_ERROR_INIT;
        int r;

        server->server = dbus_server_listen(address, &error);
        if (!server->server) {
                r = fail(failure,
                         dbus_error_has_name(&error, DBUS_ERROR_ADDRESS_IN_USE) ? CB_ALREADY_EXISTS
                                                                                : CB_FAILED,
                         "the channel cannot listen at %s: %s", address, error.message);
                dbus_error_free(&error);
                return r;
        }
        if (!dbus_server_set_auth_mechanisms(server->server, mechanisms))
                return fail(failure, -ENOMEM, "no memory for the channel");
        dbus_server_set_new_connection_function(server->server, on_connection, channel->bus, NULL);
        r = bus_loop_attach_server(channel->bus->rooms.event, server->server, &server->loop);
        if (r < 0)
                return fail(failure, r, "the channel cannot be watched");
        return 0;
}

/* libdbus unlinks whatever socket is there before it binds: so this asks first whether it is alive. */
static int check_dead(const char *path, Failure *failure)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        CLEANUP(closep) int fd = -1;
        struct stat st;

        if (strlen(path) >= sizeof(address.sun_path))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the runtime directory's name is too long: %s has more than %zu bytes",
                            path, sizeof(address.sun_path) - 1);
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : fail(failure, -errno, "%s cannot be looked at", path);
        if (!S_ISSOCK(st.st_mode))
                return fail(failure, CB_FAILED, "%s is in the way, and is no socket; remove it",
                            path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return fail(failure, -errno, "no socket to look at %s with", path);
        memcpy(address.sun_path, path, strlen(path) + 1);
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 &&
            (errno == ECONNREFUSED || errno == ENOENT))
                return 0;
        return fail(failure, CB_ALREADY_EXISTS, "another certbrokerd listens at %s", path);
}

static int channel_listen(Channel *channel, const char *path, Failure *failure)
{
        CLEANUP(freep) char *by_path = NULL, *abstract = NULL, *both = NULL;
        char *escaped;
        int n, r;

        escaped = dbus_address_escape_value(path);
        if (!escaped)
                return fail(failure, -ENOMEM, "no memory for the channel");
        n = asprintf(&by_path, "unix:path=%s", escaped);
        if (n >= 0)
                n = asprintf(&abstract, "unix:abstract=%s", escaped);
        if (n >= 0)
                n = asprintf(&both, "%s;%s", by_path, abstract);
        dbus_free(escaped);
        if (n < 0)
                return fail(failure, -ENOMEM, "no memory for the channel");

        r = check_dead(path, failure);
        if (r != 0)
                return r;
        /* The abstract one first: it cannot be taken twice, so two brokers cannot both go on. */
        r = listen_at(channel, &channel->servers[0], abstract, failure);
        if (r == 0)
                r = listen_at(channel, &channel->servers[1], by_path, failure);
        if (r != 0)
                return r;
        if (chmod(path, 0666) < 0)
                return fail(failure, -errno, "%s cannot be opened to everybody", path);
        channel->bus->channel_address = TAKE(both);
        return 0;
}

int channel_new(Bus *bus, const char *runtime_directory, Channel **ret_channel, Failure *failure)
{
        CLEANUP(channel_freep) Channel *channel = NULL;
        CLEANUP(freep) char *path = NULL;
        int r;

        channel = calloc(1, sizeof(*channel));
        if (!channel || asprintf(&path, "%s/channel", runtime_directory) < 0)
                return fail(failure, -ENOMEM, "no memory for the channel");
        channel->bus = bus;
        r = channel_listen(channel, path, failure);
        if (r != 0)
                return r;
        *ret_channel = TAKE(channel);
        return 0;
}
