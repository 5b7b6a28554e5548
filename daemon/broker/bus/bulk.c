/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that grow with what there is: GetManagedObjects, ListCertificates, the introspection of a folder; and searches
 * that do (GetCertificate, where thousands have a subject). They are
 * made in the caller's turns, a part at a time, one after the other, and are on its account from the first part on. So
 * an object that changes meanwhile is in the answer as it was in its moment, and one that comes or goes is in it or
 * not. Invariant: the caller is told of no change before its answer has gone out (teller.c), so what it is told then is
 * never older than what it was answered.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

static void bulk_free(Bulk *bulk)
{
        charge_deinit(&bulk->bytes);
        if (bulk->reply) {
                dbus_message_iter_abandon_container_if_open(&bulk->iter, &bulk->items);
                dbus_message_unref(bulk->reply);
        }
        if (bulk->text)
                (void)fclose(bulk->text);
        free(bulk->written);
        catalog_search_deinit(&bulk->search);
        free(bulk);
}

/* What it holds is on the account of its answer from here on. */
static void end(Bulk *bulk)
{
        size_t size = bulk->size;
        Call *call = bulk->call;
        DBusMessage *answer;

        if (bulk->form->finish) {
                bulk->form->finish(bulk);
                bulk_free(bulk);
                return;
        }
        answer = bulk->form->end(bulk);
        bulk_free(bulk);
        if (answer)
                call_answer_sized(call, answer, size);
        else
                call_fail_memory(call);
}

static void end_by(Bulk *bulk, const Failure *failure)
{
        Call *call = bulk->call;

        bulk_free(bulk);
        call_fail(call, failure);
}

static int no_memory(Failure *failure)
{
        return fail(failure, -ENOMEM, "no memory for the answer");
}

/* 0, or there may not be as much. Small answers are given whatever the account says. */
static int charge(Bulk *bulk, Failure *failure)
{
        const Peer *peer = bulk->call->peer;
        int r = 0;

        if (bulk->size > ANSWER_SIZE_MAX)
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "the answer has more than %d MiB; ListCertificates gives smaller pages",
                            (int)(ANSWER_SIZE_MAX / MIB));
        if (bulk->size <= SMALL_ANSWER_SIZE)
                return 0;
        if (!bulk->bytes.quota)
                r = quota_charge(peer->bus->quota, peer_client(peer), RESOURCE_BYTES, bulk->size,
                                 &bulk->bytes);
        else
                r = charge_resize(&bulk->bytes, bulk->size);
        if (r == 0)
                return 0;
        if (r < 0)
                return no_memory(failure);
        note_limit(peer->bus, peer_client(peer), RESOURCE_BYTES);
        return fail(failure, r,
                    "this user has too many answers that it has not read; read them, or ask for "
                    "less at a time");
}

static int add(Bulk *bulk, Failure *failure)
{
        const Call *call = bulk->call;
        Object object;

        if (object_find(call->bus, call_subject(call), bulk->cursor.kind, bulk->cursor.name,
                        &object, NULL) != 0)
                return 0;
        if (!bulk->form->add(bulk, &object))
                return no_memory(failure);
        bulk->n_left--;
        return charge(bulk, failure);
}

static bool next(Bulk *bulk)
{
        return bulk->form->next ? bulk->form->next(bulk)
                                : objects_next(bulk->call->bus, &bulk->cursor);
}

/* false: there is more. */
static bool make(Bulk *bulk, uint64_t until_usec)
{
        Failure failure = { 0 };
        int r = 0;

        if (!bulk->has_begun && bulk->form->begin && !bulk->form->begin(bulk))
                r = no_memory(&failure);
        bulk->has_begun = true;
        while (r == 0 && bulk->n_left > 0 && next(bulk)) {
                if (bulk->form->add)
                        r = add(bulk, &failure);
                if (r == 0 && clock_monotonic_usec() >= until_usec)
                        return false;
        }
        if (r == 0)
                end(bulk);
        else
                end_by(bulk, &failure);
        return true;
}

void bulk_answer(Call *call, const BulkForm *form, const ObjectCursor *cursor, size_t n_max)
{
        Bulk *bulk = calloc(1, sizeof(*bulk));
        Peer *peer = call->peer;

        if (!bulk) {
                call_fail_memory(call);
                return;
        }
        *bulk = (Bulk){
                .call = call,
                .form = form,
                .cursor = *cursor,
                .n_left = n_max,
                .iter = DBUS_MESSAGE_ITER_INIT_CLOSED,
                .items = DBUS_MESSAGE_ITER_INIT_CLOSED,
        };
        if (TAILQ_EMPTY(&peer->bulks) && make(bulk, clock_monotonic_usec() + TURN_USEC))
                return;
        TAILQ_INSERT_TAIL(&peer->bulks, bulk, entry);
        teller_wake(peer);
}

void bulk_search(Call *call, const BulkForm *form, CatalogSearch *search)
{
        Bulk *bulk = calloc(1, sizeof(*bulk));

        if (!bulk) {
                call_fail_memory(call);
                return;
        }
        *bulk = (Bulk){ .call = call, .form = form, .search = *search, .n_left = SIZE_MAX };
        *search = (CatalogSearch){ 0 };
        TAILQ_INSERT_TAIL(&call->peer->bulks, bulk, entry);
        teller_wake(call->peer);
}

void bulk_go_on(Peer *peer, uint64_t until_usec)
{
        Bulk *bulk = TAILQ_FIRST(&peer->bulks);

        TAILQ_REMOVE(&peer->bulks, bulk, entry);
        if (!make(bulk, until_usec))
                TAILQ_INSERT_HEAD(&peer->bulks, bulk, entry);
}

/* Their calls have no peer any more. */
void bulks_drop(Peer *peer)
{
        Bulk *bulk;

        while ((bulk = TAILQ_FIRST(&peer->bulks))) {
                Failure failure = { 0 };

                TAILQ_REMOVE(&peer->bulks, bulk, entry);
                fail(&failure, CB_NOT_FOUND, "who asked has gone");
                end_by(bulk, &failure);
        }
}
