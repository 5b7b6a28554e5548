/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers: each connection that has called the broker, and who is behind it. The invariant is that a call
 * is dispatched only for a peer whose subject is known: on the bus the driver is asked once for each
 * unique name, and calls that arrive meanwhile wait, a bounded number of them; any error is a refusal,
 * never a subject with zeros in it. On the channel the socket itself says who connected.
 *
 * A peer that goes is taken out of every list at once, and freed when the loop turns: frames of its own
 * may be on the stack.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/bus/subject.h"
#include "broker/bus/trust.h"

#define CREDENTIALS_TIMEOUT_MSEC 10000
#define COMPLAINT_USEC           (10 * USEC_PER_SEC)

static Peer *peer_free(Peer *peer)
{
        if (!peer)
                return NULL;
        assert_always(TAILQ_EMPTY(&peer->calls) && STAILQ_EMPTY(&peer->waiting) && !peer->asking);
        sd_event_source_disable_unref(peer->login);
        bus_loop_free(peer->loop);
        if (peer->connection) {
                if (!peer->name)
                        dbus_connection_close(peer->connection);
                dbus_connection_unref(peer->connection);
        }
        subject_deinit(&peer->subject);
        view_deinit(&peer->view);
        free(peer->name);
        free(peer);
        return NULL;
}
DEFINE_CLEANUP(Peer, peer_free)

static int peer_new(Bus *bus, DBusConnection *connection, const char *name, Peer **ret_peer)
{
        Peer *peer = calloc(1, sizeof(*peer));

        if (!peer)
                return -ENOMEM;
        *peer = (Peer){ .bus = bus, .subject = { .uid = SUBJECT_UID_UNKNOWN } };
        STAILQ_INIT(&peer->waiting);
        TAILQ_INIT(&peer->calls);
        if (name) {
                peer->name = strdup(name);
                if (!peer->name) {
                        free(peer);
                        return -ENOMEM;
                }
        }
        peer->connection = dbus_connection_ref(connection);
        *ret_peer = peer;
        return 0;
}

Peer *peer_find(const Bus *bus, const char *name)
{
        return map_find(&bus->names, name);
}

/* --- calls that wait --- */

static DBusMessage *waiting_pop(Peer *peer)
{
        Waiting *first = STAILQ_FIRST(&peer->waiting);
        DBusMessage *message;

        if (!first)
                return NULL;
        STAILQ_REMOVE_HEAD(&peer->waiting, next);
        message = first->message;
        peer->n_waiting--;
        peer->bus->waiting_size -= first->size;
        peer->bus->n_waiting_with_fds -= dbus_message_contains_unix_fds(message) ? 1 : 0;
        free(first);
        return message;
}

/* libdbus tells no size: this is what it would send. 0: no memory. */
static size_t message_size(DBusMessage *message)
{
        char *bytes = NULL;
        int n = 0;

        if (!dbus_message_marshal(message, &bytes, &n))
                return 0;
        dbus_free(bytes);
        return (size_t)n;
}

static bool peer_push(Peer *peer, DBusMessage *message)
{
        bool with_fds = dbus_message_contains_unix_fds(message);
        size_t size = message_size(message);
        Bus *bus = peer->bus;
        Waiting *waiting;

        if (size == 0 || size > WAITING_SIZE_MAX - bus->waiting_size ||
            peer->n_waiting >= MAX(peer->bus->n_in_flight_max, WAITING_PER_PEER_MAX) ||
            (with_fds && bus->n_waiting_with_fds >= WAITING_WITH_FDS_MAX))
                return false;
        waiting = calloc(1, sizeof(*waiting));
        if (!waiting)
                return false;
        waiting->message = dbus_message_ref(message);
        waiting->size = size;
        STAILQ_INSERT_TAIL(&peer->waiting, waiting, next);
        peer->n_waiting++;
        bus->waiting_size += size;
        bus->n_waiting_with_fds += with_fds ? 1 : 0;
        return true;
}

static void peer_wait(Peer *peer, DBusMessage *message)
{
        if (!peer_push(peer, message))
                refuse_message(peer, message, status_error_name(CB_LIMIT_EXCEEDED),
                               "too many calls before the bus has said who is calling; "
                               "send fewer at a time");
}

static void peer_refuse_waiting(Peer *peer)
{
        DBusMessage *message;

        while ((message = waiting_pop(peer))) {
                refuse_message(peer, message, status_error_name(CB_ACCESS_DENIED),
                               "the bus does not say who is calling");
                dbus_message_unref(message);
        }
}

static void peer_drop_waiting(Peer *peer)
{
        DBusMessage *message;

        while ((message = waiting_pop(peer)))
                dbus_message_unref(message);
}

static void peer_dispatch_waiting(Peer *peer)
{
        DBusMessage *message;

        /* A call may end its peer; then there is nothing left that waits. */
        while ((message = waiting_pop(peer))) {
                dispatch_call(peer, message);
                dbus_message_unref(message);
        }
}

/* --- the end --- */

static int on_burial(sd_event_source *source, void *userdata)
{
        peers_bury(userdata);
        return 0;
}

