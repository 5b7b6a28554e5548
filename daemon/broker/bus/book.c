/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bus has of ours that its clients have not read. dbus-daemon books that on us, and stops reading us when it is
 * too much: one who does not read would take the broker away from everybody. So whatever a client is sent is on its
 * account until the bus says that it has it no more (Debug.Stats). The invariant: an account holds no less than what the
 * bus has for that client, so all of them together keep the bus below its patience.
 *
 * The bus is asked on the line on which it is answered, and takes what comes on it in order: what was sent before the
 * question is in its number, and what was sent after it is added here. What others have sent to the client is in it as
 * well, so it is only believed where it is less than our own.
 *
 * dbus-broker, which does not tell, lets go of who does not read, and books nothing on us. A dbus-daemon that does not
 * tell can be stuck by one client; then the link is made anew (link-out.c).
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "broker/bus/link.h"

#define INTERFACE_STATS "org.freedesktop.DBus.Debug.Stats"

/* --- one peer's account --- */

bool book_has_room(const Peer *peer, uint64_t size)
{
        return peer->bus->book.is_silent ||
               quota_has_room(peer->bus->quota, peer_client(peer), RESOURCE_BUS_BYTES,
                              size + MESSAGE_COST);
}

static int book_open(Peer *peer, uint64_t amount)
{
        int r = quota_charge(peer->bus->quota, peer_client(peer), RESOURCE_BUS_BYTES, amount,
                             &peer->booked.charge);

        if (r == 0)
                TAILQ_INSERT_TAIL(&peer->bus->book.peers, peer, booked.entry);
        return r;
}

void book_forget(Peer *peer)
{
        if (peer->booked.charge.quota)
                TAILQ_REMOVE(&peer->bus->book.peers, peer, booked.entry);
        charge_deinit(&peer->booked.charge);
        peer->booked = (Booked){ 0 };
}

/* --- asking --- */

static void ask(Peer *peer)
{
        Link *link = peer->bus->link;
        DBusMessage *question;

        if (peer->booked.asked != 0 || link->state != LINK_UP)
                return;
        question = dbus_message_new_method_call(DBUS_SERVICE_DBUS, DBUS_PATH_DBUS, INTERFACE_STATS,
                                                "GetConnectionStats");
        if (!question)
                return;
        if (dbus_message_append_args(question, DBUS_TYPE_STRING, &peer->name, DBUS_TYPE_INVALID) &&
            link_put(link, question, &peer->booked.asked))
                peer->booked.since = 0;
        dbus_message_unref(question);
}

/* Those of whom it is the longest ago; who has read all is not among them any more. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Bus *bus = userdata;
        Peer *peer;

        for (unsigned n = 0; n < BUS_COUNTS_MAX && (peer = TAILQ_FIRST(&bus->book.peers)); n++) {
                TAILQ_REMOVE(&bus->book.peers, peer, booked.entry);
                TAILQ_INSERT_TAIL(&bus->book.peers, peer, booked.entry);
                ask(peer);
        }
        if (TAILQ_EMPTY(&bus->book.peers))
                return 0;
        (void)sd_event_source_set_time_relative(source, BUS_COUNT_USEC);
        (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

static void arm(Bus *bus)
{
        int enabled = SD_EVENT_OFF;

        if (!bus->book.timer) {
                (void)sd_event_add_time_relative(bus->rooms.event, &bus->book.timer,
                                                 CLOCK_MONOTONIC, BUS_COUNT_USEC, USEC_PER_MSEC,
                                                 on_timer, bus);
                return;
        }
        if (sd_event_source_get_enabled(bus->book.timer, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;
        (void)sd_event_source_set_time_relative(bus->book.timer, BUS_COUNT_USEC);
        (void)sd_event_source_set_enabled(bus->book.timer, SD_EVENT_ONESHOT);
}

int book_add(Peer *peer, size_t size)
{
        Booked *booked = &peer->booked;
        uint64_t amount = size + MESSAGE_COST;
        int r;

        if (peer->bus->book.is_silent)
                return 0;
        r = booked->charge.quota ? charge_resize(&booked->charge, booked->charge.amount + amount)
                                 : book_open(peer, amount);
        if (r == 0)
                booked->since += amount;
        return r;
}

void book_sent(Peer *peer)
{
        if (!peer->booked.charge.quota)
                return;
        if (peer->booked.since >= BUS_COUNT_SIZE || peer->given.quota)
                ask(peer); /* of descriptors it has few */
        arm(peer->bus);
}

