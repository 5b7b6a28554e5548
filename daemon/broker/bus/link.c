/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link to the message bus: connect, Hello, match, RequestName, each without waiting, and again with
 * back-off when the bus goes away. The invariant is that it serves only under its name: a name that is
 * another's, or is lost, ends the broker, and the owner is told why.
 *
 * A connection is taken down when the loop turns, never in a frame that it called.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "broker/bus/trust.h"
#include "core/breaker.h"

#define ANSWER_TIMEOUT_MSEC 10000
#define BACKOFF_FIRST_USEC  (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_USEC    (5 * USEC_PER_SEC)

typedef enum LinkState {
        LINK_DOWN, /* waits for the timer */
        LINK_HELLO,
        LINK_NAMING,
        LINK_UP,
        LINK_STOPPED,
        _LINK_STATE_N
} LinkState;

struct Link {
        Bus *bus;
        char *address;
        LinkState state;
        DBusConnection *connection;
        BusLoop *loop;
        DBusPendingCall *pending;
        sd_event_source *timer;
        Backoff backoff;
        bool has_been_up;
};

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* --- down and up again --- */

static void cancel_pending(Link *link)
{
        if (!link->pending)
                return;
        dbus_pending_call_cancel(link->pending);
        dbus_pending_call_unref(TAKE(link->pending));
}

static void link_close(Link *link)
{
        cancel_pending(link);
        peers_of_bus_gone(link->bus);
        link->loop = bus_loop_free(link->loop);
        if (!link->connection)
                return;
        dbus_connection_close(link->connection);
        dbus_connection_unref(TAKE(link->connection));
}

static void arm(Link *link, uint64_t delay_usec)
{
        if (sd_event_source_set_time_relative(link->timer, delay_usec) < 0 ||
            sd_event_source_set_enabled(link->timer, SD_EVENT_ONESHOT) < 0)
                link->bus->host.ended(link->bus->userdata, BUS_NO_CONNECTION,
                                      "there is no timer to reconnect with");
}

static void end(Link *link, BusEnd end, const char *text)
{
        link->state = LINK_STOPPED;
        link->bus->host.ended(link->bus->userdata, end, text);
}

/* The connection is of no use any more; text says why. */
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
        cancel_pending(link);
        peers_of_bus_gone(link->bus);
        if (getentropy(&random, sizeof(random)) < 0)
                random = (uint32_t)getpid(); /* jitter: any number will do */
        delay_usec = backoff_next_usec(&link->backoff, random);
        log_warning("the message bus is lost (%s); trying again in %llu ms", text,
                    (unsigned long long)(delay_usec / USEC_PER_MSEC));
        arm(link, delay_usec);
}

/* --- asking the bus --- */

static DBusMessage *driver_call(const char *member)
{
        return dbus_message_new_method_call(DBUS_SERVICE_DBUS, DBUS_PATH_DBUS, DBUS_INTERFACE_DBUS,
                                            member);
}

/* Takes the question, which may be NULL for want of memory. */
static void ask(Link *link, DBusMessage *question, DBusPendingCallNotifyFunction on_answer)
{
        bool ok;

        cancel_pending(link);
        ok = question &&
             dbus_connection_send_with_reply(link->connection, question, &link->pending,
                                             ANSWER_TIMEOUT_MSEC) &&
             link->pending && dbus_pending_call_set_notify(link->pending, on_answer, link, NULL);
        if (question)
                dbus_message_unref(question);
        if (!ok)
                link_lost(link, "it cannot be asked");
}

static const char *describe_answer(DBusMessage *answer)
{
        if (!answer)
                return "no answer";
        if (dbus_message_get_error_name(answer))
                return dbus_message_get_error_name(answer);
        return "an answer that is not the bus's own";
}

/* The answer to what was asked; NULL where it is an error, which has been dealt with. */
static DBusMessage *take_answer(Link *link)
{
        DBusMessage *answer = dbus_pending_call_steal_reply(link->pending);

        dbus_pending_call_unref(TAKE(link->pending));
        if (answer && dbus_message_get_type(answer) == DBUS_MESSAGE_TYPE_METHOD_RETURN &&
            is_of_bus(answer))
                return answer;
        link_lost(link, describe_answer(answer));
        if (answer)
                dbus_message_unref(answer);
        return NULL;
}

static void on_named(DBusPendingCall *pending, void *userdata)
{
        Link *link = userdata;
        DBusMessage *answer = take_answer(link);
        dbus_uint32_t result = 0;

        if (!answer)
                return;
        (void)dbus_message_get_args(answer, NULL, DBUS_TYPE_UINT32, &result, DBUS_TYPE_INVALID);
        dbus_message_unref(answer);
        if (result != DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER &&
            result != DBUS_REQUEST_NAME_REPLY_ALREADY_OWNER) {
                end(link, BUS_NAME_TAKEN, "the name " BUS_NAME " belongs to another");
                return;
        }
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
        ask(link, question, on_named);
}

