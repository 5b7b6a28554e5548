/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link to the message bus: connect, Hello, match, RequestName, each without waiting, and again with
 * back-off when the bus goes away. The invariants: it serves only under its name, so a name that is another's, or is
 * lost, ends the broker, and the owner is told why; and it believes what the bus says, and nobody who says it is the
 * bus.
 *
 * There are two connections: on one come the calls, in turns and only while what they are answered can be got rid of;
 * on the other the bus is asked who made them. A connection is taken down when the loop turns, never in a frame that it
 * called.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/bus/link.h"
#include "broker/bus/trust.h"

#define ANSWER_USEC        (10 * USEC_PER_SEC)
#define BACKOFF_FIRST_USEC (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_USEC   (5 * USEC_PER_SEC)

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* --- down and up again --- */

void link_arm(Link *link, uint64_t delay_usec)
{
        if (sd_event_source_set_time_relative(link->timer, delay_usec) < 0 ||
            sd_event_source_set_enabled(link->timer, SD_EVENT_ONESHOT) < 0)
                link->bus->host.ended(link->bus->userdata, BUS_NO_CONNECTION,
                                      "there is no timer to reconnect with");
}

static void line_close(Line *line)
{
        line->loop = bus_loop_free(line->loop);
        if (line->connection) {
                dbus_connection_close(line->connection);
                dbus_connection_unref(line->connection);
        }
        *line = (Line){ 0 };
}

/*
 * In this order: a bus that reads the line of calls no more does not see that it is closed, and would keep our name for
 * it. It finds out when it has something to write to it: that the other line is gone, which the first one has asked to
 * be told (on_hello()).
 */
static void link_close(Link *link)
{
        peers_of_bus_gone(link->bus);
        line_close(&link->calls);
        line_close(&link->questions);
        link_drop_unsent(link);
}

static void end(Link *link, BusEnd end, const char *text)
{
        link->state = LINK_STOPPED;
        link->bus->host.ended(link->bus->userdata, end, text);
}

/* The connections are of no use any more; text says why. */
static void link_lost(Link *link, const char *text)
{
        uint64_t delay_usec;
        uint32_t random = 0;

        if (link->state == LINK_DOWN || link->state == LINK_STOPPED)
                return;
        if (!link->has_been_up) {
                end(link, BUS_NO_CONNECTION, text);
                return;
        }
        link->state = LINK_DOWN;
        peers_of_bus_gone(link->bus);
        if (getentropy(&random, sizeof(random)) < 0)
                random = (uint32_t)getpid(); /* jitter: any number will do */
        delay_usec = backoff_next_usec(&link->backoff, random);
        log_warning("the message bus is lost (%s); trying again in %llu ms", text,
                    (unsigned long long)(delay_usec / USEC_PER_MSEC));
        link_arm(link, delay_usec);
}

/* --- asking the bus --- */

static DBusMessage *driver_call(const char *member)
{
        return dbus_message_new_method_call(DBUS_SERVICE_DBUS, DBUS_PATH_DBUS, DBUS_INTERFACE_DBUS,
                                            member);
}

/* Takes the question, which may be NULL for want of memory. */
static bool send_question(const Line *line, DBusMessage *question, dbus_uint32_t *ret_serial)
{
        bool ok = question && line->connection &&
                  dbus_connection_send(line->connection, question, ret_serial);

        if (question)
                dbus_message_unref(question);
        return ok;
}

bool link_ask(Link *link, DBusMessage *question, dbus_uint32_t *ret_serial)
{
        return send_question(&link->questions, question, ret_serial);
}

/* The same, for an answer that the link itself goes on with. */
static void ask(Link *link, Line *line, DBusMessage *question)
{
        if (!send_question(line, question, &line->asked))
                link_lost(link, "it cannot be asked");
        else
                link_arm(link, ANSWER_USEC);
}

