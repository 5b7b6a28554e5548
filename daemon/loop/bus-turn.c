/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The turns of a BusLoop whose owner gives them. Invariant: after a turn each descriptor is watched again for what is
 * wanted then, so nothing that was reported, and not dealt with, is lost; and a connection that only a read would find
 * lost, and that is not to be read, is said to be.
 */
#include <dbus/dbus.h>
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "loop/bus-loop-room.h"

static void bus_loop_handle(BusLoop *loop, unsigned direction)
{
        for (Descriptor *descriptor = loop->descriptors; descriptor && !loop->freed;
             descriptor = descriptor->next)
                if (descriptor->source)
                        descriptor_handle(descriptor, descriptor->pending, direction);
}

/* Its client will not read again, though it may go on to write: the descriptor is ready for ever, and takes nothing. */
static bool is_shut(const Descriptor *descriptor)
{
        return (descriptor->pending & EPOLLOUT) &&
               send(descriptor->fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
}

/* libdbus leaves it to the next read to find out that nobody is there for what it writes. */
static bool has_hung_up(const BusLoop *loop)
{
        if (loop->connection && !dbus_connection_get_is_connected(loop->connection))
                return true;
        for (const Descriptor *descriptor = loop->descriptors; descriptor;
             descriptor = descriptor->next)
                if (descriptor->source &&
                    ((descriptor->pending & EPOLLHUP) || is_shut(descriptor)))
                        return true;
        return false;
}

/* What was not dealt with is reported again. */
static void bus_loop_watch_again(BusLoop *loop)
{
        for (Descriptor *descriptor = loop->descriptors; descriptor && !loop->freed;
             descriptor = descriptor->next) {
                descriptor->pending = 0;
                if (descriptor->source)
                        (void)descriptor_update(descriptor);
        }
}

static bool may_go_on(const BusTurn *turn)
{
        return !turn->go_on || turn->go_on(turn->userdata);
}

static BusTurnEnd dispatch_turn(BusLoop *loop, DBusConnection *connection, const BusTurn *turn)
{
        unsigned n = 0;

        if (may_go_on(turn) &&
            dbus_connection_get_dispatch_status(connection) == DBUS_DISPATCH_COMPLETE)
                bus_loop_handle(loop, DBUS_WATCH_READABLE);
        while (!loop->freed) {
                if (!may_go_on(turn))
                        return BUS_TURN_STOPPED;
                if (dbus_connection_get_dispatch_status(connection) == DBUS_DISPATCH_COMPLETE)
                        return BUS_TURN_IDLE;
                if (n++ == turn->n_max || clock_monotonic_usec() >= turn->until_usec)
                        return BUS_TURN_MORE;
                (void)dbus_connection_dispatch(connection);
        }
        return BUS_TURN_IDLE;
}

/* Is somebody there still? libdbus accepts one at a time, and does not say. */
static bool is_waited_for(const BusLoop *loop)
{
        struct pollfd fd = { .fd = loop->descriptors ? loop->descriptors->fd : -1,
                             .events = POLLIN };

        return poll(&fd, 1, 0) > 0 && (fd.revents & POLLIN);
}

static void accept_turn(BusLoop *loop, const BusTurn *turn)
{
        for (unsigned n = 0; n == 0 || (n < turn->n_max && is_waited_for(loop)); n++) {
                bus_loop_handle(loop, DBUS_WATCH_READABLE);
                if (loop->freed)
                        return;
        }
}

BusTurnEnd bus_loop_turn(BusLoop *loop, const BusTurn *turn)
{
        DBusConnection *connection = loop->connection;
        BusTurnEnd end = BUS_TURN_IDLE;

        bus_loop_enter(loop);
        loop->in_turn = true;
        loop->is_ready = false;
        if (connection) {
                dbus_connection_ref(connection);
                bus_loop_handle(loop, DBUS_WATCH_WRITABLE);
                end = dispatch_turn(loop, connection, turn);
                dbus_connection_unref(connection);
        } else {
                accept_turn(loop, turn);
        }
        loop->in_turn = false;
        loop->is_ready = end == BUS_TURN_MORE;
        loop->is_stopped = end == BUS_TURN_STOPPED;
        if (end == BUS_TURN_STOPPED && has_hung_up(loop))
                end = BUS_TURN_LOST;
        bus_loop_watch_again(loop);
        bus_loop_leave(loop);
        return end;
}
