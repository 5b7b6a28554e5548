/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The room's owner: makes its parts and takes them down in the reverse order. Peers are borrowed by the
 * calls in flight, so at the end they go first, and every call must have been answered by then: the rooms
 * that answer (sign, manage) are stopped before this one is freed.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/log.h"

static uint64_t files_max(void)
{
        struct rlimit limit;

        return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 0 : limit.rlim_cur;
}

static int make_quota(Bus *bus)
{
        QuotaLimits limits;

        bus->n_files = files_max();
        limits_make(1, bus->n_files, &limits);
        return quota_new(&limits, &bus->quota);
}

int bus_new(const BusRooms *rooms, const BusHost *host, void *userdata, Bus **ret_bus)
{
        CLEANUP(bus_freep) Bus *bus = NULL;
        int r;

        bus = calloc(1, sizeof(*bus));
        if (!bus)
                return -ENOMEM;
        bus->rooms = *rooms;
        bus->host = *host;
        bus->userdata = userdata;
        map_init(&bus->names);
        TAILQ_INIT(&bus->peers);
        TAILQ_INIT(&bus->graves);
        TAILQ_INIT(&bus->asking.peers);
        TAILQ_INIT(&bus->book.peers);
        r = make_quota(bus);
        if (r == 0)
                r = refusals_new(&bus->refusals);
        if (r == 0)
                r = news_new(NOTICES_MAX, &bus->news);
        if (r == 0)
                r = runner_new(bus);
        if (r < 0)
                return r;
        manage_observe(rooms->manage, &changes_of_manage, bus);
        *ret_bus = TAKE(bus);
        return 0;
}

Bus *bus_free(Bus *bus)
{
        static const ManageEvents nobody;
        Peer *peer;

        if (!bus)
                return NULL;
        manage_observe(bus->rooms.manage, &nobody, NULL);
        while ((peer = TAILQ_FIRST(&bus->peers)))
                peer_gone(peer);
        peers_bury(bus);
        channel_free(bus->channel);
        link_free(bus->link);
        sd_event_source_disable_unref(bus->burial);
        sd_event_source_disable_unref(bus->later);
        sd_event_source_disable_unref(bus->sums);
        sd_event_source_disable_unref(bus->trim);
        sd_event_source_disable_unref(bus->asking.deadline);
        sd_event_source_disable_unref(bus->book.timer);
        runner_free(bus);
        news_free(bus->news);
        if (bus->n_calls > 0)
                log_error("%zu calls have not been answered", bus->n_calls);
        quota_free(bus->quota);
        refusals_free(bus->refusals);
        stock_forget(bus);
        grants_unref(bus->grants);
        map_deinit(&bus->names);
        free(bus->channel_address);
        free(bus);
        return NULL;
}

void bus_configure(Bus *bus, Grants *grants, unsigned n_in_flight_max)
{
        Grants *before = bus->grants;
        QuotaLimits limits;

        bus->grants = grants_ref(grants);
        stock_forget(bus);
        if (before)
                views_follow(bus, before);
        grants_unref(before);
        limits_make(n_in_flight_max, bus->n_files, &limits);
        quota_set_limits(bus->quota, &limits);
        peers_stand_anew(bus);
}

int bus_open_channel(Bus *bus, const char *runtime_directory, Failure *failure)
{
        return channel_new(bus, runtime_directory, &bus->channel, failure);
}

int bus_connect(Bus *bus, const char *address, Failure *failure)
{
        return link_new(bus, address, &bus->link, failure);
}

void bus_stop(Bus *bus)
{
        bus->stopping = true;
        if (bus->channel)
                channel_stop(bus->channel);
        if (bus->link)
                link_stop(bus->link);
}

bool bus_is_idle(const Bus *bus)
{
        const Peer *peer;

        if (bus->n_calls > 0 || (bus->link && !link_is_idle(bus->link)))
                return false;
        TAILQ_FOREACH(peer, &bus->peers, entry)
        {
                if (!STAILQ_EMPTY(&peer->waiting) ||
                    dbus_connection_has_messages_to_send(peer->connection))
                        return false;
        }
        return true;
}

uint64_t bus_summed(const Bus *bus)
{
        return refusals_summed(bus->refusals);
}

size_t bus_in_flight(const Bus *bus)
{
        return bus->n_calls;
}

bool bus_limit_at(const Bus *bus, size_t index, BusLimit *ret_limit)
{
        Resource resource = (Resource)(index / _STANDING_N);
        Standing standing = (Standing)(index % _STANDING_N);
        const Reached *reached;

        if (index >= (size_t)_RESOURCE_N * _STANDING_N)
                return false;
        reached = quota_reached(bus->quota, standing, resource);
        *ret_limit = (BusLimit){
                .limit = resource_name(resource),
                .standing = standing_name(standing),
                .used = quota_used_by(bus->quota, standing, resource),
                .n_reached = reached->n,
                .first_sec = reached->first_sec,
                .last_sec = reached->last_sec,
                .uid = reached->uid,
        };
        return true;
}
