/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: a reload changes what a peer may read without any object changing. Each peer remembers under which
 * grants it was last told what there is; when these are not in force any more it is told the difference,
 * object by object, as InterfacesAdded and InterfacesRemoved, and once for each certificate its Backends.
 * The invariant: what it may not read now is not told, whatever the grants of before were. A turn of the
 * loop ends with the object at which it has decided on DECISIONS_PER_TURN of them, the users of a
 * certificate counted; a peer that does not read its messages is waited for, without the others.
 */
#include "broker/bus/room.h"

#include <stdio.h>

#include "base/log.h"

#define DECISIONS_PER_TURN 512
#define WAIT_USEC          (50 * USEC_PER_MSEC)

static bool lets_read(const Grants *grants, const Peer *peer, ObjectKind kind, const char *name)
{
        const Request request = { .operation = OPERATION_READ, .kind = kind, .name = name };

        return grants_decide(grants, &peer->subject, &request, NULL) != NULL;
}

bool view_may_have(const Peer *peer, ObjectKind kind, const char *name)
{
        return peer->view.told && lets_read(peer->view.told, peer, kind, name);
}

void view_deinit(View *view)
{
        grants_unref(TAKE(view->told));
        grants_unref(TAKE(view->telling));
}

/* Of the backends that use this certificate, are others readable than before? Counts them all. */
static bool has_other_users(const Peer *peer, const char *id, size_t *n)
{
        const View *view = &peer->view;
        const char *user = "";
        bool others = false;

        while ((user = catalog_next_user(peer->bus->rooms.catalog, id, user))) {
                ++*n;
                others = others || lets_read(view->told, peer, OBJECT_BACKEND, user) !=
                                           lets_read(view->telling, peer, OBJECT_BACKEND, user);
        }
        return others;
}

/* On how many objects it decided. */
static size_t compare(Peer *peer, ObjectKind kind, const char *name)
{
        bool before = lets_read(peer->view.told, peer, kind, name);
        bool now = lets_read(peer->view.telling, peer, kind, name);
        size_t n = 1;
        bool others = now && kind == OBJECT_CERTIFICATE && has_other_users(peer, name, &n);

        if (before && !now)
                signal_removed_to(peer, kind, name);
        else if (now && !before)
                signal_added_to(peer, kind, name);
        else if (others)
                signal_users_to(peer, name);
        return n;
}

/* Goes on after the last one, which may be gone; false: there is no more of this map. */
static bool compare_map(Peer *peer, ObjectKind kind, const Map *map, size_t *budget)
{
        View *view = &peer->view;
        size_t i = view->last[0] ? map_index_after(map, view->last) : 0;
        size_t left = *budget, n;

        for (; i < map->n && left > 0 && peer->state == PEER_KNOWN; i++) {
                snprintf(view->last, sizeof(view->last), "%s", map->entries[i].key);
                n = compare(peer, kind, view->last);
                left -= MIN(left, n);
        }
        *budget = left;
        return i < map->n;
}

/* They are few. */
static void compare_sources(Peer *peer)
{
        const BusRooms *rooms = &peer->bus->rooms;
        size_t n = rooms->source_view->count(rooms->sources);

        for (size_t i = 0; i < n && peer->state == PEER_KNOWN; i++) {
                BusSource source;

                rooms->source_view->at(rooms->sources, i, &source);
                (void)compare(peer, OBJECT_SOURCE, source.name);
        }
}

/* false: this kind is not done yet. */
static bool compare_kind(Peer *peer, size_t *budget)
{
        const Catalog *catalog = peer->bus->rooms.catalog;

        switch (peer->view.kind) {
        case OBJECT_CERTIFICATE:
                return !compare_map(peer, OBJECT_CERTIFICATE, catalog_certificates(catalog),
                                    budget);
        case OBJECT_BACKEND:
                return !compare_map(peer, OBJECT_BACKEND, catalog_backends(catalog), budget);
        case OBJECT_SOURCE:
                compare_sources(peer);
                return true;
        case OBJECT_MANAGER: /* everybody sees it */
        case _OBJECT_KIND_N:
                break;
        }
        return true;
}

/*
 * What it was told of now is what it has; if there was
 * another reload meanwhile, the next difference follows.
 */
static void finish(Peer *peer)
{
        View *view = &peer->view;

        grants_unref(view->told);
        view->told = TAKE(view->telling);
        if (view->told == peer->bus->grants)
                view_deinit(view);
}

static void go_on(Peer *peer, size_t *budget)
{
        View *view = &peer->view;

        if (!view->telling) {
                view->telling = grants_ref(peer->bus->grants);
                view->kind = OBJECT_MANAGER;
                view->last[0] = '\0';
        }
        while (peer->state == PEER_KNOWN && compare_kind(peer, budget)) {
                view->last[0] = '\0';
                if (++view->kind == _OBJECT_KIND_N) {
                        finish(peer);
                        return;
                }
        }
}

static int on_turn(sd_event_source *source, uint64_t usec, void *userdata)
{
        size_t budget = DECISIONS_PER_TURN, n_left = 0;
        Bus *bus = userdata;
        Peer *peer, *next;

        (void)usec;
        for (peer = TAILQ_FIRST(&bus->peers); peer; peer = next) {
                next = TAILQ_NEXT(peer, entry);
                if (peer->view.told && budget > 0 && peer_has_room_for_views(peer))
                        go_on(peer, &budget);
                if (peer->state == PEER_KNOWN)
                        n_left += peer->view.told != NULL;
        }
        if (n_left > 0) {
                (void)sd_event_source_set_time_relative(source, budget == 0 ? 0 : WAIT_USEC);
                (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        return 0;
}

static void arm(Bus *bus)
{
        if (!bus->views &&
            sd_event_add_time_relative(bus->rooms.event, &bus->views, CLOCK_MONOTONIC, 0,
                                       USEC_PER_MSEC, on_turn, bus) < 0) {
                log_warning("no memory to tell what the reload has changed for whom");
                return;
        }
        (void)sd_event_source_set_time_relative(bus->views, 0);
        (void)sd_event_source_set_enabled(bus->views, SD_EVENT_ONESHOT);
}

void views_follow(Bus *bus, Grants *before)
{
        bool any = false;
        Peer *peer;

        TAILQ_FOREACH(peer, &bus->peers, entry)
        {
                if (peer_listens(peer) && !peer->view.told &&
                    !grants_read_alike(before, bus->grants, &peer->subject))
                        peer->view.told = grants_ref(before);
                any |= peer->view.told != NULL;
        }
        if (any)
                arm(bus);
}