static void on_hello(DBusPendingCall *pending, void *userdata)
{
        static const char *const gone = "type='signal',sender='" DBUS_SERVICE_DBUS "',"
                                        "interface='" DBUS_INTERFACE_DBUS "',"
                                        "member='NameOwnerChanged',arg2=''";
        Link *link = userdata;
        DBusMessage *answer = take_answer(link);
        const char *name = NULL;

        if (!answer)
                return;
        if (dbus_message_get_args(answer, NULL, DBUS_TYPE_STRING, &name, DBUS_TYPE_INVALID))
                (void)dbus_bus_set_unique_name(link->connection, name);
        dbus_message_unref(answer);
        /* Without an error to fill it does not wait; the name is asked for after it. */
        dbus_bus_add_match(link->connection, gone, NULL);
        request_name(link);
}

/* --- what arrives --- */

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

static DBusHandlerResult on_message(DBusConnection *connection, DBusMessage *message,
                                    void *userdata)
{
        Link *link = userdata;

        if (dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected"))
                link_lost(link, "disconnected");
        else if (is_of_driver(message, "NameOwnerChanged"))
                on_name_owner_changed(link, message);
        else if (is_of_driver(message, "NameLost"))
                on_name_lost(link, message);
        else if (dbus_message_get_type(message) == DBUS_MESSAGE_TYPE_METHOD_CALL &&
                 link->state != LINK_DOWN)
                peer_on_bus_message(link->bus, connection, message);
        return DBUS_HANDLER_RESULT_HANDLED;
}

/* --- connecting --- */

static int link_open(Link *link, Failure *failure)
{
        DBusError error = DBUS_ERROR_INIT;
        int r;

        link->connection = dbus_connection_open_private(link->address, &error);
        if (!link->connection) {
                r = fail(failure, CB_FAILED, "there is no message bus at %s: %s", link->address,
                         error.message);
                dbus_error_free(&error);
                return r;
        }
        r = check_bus_owner(link->connection, link->address, failure);
        if (r != 0)
                return r;
        dbus_connection_set_exit_on_disconnect(link->connection, FALSE);
        /* Peer is answered as any call is: who pings us has called us, and gets signals. */
        dbus_connection_set_route_peer_messages(link->connection, TRUE);
        /*
         * The size of one message is the bus's to limit: libdbus ends a connection over one that is larger
         * than ours, and that would be everybody's.
         */
        dbus_connection_set_max_message_size(link->connection, DBUS_MAXIMUM_MESSAGE_LENGTH);
        dbus_connection_set_max_received_size(link->connection, BUS_RECEIVED_SIZE_MAX);
        dbus_connection_set_max_received_unix_fds(link->connection, BUS_RECEIVED_FDS_MAX);
        if (!dbus_connection_add_filter(link->connection, on_message, link, NULL))
                return fail(failure, -ENOMEM, "no memory for the message bus");
        r = bus_loop_attach_connection(link->bus->rooms.event, link->connection, NULL, &link->loop);
        if (r < 0)
                return fail(failure, r, "the message bus cannot be watched");
        link->state = LINK_HELLO;
        ask(link, driver_call("Hello"), on_hello);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Link *link = userdata;
        Failure failure = { 0 };

        if (link->state != LINK_DOWN)
                return 0;
        link_close(link);
        if (link_open(link, &failure) != 0) {
                link->state = LINK_HELLO;
                link_lost(link, failure.text);
        }
        return 0;
}

/* --- addresses --- */

static char *session_address(void)
{
        const char *address = getenv("DBUS_SESSION_BUS_ADDRESS");
        const char *runtime = getenv("XDG_RUNTIME_DIR");
        char *escaped, *built = NULL;

        if (address && *address != '\0')
                return strdup(address);
        if (!runtime || *runtime == '\0')
                return NULL;
        escaped = dbus_address_escape_value(runtime);
        if (escaped && asprintf(&built, "unix:path=%s/bus", escaped) < 0)
                built = NULL;
        dbus_free(escaped);
        return built;
}

static char *system_address(void)
{
        const char *address = getenv("DBUS_SYSTEM_BUS_ADDRESS");

        return strdup(address && *address != '\0' ? address
                                                  : "unix:path=/run/dbus/system_bus_socket");
}

static char *address_of(const char *bus)
{
        if (strcmp(bus, "system") == 0)
                return system_address();
        if (strcmp(bus, "session") == 0)
                return session_address();
        return strdup(bus);
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
        link->address = address_of(address);
        if (!link->address) {
                link_free(link);
                return fail(failure, CB_FAILED,
                            "there is no address of the session bus: set DBUS_SESSION_BUS_ADDRESS");
        }
        r = sd_event_add_time_relative(bus->rooms.event, &link->timer, CLOCK_MONOTONIC, 0,
                                       USEC_PER_MSEC, on_timer, link);
        if (r >= 0)
                r = sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
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
        sd_event_source_disable_unref(link->timer);
        free(link->address);
        free(link);
        return NULL;
}

void link_stop(Link *link)
{
        DBusMessage *message;
        const char *name = BUS_NAME;
        bool up = link->state == LINK_UP;

        link->state = LINK_STOPPED;
        cancel_pending(link);
        if (!up)
                return;
        message = driver_call("ReleaseName");
        if (!message)
                return;
        dbus_message_set_no_reply(message, TRUE);
        if (dbus_message_append_args(message, DBUS_TYPE_STRING, &name, DBUS_TYPE_INVALID))
                (void)dbus_connection_send(link->connection, message, NULL);
        dbus_message_unref(message);
}

bool link_is_idle(const Link *link)
{
        return !link->connection || !dbus_connection_get_is_connected(link->connection) ||
               !dbus_connection_has_messages_to_send(link->connection);
}
