/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that go out: what OpenAudit and Export answer. Until somebody takes it out of its socket the kernel counts
 * each against the limit of open files of who sent it, which is our whole user, and a bus stops reading who has sent it
 * too many. So who does not read his has but few, and nobody else misses any.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "broker/bus/link.h"

static bool has_read_all(const Peer *peer)
{
        int fd = -1, queued = 0;

        if (peer->name && peer->bus->book.is_silent)
                return link_unread_size(peer->bus->link) == 0;
        if (peer->name)
                return !peer->booked.charge.quota;
        if (peer_is_unread(peer))
                return false;
        if (dbus_connection_get_socket(peer->connection, &fd))
                (void)ioctl(fd, SIOCOUTQ, &queued);
        return queued == 0;
}

static void settle(Peer *peer)
{
        if (peer->given.quota && has_read_all(peer))
                charge_deinit(&peer->given);
}

static int charge(Peer *peer)
{
        if (peer->given.quota)
                return charge_resize(&peer->given, peer->given.amount + 1);
        return quota_charge(peer->bus->quota, peer_client(peer), RESOURCE_GIVEN, 1, &peer->given);
}

int given_admit(Peer *peer)
{
        Peer *other;
        int r;

        settle(peer);
        r = charge(peer);
        if (r <= 0)
                return r;
        /* Nobody tells when they have read: the books of all are looked at when they are full. */
        TAILQ_FOREACH(other, &peer->bus->peers, entry)
        settle(other);
        r = charge(peer);
        if (r > 0)
                note_limit(peer->bus, peer_client(peer), RESOURCE_GIVEN);
        return r;
}