/* --- its answer --- */

static Peer *find_asked(const Bus *bus, dbus_uint32_t serial)
{
        Peer *peer;

        TAILQ_FOREACH(peer, &bus->book.peers, booked.entry)
        {
                if (peer->booked.asked == serial)
                        return peer;
        }
        return NULL;
}

/* The next entry of a{sv}: its key, and its value where that is a uint32. */
static const char *next_number(DBusMessageIter *entries, dbus_uint32_t *ret_value)
{
        DBusMessageIter entry, value;
        const char *key = NULL;

        if (dbus_message_iter_get_arg_type(entries) != DBUS_TYPE_DICT_ENTRY)
                return NULL;
        dbus_message_iter_recurse(entries, &entry);
        dbus_message_iter_get_basic(&entry, &key);
        dbus_message_iter_next(&entry);
        dbus_message_iter_recurse(&entry, &value);
        if (dbus_message_iter_get_arg_type(&value) == DBUS_TYPE_UINT32)
                dbus_message_iter_get_basic(&value, ret_value);
        dbus_message_iter_next(entries);
        return key;
}

/* What the bus has for it, as it is charged here. */
static bool read_stats(DBusMessage *answer, uint64_t *ret_amount)
{
        dbus_uint32_t value = 0, n_bytes = UINT32_MAX, n_messages = UINT32_MAX;
        DBusMessageIter iter, entries;
        const char *key;

        if (!dbus_message_has_signature(answer, "a{sv}") || !dbus_message_iter_init(answer, &iter))
                return false;
        dbus_message_iter_recurse(&iter, &entries);
        while ((key = next_number(&entries, &value))) {
                if (strcmp(key, "OutgoingBytes") == 0)
                        n_bytes = value;
                else if (strcmp(key, "OutgoingMessages") == 0)
                        n_messages = value;
        }
        *ret_amount = n_bytes + n_messages * (uint64_t)MESSAGE_COST;
        return n_bytes != UINT32_MAX && n_messages != UINT32_MAX;
}

static bool is_gone(DBusMessage *answer)
{
        return dbus_message_is_error(answer, DBUS_ERROR_NAME_HAS_NO_OWNER);
}

/* It may have no memory, or too much to do: then it is asked again with what is sent next. */
static bool may_answer_later(DBusMessage *answer)
{
        return dbus_message_get_type(answer) == DBUS_MESSAGE_TYPE_ERROR &&
               !dbus_message_is_error(answer, DBUS_ERROR_ACCESS_DENIED) &&
               !dbus_message_is_error(answer, DBUS_ERROR_UNKNOWN_METHOD) &&
               !dbus_message_is_error(answer, DBUS_ERROR_UNKNOWN_INTERFACE);
}

static void be_silent(Bus *bus)
{
        Peer *peer;

        log_info("the message bus does not answer org.freedesktop.DBus.Debug.Stats (is certbroker's "
                 "policy installed?): what its clients have not read is not limited");
        bus->book.is_silent = true;
        while ((peer = TAILQ_FIRST(&bus->book.peers)))
                book_forget(peer);
}

void book_on_answer(Bus *bus, DBusMessage *answer)
{
        Peer *peer = find_asked(bus, dbus_message_get_reply_serial(answer));
        uint64_t amount;

        if (!peer || is_gone(answer)) /* the bus says that as well, and then it is forgotten */
                return;
        peer->booked.asked = 0;
        if (may_answer_later(answer))
                return;
        if (!read_stats(answer, &amount)) {
                be_silent(bus);
                return;
        }
        amount += peer->booked.since;
        if (amount == 0)
                book_forget(peer);
        else if (amount < peer->booked.charge.amount)
                charge_force(&peer->booked.charge, amount);
}
