/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to the channel: let in where there is a place and memory for one more of that client's, read in its turn,
 * and not read while it does not read what it was answered. The socket says who is behind it before a byte is read;
 * logging in (EXTERNAL alone) can then only confirm it. Whoever has no place is refused before anything else is asked
 * of the kernel.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/bus/subject.h"

#define ARRIVALS    "\1arrivals" /* the bucket: no grant has this name */
#define IO_PRIORITY 10           /* after what is the broker's own; before the turns that it asks for */

static bool is_owner(const Peer *peer)
{
        return peer->standing == STANDING_OWNER;
}

/* --- its turn --- */

static bool may_go_on(void *userdata)
{
        const Peer *peer = userdata;

        return peer->state == PEER_KNOWN && !peer_is_unread(peer);
}

static void take_turn(void *userdata)
{
        Peer *peer = userdata;
        const BusTurn turn = { TURN_CALLS_MAX, clock_monotonic_usec() + TURN_USEC, may_go_on,
                               peer };
        BusTurnEnd end = bus_loop_turn(peer->loop, &turn);

        if (peer->state != PEER_KNOWN)
                return;
        /* It went without reading: nobody is there for the answers to what it had sent. */
        if (end == BUS_TURN_LOST) {
                peer_gone(peer);
                return;
        }
        peer_settle(peer);
        if (peer->is_held_up && !peer_is_unread(peer))
                teller_wake(peer);
        if (end == BUS_TURN_MORE)
                bus_want_turn(peer->bus, &peer->turn);
}

static void on_ready(void *userdata)
{
        Peer *peer = userdata;

        if (peer->state == PEER_KNOWN)
                bus_want_turn(peer->bus, &peer->turn);
}

static DBusHandlerResult on_channel_message(DBusConnection *connection, DBusMessage *message,
                                            void *userdata)
{
        Peer *peer = userdata;

        if (dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected")) {
                peer_gone(peer);
                return DBUS_HANDLER_RESULT_HANDLED;
        }
        if (dbus_message_get_type(message) == DBUS_MESSAGE_TYPE_METHOD_CALL &&
            peer->state == PEER_KNOWN)
                dispatch_call(peer, message);
        return DBUS_HANDLER_RESULT_HANDLED;
}

/* --- logging in --- */

static int on_login_time(sd_event_source *source, uint64_t usec, void *userdata)
{
        Peer *peer = userdata;

        if (dbus_connection_get_is_authenticated(peer->connection))
                return 0;
        log_debug("a connection to the channel did not log in in time");
        peer_gone(peer);
        return 0;
}

static int arm_login(Peer *peer)
{
        int r = sd_event_add_time_relative(peer->bus->rooms.event, &peer->login, CLOCK_MONOTONIC,
                                           LOGIN_USEC, USEC_PER_SEC, on_login_time, peer);

        if (r >= 0)
                (void)sd_event_source_set_description(peer->login, "login");
        return MIN(r, 0);
}

static dbus_bool_t let_in(DBusConnection *connection, unsigned long uid, void *userdata)
{
        /* Everybody may connect, as on the message bus: grants decide on each call. */
        return TRUE;
}

/* --- places --- */

static int take_place(Peer *peer)
{
        Quota *quota = peer->bus->quota;
        Client client = peer_client(peer);
        Resource resource = RESOURCE_PLACES;
        int r;

        r = quota_charge(quota, client, resource, 1, &peer->place);
        if (r == 0)
                r = quota_charge(quota, client, resource = RESOURCE_BYTES, PLACE_SIZE,
                                 &peer->held);
        if (r > 0)
                note_limit(peer->bus, client, resource);
        return r;
}

/* All strangers come in at one rate, and who has a grant by a group at his own. */
static int take_arrival(Bus *bus, Client client)
{
        bool is_stranger = client.standing == STANDING_STRANGER;
        uint64_t wait_usec;

        if (client.standing >= STANDING_NAMED)
                return 0;
        return quota_take_token(bus->quota, ARRIVALS, is_stranger ? SUBJECT_UID_UNKNOWN : client.uid,
                                ARRIVALS_PER_SEC, ARRIVALS_AT_ONCE, clock_monotonic_usec(),
                                &wait_usec);
}

