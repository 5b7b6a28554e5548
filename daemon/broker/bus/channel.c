/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private channel: two peer-to-peer servers, one on a path below the runtime directory and one on an abstract
 * address that is made of the same path, for clients in a chroot. Everybody may connect: grants decide on each call,
 * by the socket's credentials.
 *
 * The invariant is that nobody else keeps the broker from starting. What lies at the path is put aside: the directory
 * is ours, and locked, so it is no live broker's. The abstract address is anybody's to take, before us or while we are
 * down: then the channel is the path alone, says so, and takes the address when it comes free.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/log.h"

#define SOCKET              "channel" /* in the runtime directory */
#define ABSTRACT_AGAIN_USEC (5 * USEC_PER_SEC)

enum { BY_PATH, ABSTRACT, _SERVER_N };

typedef struct Server {
        Bus *bus;
        DBusServer *server;
        BusLoop *loop;
        Turn turn; /* one connection each */
} Server;

struct Channel {
        Bus *bus;
        Server servers[_SERVER_N];
        char *addresses[_SERVER_N];
        sd_event_source *again; /* the abstract address was taken: it is tried again */
};

static void server_stop(Server *server)
{
        server->loop = bus_loop_free(server->loop);
        turn_deinit(&server->turn);
        if (!server->server)
                return;
        dbus_server_disconnect(server->server); /* removes the socket, too */
        dbus_server_unref(TAKE(server->server));
}

void channel_stop(Channel *channel)
{
        channel->again = sd_event_source_disable_unref(channel->again);
        for (size_t i = 0; i < _SERVER_N; i++)
                server_stop(&channel->servers[i]);
}

