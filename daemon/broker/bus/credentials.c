/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is behind a name on the bus: asked once for each unique name, on a connection of its own. The calls come on the
 * other one, in one line, and an answer that stood in that line behind them could not be read while it is not. So
 * whoever sends many calls before it is known who he is can make the others wait for a moment, and be refused nothing.
 *
 * Any error is a refusal, never a subject with zeros in it. Only what the bus itself answers counts: what carries the
 * right number, and comes from somebody else, is passed over, and the bus's own answer waited for.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/bus/subject.h"

#define CREDENTIALS_USEC (10 * USEC_PER_SEC)

bool credentials_are_full(const Bus *bus)
{
        const Asking *asking = &bus->asking;

        return asking->n_messages >= ASKING_MESSAGES_MAX || asking->size >= ASKING_SIZE_MAX ||
               asking->n_with_fds >= ASKING_WITH_FDS_MAX;
}

void credentials_forget(Peer *peer)
{
        if (!peer->is_asking)
                return;
        peer->is_asking = false;
        TAILQ_REMOVE(&peer->bus->asking.peers, peer, asking_entry);
}

static void not_known(Peer *peer, int r)
{
        log_debug("who %s is is not known: %s", peer->name, strerrordesc_np(-r));
        inbox_refuse(peer, r);
        peer_gone(peer); /* the next call asks again */
}

/* --- an answer that does not come --- */

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
        uint64_t now_usec = clock_monotonic_usec();
        Bus *bus = userdata;
        Peer *first;

        while ((first = TAILQ_FIRST(&bus->asking.peers)) &&
               now_usec >= first->asked_usec + CREDENTIALS_USEC) {
                credentials_forget(first);
                not_known(first, -ETIMEDOUT);
        }
        if (first) {
                (void)sd_event_source_set_time(source, first->asked_usec + CREDENTIALS_USEC);
                (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        if (bus->link)
                link_resume(bus->link);
        return 0;
}

/* It looks at the first one, and is left to run: it comes for nothing where all have been answered. */
static int arm_deadline(Bus *bus)
{
        int enabled = SD_EVENT_OFF, r;

        if (!bus->asking.deadline) {
                r = sd_event_add_time_relative(bus->rooms.event, &bus->asking.deadline,
                                               CLOCK_MONOTONIC, CREDENTIALS_USEC, USEC_PER_SEC,
                                               on_deadline, bus);
                return MIN(r, 0);
        }
        r = sd_event_source_get_enabled(bus->asking.deadline, &enabled);
        if (r < 0 || enabled != SD_EVENT_OFF)
                return MIN(r, 0);
        r = sd_event_source_set_time_relative(bus->asking.deadline, CREDENTIALS_USEC);
        if (r >= 0)
                r = sd_event_source_set_enabled(bus->asking.deadline, SD_EVENT_ONESHOT);
        return MIN(r, 0);
}

/* --- asking --- */

int credentials_ask(Peer *peer)
{
        Bus *bus = peer->bus;
        DBusMessage *question;
        int r;

        r = arm_deadline(bus);
        if (r < 0)
                return r;
        question = dbus_message_new_method_call(DBUS_SERVICE_DBUS, DBUS_PATH_DBUS,
                                                DBUS_INTERFACE_DBUS, "GetConnectionCredentials");
        if (!question)
                return -ENOMEM;
        if (!dbus_message_append_args(question, DBUS_TYPE_STRING, &peer->name, DBUS_TYPE_INVALID)) {
                dbus_message_unref(question);
                return -ENOMEM;
        }
        if (!link_ask(bus->link, question, &peer->asked_serial))
                return -ENOTCONN;
        peer->asked_usec = clock_monotonic_usec();
        peer->is_asking = true;
        TAILQ_INSERT_TAIL(&bus->asking.peers, peer, asking_entry);
        return 0;
}

/* The bus answers in the order in which it is asked: it is the first one, or one that has gone. */
static Peer *find_asked(const Bus *bus, dbus_uint32_t serial)
{
        Peer *peer;

        TAILQ_FOREACH(peer, &bus->asking.peers, asking_entry)
        {
                if (peer->asked_serial == serial)
                        return peer;
        }
        return NULL;
}

void credentials_on_answer(Bus *bus, DBusMessage *answer)
{
        Peer *peer = find_asked(bus, dbus_message_get_reply_serial(answer));
        int r;

        if (!peer)
                return;
        credentials_forget(peer);
        r = subject_from_credentials(answer, &peer->subject);
        if (r < 0)
                not_known(peer, r);
        else
                inbox_charge(peer);
        link_resume(bus->link);
}
