/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes out to the message bus: each message on its client's account until the kernel has it, and at a rate, for
 * what a client does not read the bus books on us. Where the bus takes nothing any more, no calls are taken from it
 * either, and after a while it is connected to anew.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "broker/bus/link.h"

#define RATES "\1bus" /* the bucket: no grant has this name */

static size_t outgoing_size(const Link *link)
{
        return link->calls.connection
                       ? (size_t)dbus_connection_get_outgoing_size(link->calls.connection)
                       : 0;
}

/* What the bus has still to read, of all that was sent: in the kernel as well. */
static size_t unread_size(const Link *link)
{
        int fd = -1, queued = 0;

        if (dbus_connection_get_socket(link->calls.connection, &fd))
                (void)ioctl(fd, SIOCOUTQ, &queued);
        return outgoing_size(link) + (size_t)MAX(queued, 0);
}

static void pop_unsent(Link *link)
{
        Unsent *first = STAILQ_FIRST(&link->unsent);

        STAILQ_REMOVE_HEAD(&link->unsent, next);
        link->n_unsent -= first->size;
        charge_deinit(&first->charge);
        free(first);
}

void link_drop_unsent(Link *link)
{
        while (!STAILQ_EMPTY(&link->unsent))
                pop_unsent(link);
}

bool link_is_unread(const Link *link)
{
        return outgoing_size(link) > BUS_UNSENT_MAX;
}

/*
 * The bus reads a few kB of us in one round of all its connections: what a flood is answered is in the way of every
 * other answer. So the less somebody counts, the less may be before him.
 */
static bool has_room_for(const Link *link, Standing standing)
{
        static const size_t most[_STANDING_N] = {
                [STANDING_STRANGER] = BUS_BEFORE_A_STRANGER,
                [STANDING_GROUP] = BUS_BEFORE_A_CLIENT,
                [STANDING_NAMED] = BUS_BEFORE_A_CLIENT,
                [STANDING_OWNER] = BUS_UNSENT_MAX,
        };

        return unread_size(link) <= most[standing];
}

static int on_wake(sd_event_source *source, uint64_t usec, void *userdata)
{
        Link *link = userdata;

        inbox_wake(link->bus);
        return 0;
}

/* Nothing tells when the bus has read it. */
static void wake_soon(Link *link)
{
        int enabled = SD_EVENT_OFF;

        if (!link->wake) {
                (void)sd_event_add_time_relative(link->bus->rooms.event, &link->wake,
                                                 CLOCK_MONOTONIC, BUS_AGAIN_USEC, USEC_PER_MSEC,
                                                 on_wake, link);
                return;
        }
        if (sd_event_source_get_enabled(link->wake, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;
        (void)sd_event_source_set_time_relative(link->wake, BUS_AGAIN_USEC);
        (void)sd_event_source_set_enabled(link->wake, SD_EVENT_ONESHOT);
}

bool link_may_answer(Link *link, Standing standing)
{
        if (has_room_for(link, standing))
                return true;
        wake_soon(link);
        return false;
}

/* While the bus takes something now and then, be it little, it is not stuck. */
bool link_is_stuck(Link *link)
{
        size_t now = unread_size(link);

        if (!link_is_unread(link))
                return false;
        link->n_stuck = now < link->watched_size ? 0 : link->n_stuck + 1;
        link->watched_size = now;
        if (link->n_stuck >= BUS_STUCK_TIMES)
                return true;
        link_arm(link, BUS_STUCK_USEC);
        return false;
}

static void watch_it(Link *link)
{
        int enabled = SD_EVENT_OFF;

        if (link->state != LINK_UP || !link_is_unread(link) ||
            sd_event_source_get_enabled(link->timer, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;
        link->n_stuck = 0;
        link->watched_size = unread_size(link);
        link_arm(link, BUS_STUCK_USEC);
}

/* The kernel has taken some of it: of the first ones, whole. */
void link_settle(Link *link)
{
        size_t left = outgoing_size(link);

        while (!STAILQ_EMPTY(&link->unsent) &&
               (left == 0 || link->n_unsent - STAILQ_FIRST(&link->unsent)->size >= left))
                pop_unsent(link);
        watch_it(link);
}

static int note_unsent(Link *link, Client client, size_t size)
{
        Unsent *unsent = calloc(1, sizeof(*unsent));
        int r;

        if (!unsent)
                return -ENOMEM;
        r = quota_charge(link->bus->quota, client, RESOURCE_BYTES, 0, &unsent->charge);
        if (r != 0) {
                free(unsent);
                return r;
        }
        charge_force(&unsent->charge, size);
        unsent->size = size;
        STAILQ_INSERT_TAIL(&link->unsent, unsent, next);
        link->n_unsent += size;
        return 0;
}

/* All strangers have one rate. Whoever owns the broker has none. */
static int take_rate(const Peer *peer, size_t size)
{
        bool is_stranger = peer->standing == STANDING_STRANGER;
        uint64_t wait_usec;

        if (peer->standing == STANDING_OWNER)
                return 0;
        return quota_take_tokens(peer->bus->quota, RATES,
                                 is_stranger ? SUBJECT_UID_UNKNOWN : peer->subject.uid, size,
                                 is_stranger ? BUS_RATE_OF_STRANGERS : BUS_RATE_OF_A_CLIENT,
                                 is_stranger ? BUS_BURST_OF_STRANGERS : BUS_BURST_OF_A_CLIENT,
                                 clock_monotonic_usec(), &wait_usec);
}

int link_admit(Link *link, Peer *peer, size_t size)
{
        Resource resource = RESOURCE_BYTES;
        Charge charge = { 0 };
        int r;

        if (size <= SMALL_ANSWER_SIZE)
                return 0;
        r = quota_charge(link->bus->quota, peer_client(peer), resource, size, &charge);
        if (r == 0 && take_rate(peer, size) != 0) {
                resource = RESOURCE_BUS_BYTES;
                r = CB_LIMIT_EXCEEDED;
        }
        charge_deinit(&charge);
        if (r > 0)
                note_limit(link->bus, peer_client(peer), resource);
        return r;
}

/* Whom no grant names gets no answer at all beyond his rate, or to what is refused: not even that he gets none. */
static bool is_left_out(const Link *link, const Peer *peer, size_t size)
{
        if (peer->standing != STANDING_STRANGER)
                return false;
        if (has_room_for(link, STANDING_STRANGER) &&
            (size > SMALL_ANSWER_SIZE || take_rate(peer, size) == 0))
                return false;
        note_limit(peer->bus, peer_client(peer), RESOURCE_BUS_BYTES);
        return true;
}

void link_send(Link *link, Peer *peer, DBusMessage *message)
{
        size_t size = message_size(message), before = outgoing_size(link);

        if (is_left_out(link, peer, size))
                return;
        if (!dbus_connection_send(peer->connection, message, NULL)) {
                complain(link->bus, "no memory to send a message");
                return;
        }
        /* What went out at once is on nobody's account. */
        if (before > 0 || outgoing_size(link) > 0) {
                if (note_unsent(link, peer_client(peer), size) != 0)
                        complain(link->bus, "no memory for an account of what is sent");
                link_settle(link);
        }
}
