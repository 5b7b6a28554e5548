/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes out, on the account of who gets it until the kernel has taken it. Who does not read is not read from
 * (door.c, link.c), so what he can have queued is what he asked for before: small answers, as many as calls in flight,
 * and large ones as far as his account goes. Nothing is dropped for that but signals.
 */
#include "broker/bus/room.h"

#include <errno.h>

size_t message_size(DBusMessage *message)
{
        char *bytes = NULL;
        int n = 0;

        /* libdbus tells no size: this is what it would send. */
        if (!dbus_message_marshal(message, &bytes, &n))
                return 0;
        dbus_free(bytes);
        return (size_t)n;
}

static size_t unread(const Peer *peer)
{
        return (size_t)dbus_connection_get_outgoing_size(peer->connection);
}

void peer_settle(Peer *peer)
{
        if (peer->held.quota)
                charge_force(&peer->held, PLACE_SIZE + unread(peer));
}

bool peer_is_unread(const Peer *peer)
{
        return unread(peer) > 0;
}

static int hold(Peer *peer, size_t size)
{
        int r = charge_resize(&peer->held, PLACE_SIZE + unread(peer) + size);

        if (r > 0)
                note_limit(peer->bus, peer_client(peer), RESOURCE_BYTES);
        return r;
}

/* A copy has room for what it holds, and no more. */
static void drop_slack(DBusMessage **message)
{
        DBusMessage *copy = dbus_message_copy(*message);

        if (!copy)
                return;
        dbus_message_unref(*message);
        *message = copy;
}

int peer_admit(Peer *peer, DBusMessage **answer, size_t size)
{
        if (size == 0)
                size = message_size(*answer);
        if (size == 0)
                return -ENOMEM;
        if (size > LARGE_ANSWER_SIZE && size <= COPIED_ANSWER_SIZE)
                drop_slack(answer);
        if (peer->name)
                return link_admit(peer->bus->link, peer, size);
        return size <= SMALL_ANSWER_SIZE ? 0 : hold(peer, size);
}

static bool has_room(Peer *peer, size_t size)
{
        size_t now = PLACE_SIZE + unread(peer);
        bool fits = charge_resize(&peer->held, now + size) == 0;

        charge_force(&peer->held, now);
        return fits;
}

bool peer_has_account_for_signals(Peer *peer)
{
        return peer->name ? book_has_room(peer, SIGNAL_SIZE) : has_room(peer, SIGNAL_SIZE);
}

void peer_send(Peer *peer, DBusMessage *message)
{
        if (peer->name) {
                link_send(peer->bus->link, peer, message);
                return;
        }
        if (!dbus_connection_send(peer->connection, message, NULL))
                peer_send_nothing(peer);
        peer_settle(peer);
}

void peer_send_nothing(Peer *peer)
{
        complain(peer->bus, "no memory for an answer");
        if (peer->name || peer->state != PEER_KNOWN)
                return;
        dbus_connection_close(peer->connection);
        bus_want_turn(peer->bus, &peer->turn); /* in which it is found to be lost */
}
