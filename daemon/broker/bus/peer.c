/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers: each connection that has called the broker, and who is behind it. The invariant is that a call is dispatched
 * only for a peer whose subject is known, and only in its client's turn: on the bus the bus is asked once for each
 * unique name (credentials.c), on the channel the socket itself says who connected (door.c).
 *
 * A peer that goes is taken out of every list at once, and freed when the loop turns: frames of its own may be on the
 * stack.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* So many gone, and the memory that they had is worth giving back; not more often than that. */
#define TRIM_PEERS 32
#define TRIM_USEC  USEC_PER_SEC

Peer *peer_free(Peer *peer)
{
        if (!peer)
                return NULL;
        assert_always(TAILQ_EMPTY(&peer->calls) && STAILQ_EMPTY(&peer->waiting) &&
                      !peer->is_asking);
        sd_event_source_disable_unref(peer->login);
        bus_loop_free(peer->loop);
        if (peer->connection) {
                if (!peer->name)
                        dbus_connection_close(peer->connection);
                dbus_connection_unref(peer->connection);
        }
        turn_deinit(&peer->turn);
        teller_stop(peer);
        charge_deinit(&peer->place);
        charge_deinit(&peer->held);
        subject_deinit(&peer->subject);
        view_deinit(&peer->view);
        free(peer->name);
        free(peer);
        return NULL;
}

int peer_new(Bus *bus, DBusConnection *connection, const char *name, Peer **ret_peer)
{
        Peer *peer = calloc(1, sizeof(*peer));

        if (!peer)
                return -ENOMEM;
        *peer = (Peer){ .bus = bus, .subject = { .uid = SUBJECT_UID_UNKNOWN } };
        STAILQ_INIT(&peer->waiting);
        TAILQ_INIT(&peer->calls);
        TAILQ_INIT(&peer->bulks);
        if (name) {
                peer->name = strdup(name);
                if (!peer->name) {
                        free(peer);
                        return -ENOMEM;
                }
        }
        peer->connection = dbus_connection_ref(connection);
        *ret_peer = peer;
        return 0;
}

Peer *peer_find(const Bus *bus, const char *name)
{
        return map_find(&bus->names, name);
}

/* --- standing --- */

Standing standing_of(const Bus *bus, const Subject *subject)
{
        if (subject->uid == 0 || subject->uid == geteuid())
                return STANDING_OWNER;
        return grants_standing(bus->grants, subject);
}

Client peer_client(const Peer *peer)
{
        return (Client){ peer->standing, peer->subject.uid };
}

int peer_enter_known(Peer *peer, void (*take)(void *peer))
{
        int r;

        peer->standing = standing_of(peer->bus, &peer->subject);
        r = turn_init(&peer->turn, peer->bus->turns, peer->standing, peer->subject.uid);
        if (r < 0)
                return r;
        peer->turn.take = take;
        peer->turn.userdata = peer;
        r = teller_new(peer);
        if (r < 0)
                return r;
        peer->state = PEER_KNOWN;
        return 0;
}

/* What it has now goes along; where there is no memory for that, it stays what it was. */
static void stand_anew(Peer *peer)
{
        Standing standing = standing_of(peer->bus, &peer->subject);

        if (standing == peer->standing || turn_move(&peer->turn, standing) < 0)
                return;
        (void)turn_move(&peer->slow_turn, standing);
        peer->standing = standing;
        if (peer->place.quota)
                (void)charge_move(&peer->place, standing);
        if (peer->held.quota)
                (void)charge_move(&peer->held, standing);
        if (peer->booked.charge.quota)
                (void)charge_move(&peer->booked.charge, standing);
        if (peer->given.quota)
                (void)charge_move(&peer->given, standing);
}

void peers_stand_anew(Bus *bus)
{
        Peer *peer;

        TAILQ_FOREACH(peer, &bus->peers, entry)
        {
                if (peer->state == PEER_KNOWN)
                        stand_anew(peer);
        }
}

/* --- the end --- */

static int on_trim(sd_event_source *source, uint64_t usec, void *userdata)
{
        Bus *bus = userdata;

        bus->n_buried = 0;
        (void)malloc_trim(0);
        return 0;
}

/* After many have gone: else what they had stays with us, for the next ones. */
static void arm_trim(Bus *bus)
{
        if (bus->n_buried < TRIM_PEERS)
                return;
        if (!bus->trim) {
                if (sd_event_add_time_relative(bus->rooms.event, &bus->trim, CLOCK_MONOTONIC,
                                               TRIM_USEC, USEC_PER_SEC, on_trim, bus) < 0)
                        return;
                (void)sd_event_source_set_description(bus->trim, "trim");
        } else if (bus->n_buried == TRIM_PEERS) {
                (void)sd_event_source_set_time_relative(bus->trim, TRIM_USEC);
                (void)sd_event_source_set_enabled(bus->trim, SD_EVENT_ONESHOT);
        }
}

void peers_bury(Bus *bus)
{
        Peer *peer;

        while ((peer = TAILQ_FIRST(&bus->graves))) {
                TAILQ_REMOVE(&bus->graves, peer, entry);
                peer_free(peer);
                bus->n_buried++;
                arm_trim(bus);
        }
}

static int on_burial(sd_event_source *source, void *userdata)
{
        peers_bury(userdata);
        return 0;
}

static void arm_burial(Bus *bus)
{
        if (!bus->burial) {
                if (sd_event_add_defer(bus->rooms.event, &bus->burial, on_burial, bus) < 0)
                        return; /* no memory: they are freed with the next one, or with the bus */
                (void)sd_event_source_set_description(bus->burial, "peers");
        }
        (void)sd_event_source_set_enabled(bus->burial, SD_EVENT_ONESHOT);
}

void peer_gone(Peer *peer)
{
        Bus *bus = peer->bus;
        Call *call;

        if (peer->state == PEER_GONE)
                return;
        peer->state = PEER_GONE;
        while ((call = TAILQ_FIRST(&peer->calls))) {
                TAILQ_REMOVE(&peer->calls, call, entry);
                call->peer = NULL;
        }
        bulks_drop(peer);
        inbox_drop(peer);
        credentials_forget(peer);
        teller_stop(peer);
        book_forget(peer);
        charge_deinit(&peer->given);
        turn_deinit(&peer->turn);
        peer->login = sd_event_source_disable_unref(peer->login);
        if (peer->name)
                map_remove(&bus->names, peer->name);
        TAILQ_REMOVE(&bus->peers, peer, entry);
        TAILQ_INSERT_TAIL(&bus->graves, peer, entry);
        arm_burial(bus);
}

void peers_of_bus_gone(Bus *bus)
{
        while (bus->names.n > 0)
                peer_gone(bus->names.entries[bus->names.n - 1].value);
}