static int check_place(Bus *bus, Client client)
{
        Charge charge = { 0 };
        int r = quota_charge(bus->quota, client, RESOURCE_PLACES, 1, &charge);

        charge_deinit(&charge);
        return r;
}

/* Is there a place for the best that it can be? Most who are turned away are so by this, which costs little. */
static int check_best(Bus *bus, int fd)
{
        CLEANUP(subject_deinit) Subject subject = { .uid = SUBJECT_UID_UNKNOWN };
        Client client;
        int r;

        r = subject_peek(fd, &subject);
        if (r < 0)
                return r;
        client = (Client){ grants_best_standing(bus->grants, &subject), subject.uid };
        if (subject.uid == 0 || subject.uid == geteuid())
                return 0;
        r = take_arrival(bus, client);
        if (r == 0)
                r = check_place(bus, client);
        if (r > 0)
                note_limit(bus, client, RESOURCE_PLACES);
        return r;
}

/* What lies in the kernel for a client that does not read is ours as well. */
static void bound_socket(const Peer *peer, int fd)
{
        int size = peer->standing == STANDING_STRANGER ? (int)STRANGER_SOCKET_SIZE
                                                       : (int)SOCKET_SIZE;

        if (!is_owner(peer))
                (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static void bound_connection(const Peer *peer)
{
        DBusConnection *connection = peer->connection;

        dbus_connection_set_max_message_size(
                connection, is_owner(peer) ? (long)OWNER_MESSAGE_SIZE_MAX : (long)MESSAGE_SIZE_MAX);
        dbus_connection_set_max_received_size(connection, (long)RECEIVED_SIZE_MAX);
        dbus_connection_set_max_message_unix_fds(connection, MESSAGE_FDS_MAX);
        dbus_connection_set_max_received_unix_fds(connection, RECEIVED_FDS_MAX);
}

static int find_out(Peer *peer, int fd)
{
        int r;

        r = check_best(peer->bus, fd);
        if (r == 0)
                r = subject_from_socket(fd, &peer->subject);
        if (r == 0)
                r = peer_enter_known(peer, take_turn);
        if (r == 0)
                r = take_place(peer);
        return r;
}

static int attach(Peer *peer)
{
        const BusLoopOwner owner = { on_ready, peer, IO_PRIORITY };
        DBusConnection *connection = peer->connection;
        int r;

        dbus_connection_set_exit_on_disconnect(connection, FALSE);
        dbus_connection_set_allow_anonymous(connection, FALSE);
        dbus_connection_set_unix_user_function(connection, let_in, NULL, NULL);
        if (!dbus_connection_add_filter(connection, on_channel_message, peer, NULL))
                return -ENOMEM;
        r = bus_loop_attach_connection(peer->bus->rooms.event, connection, &owner, &peer->loop);
        if (r < 0)
                dbus_connection_remove_filter(connection, on_channel_message, peer);
        return r;
}

static int peer_new_on_channel(Bus *bus, DBusConnection *connection, Peer **ret_peer)
{
        CLEANUP(peer_freep) Peer *peer = NULL;
        int fd = -1, r;

        r = peer_new(bus, connection, NULL, &peer);
        if (r < 0)
                return r;
        if (!dbus_connection_get_socket(connection, &fd))
                return -ENOTSOCK;
        r = find_out(peer, fd);
        if (r != 0)
                return r;
        bound_socket(peer, fd);
        bound_connection(peer);
        r = arm_login(peer);
        if (r == 0)
                r = attach(peer);
        if (r < 0)
                return r;
        *ret_peer = TAKE(peer);
        return 0;
}

void peer_on_channel_connection(Bus *bus, DBusConnection *connection)
{
        Peer *peer;
        int r;

        /* libdbus closes a connection that nobody has taken a reference of. */
        r = peer_new_on_channel(bus, connection, &peer);
        if (r < 0)
                complain(bus, "a connection to the channel is refused: %s", strerrordesc_np(-r));
        if (r == 0)
                TAILQ_INSERT_TAIL(&bus->peers, peer, entry);
}