Channel *channel_free(Channel *channel)
{
        if (!channel)
                return NULL;
        channel_stop(channel);
        for (size_t i = 0; i < _SERVER_N; i++)
                free(channel->addresses[i]);
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

/* --- listening --- */

static void on_ready(void *userdata)
{
        Server *server = userdata;

        bus_want_turn(server->bus, &server->turn);
}

static void take_turn(void *userdata)
{
        static const BusTurn turn = { .n_max = TURN_ARRIVALS_MAX };
        Server *server = userdata;

        (void)bus_loop_turn(server->loop, &turn);
}

static int watch(Server *server)
{
        const BusLoopOwner owner = { .ready = on_ready, .userdata = server };
        int r = turn_init(&server->turn, server->bus->turns, TURNS_ARRIVALS, 0);

        if (r < 0)
                return r;
        server->turn.take = take_turn;
        server->turn.userdata = server;
        return bus_loop_attach_server(server->bus->rooms.event, server->server, &owner,
                                      &server->loop);
}

static int listen_at(Channel *channel, int which, Failure *failure)
{
        static const char *mechanisms[] = { "EXTERNAL", NULL };
        Server *server = &channel->servers[which];
        DBusError error = DBUS_ERROR_INIT;
        int r;

        server->server = dbus_server_listen(channel->addresses[which], &error);
        if (!server->server) {
                r = fail(failure, CB_FAILED, "the channel cannot listen at %s: %s",
                         channel->addresses[which], error.message);
                dbus_error_free(&error);
                return r;
        }
        if (!dbus_server_set_auth_mechanisms(server->server, mechanisms))
                return fail(failure, -ENOMEM, "no memory for the channel");
        dbus_server_set_new_connection_function(server->server, on_connection, channel->bus, NULL);
        server->bus = channel->bus;
        r = watch(server);
        if (r < 0)
                return fail(failure, r, "the channel cannot be watched");
        return 0;
}

/* --- the path --- */

static int check_length(const char *path, Failure *failure)
{
        struct sockaddr_un address;

        if (strlen(path) < sizeof(address.sun_path))
                return 0;
        return fail(failure, CB_INVALID_ARGUMENT,
                    "the runtime directory's name is too long: %s has more than %zu bytes", path,
                    sizeof(address.sun_path) - 1);
}

/* A socket that a dead broker left, or anything else. */
static int make_room(const char *directory, const char *path, Failure *failure)
{
        CLEANUP(closep) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat st;
        int r;

        if (fd < 0)
                return fail(failure, -errno, "directory %s cannot be opened: %s", directory,
                            strerrordesc_np(errno));
        if (fstatat(fd, SOCKET, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISSOCK(st.st_mode))
                log_warning("%s was in the way, and no socket: it has been put aside", path);
        r = aside_put(fd, SOCKET);
        if (r < 0)
                return fail(failure, r, "%s is in the way, and cannot be removed: %s", path,
                            strerrordesc_np(-r));
        return 0;
}

static int listen_by_path(Channel *channel, const char *directory, const char *path,
                          Failure *failure)
{
        int r;

        r = check_length(path, failure);
        if (r == 0)
                r = make_room(directory, path, failure);
        if (r == 0)
                r = listen_at(channel, BY_PATH, failure);
        if (r != 0)
                return r;
        if (chmod(path, 0666) < 0)
                return fail(failure, -errno, "%s cannot be opened to everybody", path);
        return 0;
}

/* --- the abstract address --- */

static bool publish(Channel *channel, bool both)
{
        char *text = NULL;

        if (both && asprintf(&text, "%s;%s", channel->addresses[BY_PATH],
                             channel->addresses[ABSTRACT]) < 0)
                return false;
        if (!both)
                text = strdup(channel->addresses[BY_PATH]);
        if (!text)
                return false;
        free(channel->bus->channel_address);
        channel->bus->channel_address = text;
        return true;
}

static bool listen_abstract(Channel *channel, Failure *failure)
{
        if (listen_at(channel, ABSTRACT, failure) == 0)
                return true;
        server_stop(&channel->servers[ABSTRACT]);
        return false;
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
        Channel *channel = userdata;
        Failure failure = { 0 };

        if (listen_abstract(channel, &failure) && publish(channel, true)) {
                log_info("the channel listens at %s, too", channel->addresses[ABSTRACT]);
                note_channel_address(channel->bus);
                return 0;
        }
        server_stop(&channel->servers[ABSTRACT]);
        (void)sd_event_source_set_time_relative(source, ABSTRACT_AGAIN_USEC);
        (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

static int try_abstract(Channel *channel, Failure *failure)
{
        Failure taken = { 0 };
        bool both = listen_abstract(channel, &taken);
        int r;

        if (!publish(channel, both))
                return fail(failure, -ENOMEM, "no memory for the channel");
        if (both)
                return 0;
        log_warning("%s; clients in a chroot cannot come in until it is free", taken.text);
        r = sd_event_add_time_relative(channel->bus->rooms.event, &channel->again, CLOCK_MONOTONIC,
                                       ABSTRACT_AGAIN_USEC, USEC_PER_SEC, on_again, channel);
        return r < 0 ? fail(failure, r, "there is no timer for the channel") : 0;
}

/* --- both --- */

static char *new_address(const char *key, const char *escaped)
{
        char *address;

        return asprintf(&address, "unix:%s=%s", key, escaped) < 0 ? NULL : address;
}

static int make_addresses(Channel *channel, const char *path)
{
        char *escaped = dbus_address_escape_value(path);

        if (!escaped)
                return -ENOMEM;
        channel->addresses[BY_PATH] = new_address("path", escaped);
        channel->addresses[ABSTRACT] = new_address("abstract", escaped);
        dbus_free(escaped);
        return channel->addresses[BY_PATH] && channel->addresses[ABSTRACT] ? 0 : -ENOMEM;
}

int channel_new(Bus *bus, const char *runtime_directory, Channel **ret_channel, Failure *failure)
{
        CLEANUP(channel_freep) Channel *channel = NULL;
        CLEANUP(freep) char *path = NULL;
        int r;

        channel = calloc(1, sizeof(*channel));
        if (!channel || asprintf(&path, "%s/" SOCKET, runtime_directory) < 0 ||
            make_addresses(channel, path) < 0)
                return fail(failure, -ENOMEM, "no memory for the channel");
        channel->bus = bus;
        r = listen_by_path(channel, runtime_directory, path, failure);
        if (r == 0)
                r = try_abstract(channel, failure);
        if (r != 0)
                return r;
        *ret_channel = TAKE(channel);
        return 0;
}
