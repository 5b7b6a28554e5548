/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the bus stuck? dbus-daemon reads no more of who has sent too much that others have not read, and goes on otherwise;
 * a bus that is only slow, or stopped, is no better for being left, and has still to read what we sent. So time says
 * nothing here, and neither does how much waits.
 *
 * A mark is sent on the line of calls, to our own line of questions. Where it does not come, the bus is asked on that
 * line, again and again. Each answer takes it one round of all its connections, in which it reads READ_A_ROUND of each
 * that it reads at all. The invariant: with as many answers as it takes to read all that was before the mark, and no
 * mark, it does not read us.
 */
#include <string.h>

#include "base/strings.h"
#include "broker/bus/link.h"
#include "broker/bus/trust.h"

#define INTERFACE_MARK "org.certbroker1.Mark"
/* It is 2 kB; we say less, for the rounds of two lines may differ a little. */
#define READ_A_ROUND KIB
#define ROUNDS_MORE  32

static void send_mark(Link *link)
{
        DBusMessage *mark = dbus_message_new_signal("/", INTERFACE_MARK, "Mark");

        if (!mark)
                return;
        link->watch.n_before = link_unread_size(link);
        link->watch.n_signs = 0;
        if (dbus_message_set_destination(mark, link->questions.name))
                (void)dbus_connection_send(link->calls.connection, mark, &link->watch.mark);
        dbus_message_unref(mark);
}

void link_watch(Link *link)
{
        int enabled = SD_EVENT_OFF;

        if (link->state != LINK_UP || link->watch.mark != 0 ||
            sd_event_source_get_enabled(link->timer, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;
        link_arm(link, BUS_STUCK_USEC);
        send_mark(link);
}

static void ask_for_a_sign(Link *link)
{
        DBusMessage *question;

        if (link->watch.sign != 0)
                return;
        question = dbus_message_new_method_call(DBUS_SERVICE_DBUS, DBUS_PATH_DBUS,
                                                DBUS_INTERFACE_DBUS, "GetId");
        if (!link_ask(link, question, &link->watch.sign))
                link_arm(link, BUS_STUCK_USEC); /* no memory: try again */
}

void link_watch_on_timer(Link *link)
{
        if (link->watch.mark != 0)
                ask_for_a_sign(link);
        else if (link_unread_size(link) > 0) /* what was sent since the mark came */
                link_watch(link);
}

static bool is_mark(const Link *link, DBusMessage *message)
{
        return link->watch.mark != 0 &&
               dbus_message_is_signal(message, INTERFACE_MARK, "Mark") &&
               dbus_message_get_serial(message) == link->watch.mark &&
               strcmp(string_or_empty(dbus_message_get_sender(message)), link->calls.name) == 0;
}

static bool is_sign(const Link *link, DBusMessage *message)
{
        return link->watch.sign != 0 &&
               dbus_message_get_reply_serial(message) == link->watch.sign && is_of_bus(message);
}

LinkSign link_watch_on_message(Link *link, DBusMessage *message)
{
        if (is_mark(link, message)) {
                link->watch.mark = 0;
                return LINK_SIGN_OF_LIFE;
        }
        if (!is_sign(link, message))
                return LINK_NO_SIGN;
        link->watch.sign = 0;
        if (link->watch.mark == 0)
                return LINK_SIGN_OF_LIFE;
        if (++link->watch.n_signs > link->watch.n_before / READ_A_ROUND + ROUNDS_MORE)
                return LINK_IS_STUCK;
        ask_for_a_sign(link);
        return LINK_SIGN_OF_LIFE;
}
