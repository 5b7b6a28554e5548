/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls from the bus. They are read as they come, for the bus hands them over in one line: what waits in it is in
 * everybody's way. So they wait here: first for the bus's word about who sent them, a bounded number of them, and
 * nothing more is read until it has come; then on their client's account for its turn, where what does not fit is
 * refused.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* --- one message --- */

static void waiting_deinit(Waiting *waiting)
{
        charge_deinit(&waiting->slot);
        charge_deinit(&waiting->bytes);
        charge_deinit(&waiting->fds);
}

static void asking_add(Asking *asking, const Waiting *waiting)
{
        asking->n_messages++;
        asking->size += waiting->size;
        asking->n_with_fds += waiting->with_fds ? 1 : 0;
}

static void asking_remove(Asking *asking, const Waiting *waiting)
{
        asking->n_messages--;
        asking->size -= waiting->size;
        asking->n_with_fds -= waiting->with_fds ? 1 : 0;
}

/* The first message, which is the caller's now; NULL: there is none. */
static DBusMessage *inbox_pop(Peer *peer)
{
        Waiting *first = STAILQ_FIRST(&peer->waiting);
        DBusMessage *message;

        if (!first)
                return NULL;
        STAILQ_REMOVE_HEAD(&peer->waiting, next);
        if (!first->slot.quota)
                asking_remove(&peer->bus->asking, first);
        waiting_deinit(first);
        message = first->message;
        free(first);
        return message;
}

/* 0, or what there was too much of. */
static int charge(Peer *peer, Waiting *waiting)
{
        Quota *quota = peer->bus->quota;
        Client client = peer_client(peer);
        Resource resource = RESOURCE_WAITING;
        int r;

        r = quota_charge(quota, client, resource, 1, &waiting->slot);
        if (r == 0)
                r = quota_charge(quota, client, resource = RESOURCE_BYTES,
                                 waiting->size + MESSAGE_COST, &waiting->bytes);
        if (r == 0 && waiting->with_fds)
                r = quota_charge(quota, client, resource = RESOURCE_DESCRIPTORS, 1, &waiting->fds);
        if (r > 0)
                note_limit(peer->bus, client, resource);
        if (r != 0)
                waiting_deinit(waiting);
        return r;
}

static void refuse(Peer *peer, DBusMessage *message, int r)
{
        refuse_message(peer, message, status_error_name(r), "%s",
                       r < 0 ? "no memory for the call"
                             : "too many calls of this user wait for their turn; send fewer at a "
                               "time");
}

static Waiting *waiting_new(DBusMessage *message)
{
        Waiting *waiting = calloc(1, sizeof(*waiting));

        if (!waiting)
                return NULL;
        waiting->size = message_size(message);
        if (waiting->size == 0) {
                free(waiting);
                return NULL;
        }
        waiting->message = dbus_message_ref(message);
        waiting->with_fds = dbus_message_contains_unix_fds(message);
        return waiting;
}

static void waiting_free(Waiting *waiting)
{
        waiting_deinit(waiting);
        dbus_message_unref(waiting->message);
        free(waiting);
}

/* --- its turn --- */

static void take_turn(void *userdata)
{
        uint64_t until_usec = clock_monotonic_usec() + TURN_USEC;
        Peer *peer = userdata;
        DBusMessage *message;

        /* A call may end its peer; then there is nothing left that waits. */
        for (unsigned n = 0; n < TURN_CALLS_MAX && clock_monotonic_usec() < until_usec; n++) {
                if (!link_may_answer(peer->bus->link, peer->standing))
                        return; /* inbox_wake() */
                message = inbox_pop(peer);
                if (!message)
                        return;
                dispatch_call(peer, message);
                dbus_message_unref(message);
        }
        if (!STAILQ_EMPTY(&peer->waiting))
                bus_want_turn(peer->bus, &peer->turn);
}

void inbox_wake(Bus *bus)
{
        Peer *peer;

        tellers_wake(bus);
        TAILQ_FOREACH(peer, &bus->peers, entry)
        {
                if (peer->state == PEER_KNOWN && !STAILQ_EMPTY(&peer->waiting))
                        bus_want_turn(bus, &peer->turn);
        }
}

/* --- when it is known who it is, or not --- */

