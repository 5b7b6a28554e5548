/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: a reload changes what a peer may read without any object changing. Each peer remembers under which
 * grants it was last told what there is; when these are not in force any more it is told the difference,
 * object by object, as InterfacesAdded and InterfacesRemoved, and once for each certificate its Backends.
 * The invariant: what it may not read now is not told, whatever the grants of before were. It goes on by one object at a
 * time, in the peer's turns, and ends when the peer has been told all else: until then it is known what it had seen of
 * what has gone meanwhile.
 */
#include "broker/bus/room.h"

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

/* Of the backends that use this certificate, are others readable than before? */
static bool has_other_users(const Peer *peer, const char *id)
{
        const View *view = &peer->view;
        const char *user = "";

        while ((user = catalog_next_user(peer->bus->rooms.catalog, id, user))) {
                if (lets_read(view->told, peer, OBJECT_BACKEND, user) !=
                    lets_read(view->telling, peer, OBJECT_BACKEND, user))
                        return true;
        }
        return false;
}

static void compare(Peer *peer, ObjectKind kind, const char *name)
{
        bool before = lets_read(peer->view.told, peer, kind, name);
        bool now = lets_read(peer->view.telling, peer, kind, name);

        if (before && !now)
                signal_removed_to(peer, kind, name);
        else if (now && !before)
                signal_added_to(peer, kind, name);
        else if (now && kind == OBJECT_CERTIFICATE && has_other_users(peer, name))
                signal_users_to(peer, name);
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

void view_go_on(Peer *peer)
{
        View *view = &peer->view;

        if (!view->telling) {
                view->telling = grants_ref(peer->bus->grants);
                view->cursor = (ObjectCursor){ .kind = OBJECT_MANAGER + 1,
                                               .last_kind = _OBJECT_KIND_N - 1 };
        }
        if (objects_next(peer->bus, &view->cursor))
                compare(peer, view->cursor.kind, view->cursor.name);
        else
                finish(peer);
}

void views_follow(Bus *bus, Grants *before)
{
        Peer *peer;

        TAILQ_FOREACH(peer, &bus->peers, entry)
        {
                if (peer_listens(peer) && !peer->view.told &&
                    !grants_read_alike(before, bus->grants, &peer->subject))
                        peer->view.told = grants_ref(before);
                if (peer->view.told)
                        teller_wake(peer);
        }
}