void peers_bury(Bus *bus)
{
        Peer *peer;

        while ((peer = TAILQ_FIRST(&bus->graves))) {
                TAILQ_REMOVE(&bus->graves, peer, entry);
                peer_free(peer);
        }
}

static void arm_burial(Bus *bus)
{
        if (!bus->burial) {
                if (sd_event_add_defer(bus->rooms.event, &bus->burial, on_burial, bus) < 0)
                        return; /* no memory: they are freed with the next one, or with the bus */
                (void)sd_event_source_set_description(bus->burial, "peers");
        }
        (void)sd_event_source_set_enabled(bus->burial, SD_EVENT_ONESHOT);
}

void peer_gone(Peer *peer)
{
        Bus *bus = peer->bus;
        Call *call;

        if (peer->state == PEER_GONE)
                return;
        peer->state = PEER_GONE;
        while ((call = TAILQ_FIRST(&peer->calls))) {
                TAILQ_REMOVE(&peer->calls, call, entry);
                call->peer = NULL;
        }
        peer_drop_waiting(peer);
        peer->login = sd_event_source_disable_unref(peer->login);
        if (peer->asking) {
                dbus_pending_call_cancel(peer->asking);
                dbus_pending_call_unref(TAKE(peer->asking));
        }
        if (peer->name)
                map_remove(&bus->names, peer->name);
        else
                bus->n_channel_peers--;
        TAILQ_REMOVE(&bus->peers, peer, entry);
        TAILQ_INSERT_TAIL(&bus->graves, peer, entry);
        arm_burial(bus);
}

void peers_of_bus_gone(Bus *bus)
{
        while (bus->names.n > 0)
                peer_gone(bus->names.entries[bus->names.n - 1].value);
}

/* --- on the message bus --- */

static void on_credentials(DBusPendingCall *pending, void *userdata)
{
        Peer *peer = userdata;
        DBusMessage *reply = dbus_pending_call_steal_reply(pending);
        int r;

        dbus_pending_call_unref(TAKE(peer->asking));
        r = reply && is_of_bus(reply) ? subject_from_credentials(reply, &peer->subject) : -EIO;
        if (reply)
                dbus_message_unref(reply);
        if (r < 0) {
                log_debug("the bus does not say who %s is", peer->name);
                peer_refuse_waiting(peer);
                peer_gone(peer); /* the next call asks again */
                return;
        }
        peer->state = PEER_KNOWN;
        peer_dispatch_waiting(peer);
}

static int peer_ask(Peer *peer)
{
        DBusMessage *question;
        int r = -ENOMEM;

        question = dbus_message_new_method_call(DBUS_SERVICE_DBUS, DBUS_PATH_DBUS,
                                                DBUS_INTERFACE_DBUS, "GetConnectionCredentials");
        if (!question)
                return -ENOMEM;
        if (dbus_message_append_args(question, DBUS_TYPE_STRING, &peer->name, DBUS_TYPE_INVALID) &&
            dbus_connection_send_with_reply(peer->connection, question, &peer->asking,
                                            CREDENTIALS_TIMEOUT_MSEC)) {
                /* NULL without an error: the connection is gone. */
                if (!peer->asking)
                        r = -ENOTCONN;
                else if (dbus_pending_call_set_notify(peer->asking, on_credentials, peer, NULL))
                        r = 0;
        }
        dbus_message_unref(question);
        if (r < 0 && peer->asking) {
                dbus_pending_call_cancel(peer->asking);
                dbus_pending_call_unref(TAKE(peer->asking));
        }
        return r;
}

static int peer_new_on_bus(Bus *bus, DBusConnection *connection, const char *name, Peer **ret_peer)
{
        CLEANUP(peer_freep) Peer *peer = NULL;
        int r;

        if (bus->names.n >= PEERS_MAX)
                return -EUSERS;
        r = peer_new(bus, connection, name, &peer);
        if (r < 0)
                return r;
        r = map_put(&bus->names, name, peer);
        if (r < 0)
                return r;
        r = peer_ask(peer);
        if (r < 0) {
                map_remove(&bus->names, name);
                return r;
        }
        TAILQ_INSERT_TAIL(&bus->peers, peer, entry);
        *ret_peer = TAKE(peer);
        return 0;
}

/* One that no peer can be made for: it is told why, if there is memory for that. */
static void refuse_stranger(DBusConnection *connection, DBusMessage *message, int r)
{
        DBusMessage *error;

        log_debug("a call of %s is refused: %s", dbus_message_get_sender(message),
                  strerrordesc_np(-r));
        if (dbus_message_get_no_reply(message))
                return;
        error = dbus_message_new_error(message, status_error_name(CB_LIMIT_EXCEEDED),
                                       "too many clients; try again later");
        if (!error)
                return;
        (void)dbus_connection_send(connection, error, NULL);
        dbus_message_unref(error);
}

