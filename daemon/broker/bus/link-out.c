/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes out to the message bus: each message on its client's account until the kernel has it, and on another until
 * the client has it (book.c). Where the bus takes nothing any more, no calls are taken from it either.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "broker/bus/link.h"

static size_t outgoing_size(const Link *link)
{
        return link->calls.connection
                       ? (size_t)dbus_connection_get_outgoing_size(link->calls.connection)
                       : 0;
}

size_t link_unread_size(const Link *link)
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

        return link_unread_size(link) <= most[standing];
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

/* --- sending --- */

bool link_put(Link *link, DBusMessage *message, dbus_uint32_t *ret_serial)
{
        if (!link->calls.connection ||
            !dbus_connection_send(link->calls.connection, message, ret_serial))
                return false;
        link_watch(link);
        return true;
}

/* The kernel has taken some of it: of the first ones, whole. */
void link_settle(Link *link)
{
        size_t left = outgoing_size(link);

        while (!STAILQ_EMPTY(&link->unsent) &&
               (left == 0 || link->n_unsent - STAILQ_FIRST(&link->unsent)->size >= left))
                pop_unsent(link);
}

/* It is queued: its account may be full by now, and has it all the same. */
static int note_unsent(Link *link, Client client, size_t size)
{
        Unsent *unsent = calloc(1, sizeof(*unsent));
        int r;

        if (!unsent)
                return -ENOMEM;
        r = quota_charge_forced(link->bus->quota, client, RESOURCE_BYTES, size, &unsent->charge);
        if (r != 0) {
                free(unsent);
                return r;
        }
        unsent->size = size;
        STAILQ_INSERT_TAIL(&link->unsent, unsent, next);
        link->n_unsent += size;
        return 0;
}

int link_admit(Link *link, Peer *peer, size_t size)
{
        Client client = peer_client(peer);
        Resource resource = RESOURCE_BYTES;

        if (size <= SMALL_ANSWER_SIZE)
                return 0;
        if (quota_has_room(link->bus->quota, client, resource, size)) {
                resource = RESOURCE_BUS_BYTES;
                if (book_has_room(peer, size))
                        return 0;
        }
        note_limit(link->bus, client, resource);
        return CB_LIMIT_EXCEEDED;
}

int link_may_call(Link *link, const Peer *peer)
{
        if (book_has_room(peer, BUS_ROOM_TO_CALL))
                return 0;
        note_limit(link->bus, peer_client(peer), RESOURCE_BUS_BYTES);
        return CB_LIMIT_EXCEEDED;
}

/*
 * Who has left so much unread that not even an error fits gets none: he would not read that either. Whom no grant names
 * gets none where anything else is before it.
 */
static bool is_left_out(Link *link, Peer *peer, size_t size)
{
        if ((peer->standing == STANDING_STRANGER && !has_room_for(link, STANDING_STRANGER)) ||
            book_add(peer, size) != 0) {
                note_limit(peer->bus, peer_client(peer), RESOURCE_BUS_BYTES);
                return true;
        }
        return false;
}

void link_send(Link *link, Peer *peer, DBusMessage *message)
{
        size_t size = message_size(message), before = outgoing_size(link);

        if (is_left_out(link, peer, size))
                return;
        if (!link_put(link, message, NULL)) {
                complain(link->bus, "no memory to send a message");
                return;
        }
        book_sent(peer);
        /* What went out at once takes no memory of ours. */
        if (before > 0 || outgoing_size(link) > 0) {
                if (note_unsent(link, peer_client(peer), size) != 0)
                        complain(link->bus, "no memory for an account of what is sent");
                link_settle(link);
        }
}