static void on_named(Link *link, DBusMessage *answer)
{
        dbus_uint32_t result = 0;

        (void)dbus_message_get_args(answer, NULL, DBUS_TYPE_UINT32, &result, DBUS_TYPE_INVALID);
        if (result != DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER &&
            result != DBUS_REQUEST_NAME_REPLY_ALREADY_OWNER) {
                if (link->has_been_up) {
                        /* A bus that was stuck may not know yet that the connection before was left. */
                        link_lost(link, "its name is still taken");
                        return;
                }
                end(link, BUS_NAME_TAKEN, "the name " BUS_NAME " belongs to another");
                return;
        }
        (void)sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
        link->state = LINK_UP;
        link->has_been_up = true;
        backoff_reset(&link->backoff);
        link->bus->host.ready(link->bus->userdata);
}

static void request_name(Link *link)
{
        const dbus_uint32_t flags = DBUS_NAME_FLAG_DO_NOT_QUEUE;
        const char *name = BUS_NAME;
        DBusMessage *question = driver_call("RequestName");

        link->state = LINK_NAMING;
        if (question && !dbus_message_append_args(question, DBUS_TYPE_STRING, &name,
                                                  DBUS_TYPE_UINT32, &flags, DBUS_TYPE_INVALID)) {
                dbus_message_unref(question);
                question = NULL;
        }
        ask(link, &link->calls, question);
}

static void on_hello(Link *link, Line *line, DBusMessage *answer)
{
        static const char *const gone = "type='signal',sender='" DBUS_SERVICE_DBUS "',"
                                        "interface='" DBUS_INTERFACE_DBUS "',"
                                        "member='NameOwnerChanged',arg2=''";

        const char *name = "";

        (void)dbus_message_get_args(answer, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_INVALID);
        (void)snprintf(line->name, sizeof(line->name), "%s", name);
        if (link->calls.name[0] == '\0' || link->questions.name[0] == '\0')
                return;
        /* Without an error to fill it does not wait; the name is asked for after it. */
        dbus_bus_add_match(link->calls.connection, gone, NULL);
        request_name(link);
}

static void on_answer(Link *link, Line *line, DBusMessage *answer)
{
        line->asked = 0;
        if (link->state == LINK_STOPPED)
                return;
        if (dbus_message_get_type(answer) == DBUS_MESSAGE_TYPE_ERROR)
                link_lost(link, string_or_empty(dbus_message_get_error_name(answer)));
        else if (link->state == LINK_HELLO)
                on_hello(link, line, answer);
        else if (link->state == LINK_NAMING)
                on_named(link, answer);
}

/* --- what arrives --- */

/* The bus's own; one that says it is, and comes from somebody else, is no answer to anything. */
static bool is_answer(DBusMessage *message)
{
        int type = dbus_message_get_type(message);

        return (type == DBUS_MESSAGE_TYPE_METHOD_RETURN || type == DBUS_MESSAGE_TYPE_ERROR) &&
               is_of_bus(message);
}

static bool is_answer_to(const Line *line, DBusMessage *message)
{
        return line->asked != 0 && is_answer(message) &&
               dbus_message_get_reply_serial(message) == line->asked;
}

static void on_name_owner_changed(Link *link, DBusMessage *message)
{
        const char *name, *before, *after;
        Peer *peer;

        if (!dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_STRING,
                                   &before, DBUS_TYPE_STRING, &after, DBUS_TYPE_INVALID) ||
            *after != '\0')
                return;
        peer = peer_find(link->bus, name);
        if (peer)
                peer_gone(peer);
}

static void on_name_lost(Link *link, DBusMessage *message)
{
        const char *name;

        if (link->state == LINK_UP &&
            dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_INVALID) &&
            strcmp(name, BUS_NAME) == 0)
                end(link, BUS_NAME_LOST, "the name " BUS_NAME " was taken away");
}

static bool is_of_driver(DBusMessage *message, const char *member)
{
        return dbus_message_is_signal(message, DBUS_INTERFACE_DBUS, member) && is_of_bus(message);
}