void peer_on_bus_message(Bus *bus, DBusConnection *connection, DBusMessage *message)
{
        const char *sender = dbus_message_get_sender(message);
        Peer *peer;
        int r;

        if (!sender)
                return;
        peer = peer_find(bus, sender);
        if (!peer) {
                r = peer_new_on_bus(bus, connection, sender, &peer);
                if (r < 0) {
                        refuse_stranger(connection, message, r);
                        return;
                }
        }
        if (peer->state == PEER_KNOWN)
                dispatch_call(peer, message);
        else
                peer_wait(peer, message);
}

/* --- on the channel --- */

static size_t count_channel_peers(const Bus *bus, uint32_t uid)
{
        const Peer *peer;
        size_t n = 0;

        TAILQ_FOREACH(peer, &bus->peers, entry)
        {
                if (!peer->name && peer->subject.uid == uid)
                        n++;
        }
        return n;
}

static DBusHandlerResult on_channel_message(DBusConnection *connection, DBusMessage *message,
                                            void *userdata)
{
        Peer *peer = userdata;

        if (dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected")) {
                peer_gone(peer);
                return DBUS_HANDLER_RESULT_HANDLED;
        }
        if (dbus_message_get_type(message) == DBUS_MESSAGE_TYPE_METHOD_CALL &&
            peer->state == PEER_KNOWN)
                dispatch_call(peer, message);
        return DBUS_HANDLER_RESULT_HANDLED;
}

/*
 * Nobody is shut out by many who connect and do no more: one
 * uid has half of the places at most, and root some alone.
 */
static bool has_place(const Bus *bus, uint32_t uid)
{
        size_t max = bus->n_channel_peers_max;

        if (count_channel_peers(bus, uid) >= MIN(max / 2, (size_t)PEERS_PER_UID_MAX))
                return false;
        return bus->n_channel_peers < (uid == 0 || uid == geteuid() ? max : max - PEERS_FOR_US);
}

static int on_login_time(sd_event_source *source, uint64_t usec, void *userdata)
{
        Peer *peer = userdata;

        if (dbus_connection_get_is_authenticated(peer->connection))
                return 0;
        log_debug("a connection to the channel did not log in in time");
        peer_gone(peer);
        return 0;
}

static int arm_login(Peer *peer)
{
        int r = sd_event_add_time_relative(peer->bus->rooms.event, &peer->login, CLOCK_MONOTONIC,
                                           LOGIN_USEC, USEC_PER_SEC, on_login_time, peer);

        if (r >= 0)
                (void)sd_event_source_set_description(peer->login, "login");
        return MIN(r, 0);
}

static dbus_bool_t let_in(DBusConnection *connection, unsigned long uid, void *userdata)
{
        /* Everybody may connect, as on the message bus: grants decide on each call. */
        return TRUE;
}

static void bound_connection(DBusConnection *connection)
{
        dbus_connection_set_max_message_size(connection, CHANNEL_MESSAGE_SIZE_MAX);
        dbus_connection_set_max_received_size(connection, CHANNEL_RECEIVED_SIZE_MAX);
        dbus_connection_set_max_message_unix_fds(connection, 4);
        dbus_connection_set_max_received_unix_fds(connection, CHANNEL_RECEIVED_FDS_MAX);
}

static int peer_new_on_channel(Bus *bus, DBusConnection *connection, Peer **ret_peer)
{
        CLEANUP(peer_freep) Peer *peer = NULL;
        int fd = -1, r;

        r = peer_new(bus, connection, NULL, &peer);
        if (r < 0)
                return r;
        if (!dbus_connection_get_socket(connection, &fd))
                return -ENOTSOCK;
        r = subject_from_socket(fd, &peer->subject);
        if (r < 0)
                return r;
        if (!has_place(bus, peer->subject.uid))
                return -EUSERS;
        r = arm_login(peer);
        if (r < 0)
                return r;

        bound_connection(connection);
        dbus_connection_set_exit_on_disconnect(connection, FALSE);
        dbus_connection_set_allow_anonymous(connection, FALSE);
        dbus_connection_set_unix_user_function(connection, let_in, NULL, NULL);
        if (!dbus_connection_add_filter(connection, on_channel_message, peer, NULL))
                return -ENOMEM;
        r = bus_loop_attach_connection(bus->rooms.event, connection, NULL, &peer->loop);
        if (r < 0) {
                dbus_connection_remove_filter(connection, on_channel_message, peer);
                return r;
        }
        *ret_peer = TAKE(peer);
        return 0;
}

/* Whoever is refused can try for ever: not a line each time. */
static void complain(Bus *bus, int r)
{
        uint64_t now_usec = clock_monotonic_usec();

        if (bus->complained_usec != 0 && now_usec - bus->complained_usec < COMPLAINT_USEC)
                return;
        bus->complained_usec = now_usec;
        log_warning("connections to the channel are refused: %s", strerrordesc_np(-r));
}

void peer_on_channel_connection(Bus *bus, DBusConnection *connection)
{
        Peer *peer;
        int r;

        /* libdbus closes a connection that nobody has taken a reference of. */
        r = peer_new_on_channel(bus, connection, &peer);
        if (r < 0) {
                complain(bus, r);
                return;
        }
        peer->state = PEER_KNOWN;
        bus->n_channel_peers++;
        TAILQ_INSERT_TAIL(&bus->peers, peer, entry);
}