void inbox_charge(Peer *peer)
{
        STAILQ_HEAD(, Waiting) waiting = STAILQ_HEAD_INITIALIZER(waiting);
        Waiting *one;

        STAILQ_CONCAT(&waiting, &peer->waiting);
        STAILQ_FOREACH(one, &waiting, next)
        {
                asking_remove(&peer->bus->asking, one);
        }
        if (peer_enter_known(peer, take_turn) < 0) {
                while ((one = STAILQ_FIRST(&waiting))) {
                        STAILQ_REMOVE_HEAD(&waiting, next);
                        refuse(peer, one->message, -ENOMEM);
                        waiting_free(one);
                }
                peer_gone(peer); /* the next call asks again */
                return;
        }
        while ((one = STAILQ_FIRST(&waiting))) {
                int r = charge(peer, one);

                STAILQ_REMOVE_HEAD(&waiting, next);
                if (r == 0) {
                        STAILQ_INSERT_TAIL(&peer->waiting, one, next);
                        continue;
                }
                refuse(peer, one->message, r);
                waiting_free(one);
        }
        if (!STAILQ_EMPTY(&peer->waiting))
                bus_want_turn(peer->bus, &peer->turn);
}

void inbox_refuse(Peer *peer, int r)
{
        DBusMessage *message;

        while ((message = inbox_pop(peer))) {
                if (r == -ENOMEM)
                        refuse(peer, message, r);
                else
                        refuse_message(peer, message, status_error_name(CB_ACCESS_DENIED),
                                       "the bus does not say who is calling");
                dbus_message_unref(message);
        }
}

void inbox_drop(Peer *peer)
{
        DBusMessage *message;

        while ((message = inbox_pop(peer)))
                dbus_message_unref(message);
}

/* --- what arrives --- */

static int peer_new_on_bus(Bus *bus, DBusConnection *connection, const char *name, Peer **ret_peer)
{
        CLEANUP(peer_freep) Peer *peer = NULL;
        int r;

        if (bus->names.n >= NAMES_MAX)
                return -EUSERS;
        r = peer_new(bus, connection, name, &peer);
        if (r < 0)
                return r;
        r = map_put(&bus->names, name, peer);
        if (r < 0)
                return r;
        r = credentials_ask(peer);
        if (r < 0) {
                map_remove(&bus->names, name);
                return r;
        }
        TAILQ_INSERT_TAIL(&bus->peers, peer, entry);
        *ret_peer = TAKE(peer);
        return 0;
}

/* One that no peer can be made for: it is told why, if there is memory for that. */
static void refuse_stranger(DBusConnection *connection, DBusMessage *message, int r)
{
        DBusMessage *error;

        log_debug("a call of %s is refused: %s", dbus_message_get_sender(message),
                  strerrordesc_np(-r));
        if (dbus_message_get_no_reply(message))
                return;
        if (r == -EUSERS)
                r = CB_LIMIT_EXCEEDED;
        error = dbus_message_new_error(message, status_error_name(r),
                                       r > 0 ? "too many clients; try again later"
                                             : "no memory for another client; try again");
        if (!error)
                return;
        (void)dbus_connection_send(connection, error, NULL);
        dbus_message_unref(error);
}

void peer_on_bus_message(Bus *bus, DBusConnection *connection, DBusMessage *message)
{
        const char *sender = dbus_message_get_sender(message);
        Waiting *waiting;
        Peer *peer;
        int r;

        if (!sender)
                return;
        peer = peer_find(bus, sender);
        if (!peer) {
                r = peer_new_on_bus(bus, connection, sender, &peer);
                if (r < 0) {
                        refuse_stranger(connection, message, r);
                        return;
                }
        }
        waiting = waiting_new(message);
        r = waiting ? 0 : -ENOMEM;
        if (r == 0 && peer->state == PEER_KNOWN)
                r = charge(peer, waiting);
        if (r != 0) {
                refuse(peer, message, r);
                if (waiting)
                        waiting_free(waiting);
                return;
        }
        STAILQ_INSERT_TAIL(&peer->waiting, waiting, next);
        if (peer->state == PEER_KNOWN)
                bus_want_turn(bus, &peer->turn);
        else
                asking_add(&bus->asking, waiting);
}