static DBusHandlerResult on_calls(DBusConnection *connection, DBusMessage *message, void *userdata)
{
        Link *link = userdata;

        if (dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected"))
                link_lost(link, "disconnected");
        else if (is_answer_to(&link->calls, message))
                on_answer(link, &link->calls, message);
        else if (is_answer(message))
                book_on_answer(link->bus, message);
        else if (is_of_driver(message, "NameOwnerChanged"))
                on_name_owner_changed(link, message);
        else if (is_of_driver(message, "NameLost"))
                on_name_lost(link, message);
        else if (dbus_message_get_type(message) == DBUS_MESSAGE_TYPE_METHOD_CALL &&
                 link->state != LINK_DOWN)
                peer_on_bus_message(link->bus, connection, message);
        return DBUS_HANDLER_RESULT_HANDLED;
}

static DBusHandlerResult on_questions(DBusConnection *connection, DBusMessage *message,
                                      void *userdata)
{
        Link *link = userdata;
        LinkSign sign = link_watch_on_message(link, message);

        if (sign == LINK_IS_STUCK)
                link_lost(link, "it takes no answers");
        else if (dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected"))
                link_lost(link, "disconnected");
        else if (is_answer_to(&link->questions, message))
                on_answer(link, &link->questions, message);
        else if (is_answer(message) && sign == LINK_NO_SIGN)
                credentials_on_answer(link->bus, message);
        return DBUS_HANDLER_RESULT_HANDLED;
}

/* --- its turn --- */

static bool may_go_on(void *userdata)
{
        const Link *link = userdata;

        return !link_is_unread(link) && !credentials_are_full(link->bus);
}

static void take_turn(void *userdata)
{
        Link *link = userdata;
        const BusTurn turn = { TURN_CALLS_MAX, clock_monotonic_usec() + TURN_USEC, may_go_on,
                               link };
        BusTurnEnd end;

        if (!link->calls.loop)
                return;
        end = bus_loop_turn(link->calls.loop, &turn);
        if (end == BUS_TURN_MORE)
                link_resume(link);
        else if (end == BUS_TURN_LOST)
                link_lost(link, "disconnected");
        link_settle(link);
}

void link_resume(Link *link)
{
        bus_want_turn(link->bus, &link->turn);
}

static void on_ready(void *userdata)
{
        link_resume(userdata);
}

/* --- connecting --- */

static int line_open(Link *link, Line *line, Failure *failure)
{
        DBusError error = DBUS_ERROR_INIT;
        int r;

        line->connection = dbus_connection_open_private(link->address, &error);
        if (!line->connection) {
                r = fail(failure, CB_FAILED, "there is no message bus at %s: %s", link->address,
                         error.message);
                dbus_error_free(&error);
                return r;
        }
        r = check_bus_owner(line->connection, link->address, failure);
        if (r != 0)
                return r;
        dbus_connection_set_exit_on_disconnect(line->connection, FALSE);
        /*
         * The size of one message is the bus's to limit: libdbus ends a connection over one that is larger
         * than ours, and that would be everybody's.
         */
        dbus_connection_set_max_message_size(line->connection, DBUS_MAXIMUM_MESSAGE_LENGTH);
        dbus_connection_set_max_received_size(line->connection, (long)BUS_RECEIVED_SIZE_MAX);
        dbus_connection_set_max_received_unix_fds(line->connection, BUS_RECEIVED_FDS_MAX);
        return 0;
}

static int line_watch(Link *link, Line *line, DBusHandleMessageFunction on_message,
                      const BusLoopOwner *owner, Failure *failure)
{
        int r;

        if (!dbus_connection_add_filter(line->connection, on_message, link, NULL))
                return fail(failure, -ENOMEM, "no memory for the message bus");
        r = bus_loop_attach_connection(link->bus->rooms.event, line->connection, owner,
                                       &line->loop);
        if (r < 0)
                return fail(failure, r, "the message bus cannot be watched");
        return 0;
}

static int link_open(Link *link, Failure *failure)
{
        const BusLoopOwner turns = { .ready = on_ready, .userdata = link };
        int r;

        r = line_open(link, &link->calls, failure);
        if (r == 0)
                r = line_open(link, &link->questions, failure);
        if (r != 0)
                return r;
        /* Peer is answered as any call is: who pings us has called us, and gets signals. */
        dbus_connection_set_route_peer_messages(link->calls.connection, TRUE);
        r = line_watch(link, &link->calls, on_calls, &turns, failure);
        if (r == 0)
                r = line_watch(link, &link->questions, on_questions, NULL, failure);
        if (r != 0)
                return r;
        link->state = LINK_HELLO;
        link->bus->book.is_silent = false;
        link->watch = (Watch){ 0 };
        ask(link, &link->calls, driver_call("Hello"));
        ask(link, &link->questions, driver_call("Hello"));
        return 0;
}

static void try_again(Link *link)
{
        Failure failure = { 0 };

        link_close(link);
        if (link_open(link, &failure) != 0) {
                link->state = LINK_HELLO;
                link_lost(link, failure.text);
        }
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Link *link = userdata;

        switch (link->state) {
        case LINK_DOWN:
                try_again(link);
                break;
        case LINK_HELLO:
        case LINK_NAMING:
                link_lost(link, "no answer");
                break;
        case LINK_UP:
                link_watch_on_timer(link);
                break;
        case LINK_STOPPED:
        case _LINK_STATE_N:
                break;
        }
        return 0;
}

int link_new(Bus *bus, const char *address, Link **ret_link, Failure *failure)
{
        Link *link;
        int r;

        link = calloc(1, sizeof(*link));
        if (!link)
                return fail(failure, -ENOMEM, "no memory for the message bus");
        *link = (Link){
                .bus = bus,
                .state = LINK_DOWN,
                .backoff = { .first_usec = BACKOFF_FIRST_USEC, .max_usec = BACKOFF_MAX_USEC },
        };
        STAILQ_INIT(&link->unsent);
        link->address = bus_address(address);
        if (!link->address) {
                link_free(link);
                return fail(failure, CB_FAILED,
                            "there is no address of the session bus: set DBUS_SESSION_BUS_ADDRESS");
        }
        r = sd_event_add_time_relative(bus->rooms.event, &link->timer, CLOCK_MONOTONIC, 0,
                                       USEC_PER_MSEC, on_timer, link);
        if (r >= 0)
                r = sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = turn_init(&link->turn, bus->turns, TURNS_BUS, 0);
        link->turn.take = take_turn;
        link->turn.userdata = link;
        if (r < 0)
                fail(failure, r, "there is no timer for the message bus");
        else
                r = link_open(link, failure);
        if (r != 0) {
                link_free(link);
                return r;
        }
        *ret_link = link;
        return 0;
}

Link *link_free(Link *link)
{
        if (!link)
                return NULL;
        link_close(link);
        peers_bury(link->bus);
        turn_deinit(&link->turn);
        sd_event_source_disable_unref(link->timer);
        sd_event_source_disable_unref(link->wake);
        free(link->address);
        free(link);
        return NULL;
}

/* Before the bus's answer are the last calls that came by the name. */
void link_stop(Link *link)
{
        DBusMessage *question;
        const char *name = BUS_NAME;
        bool up = link->state == LINK_UP;

        link->state = LINK_STOPPED;
        if (!up)
                return;
        question = driver_call("ReleaseName");
        if (question && dbus_message_append_args(question, DBUS_TYPE_STRING, &name, DBUS_TYPE_INVALID))
                (void)dbus_connection_send(link->calls.connection, question, &link->calls.asked);
        if (question)
                dbus_message_unref(question);
}

bool link_is_idle(const Link *link)
{
        DBusConnection *connection = link->calls.connection;

        return !connection || !dbus_connection_get_is_connected(connection) ||
               (link->calls.asked == 0 && !dbus_connection_has_messages_to_send(connection));
}
