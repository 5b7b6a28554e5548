/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the broker is found. On a bus: who owns its name, may that uid be the broker (trust.h), and
 * where is its private channel; then the channel is used, if its server has that very uid, and else
 * the bus. Without a bus (a chroot): the channel's usual places. An address is a bus or a channel by
 * what was asked for; nothing here goes by what a server answers, or ever starts a daemon.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "build-config.h"
#include "error.h"
#include "message.h"
#include "value.h"

#define BUS_NAME           "org.certbroker1"
#define DBUS_NAME          "org.freedesktop.DBus"
#define SYSTEM_BUS_ADDRESS "unix:path=/run/dbus/system_bus_socket"
#define CHANNEL_RETRY_USEC (10 * USEC_PER_SEC)
/* A bus answers within a millisecond: one that takes longer may be stuck, and the channel is not. */
#define BUS_USEC (200 * USEC_PER_MSEC)
/*
 * A bus keeps few descriptors for one receiver, and refuses everybody's calls while they are too
 * many: anybody can send them. The channel knows no such thing, so it is asked for again.
 */
#define FULL_TRIES      200
#define FULL_PAUSE_NSEC (5 * 1000 * 1000)
/* certbrokerd's own: it goes with its directory when the unit stops, not when that is restarted. */
#define RUNTIME_MARK "/run/certbroker/channel.lock"
/* Where the broker that ships with its unit listens: for those who cannot ask the system bus. */
#define FALLBACK_ADDRESSES "unix:path=/run/certbroker/channel;unix:abstract=/run/certbroker/channel"

/* ------------------------------------------------------------------ names of buses */

static int session_address(char **ret_address)
{
        const char *given = secure_getenv("DBUS_SESSION_BUS_ADDRESS");
        const char *runtime = secure_getenv("XDG_RUNTIME_DIR");

        if (given && *given)
                *ret_address = strdup(given);
        else if (runtime && *runtime)
                *ret_address = address_of_path(runtime, "/bus");
        else
                return CB_INVALID_ARGUMENT;
        return *ret_address ? 0 : -ENOMEM;
}

int connect_place(const char *bus, Place *ret_place)
{
        char *address = NULL;
        bool is_system, is_session;
        int r;

        if (!bus || !*bus)
                bus = secure_getenv("CERTBROKER_BUS");
        if (!bus || !*bus)
                bus = "system";

        is_system = strcmp(bus, "system") == 0;
        is_session = strcmp(bus, "session") == 0;
        if (is_session) {
                r = session_address(&address);
                if (r)
                        return r;
        } else if (is_system) {
                const char *given = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");

                address = strdup(given && *given ? given : SYSTEM_BUS_ADDRESS);
        } else {
                address = strdup(bus);
        }
        if (!address)
                return -ENOMEM;
        if (!address_is_valid(address)) {
                free(address);
                return CB_INVALID_ARGUMENT;
        }
        *ret_place = (Place){ .bus = address,
                              .kind = is_system || is_session ? PEER_BUS : PEER_BY_NAME,
                              .fallback = is_system ? FALLBACK_ADDRESSES : NULL };
        trust_init(&ret_place->trust);
        return 0;
}

/* ------------------------------------------------------------------ questions to the bus */

static int ask_bus(Link *link, const char *member, const char *name, uint64_t deadline,
                   cb_value **ret_body, cb_error *error)
{
        CLEANUP(message_freep) Message *call = NULL;
        int r;

        r = message_new(&(cb_method){ .path = "/org/freedesktop/DBus",
                                      .interface = DBUS_NAME,
                                      .member = member },
                        &call, error, "s", name);
        return r ? r : link_call(link, call, DBUS_NAME, deadline, ret_body, error);
}

/* Who owns the broker's name, by its unique name, so that all that is found out is of one process. */
static int find_owner(Link *link, uint64_t deadline, cb_error *error)
{
        CLEANUP(cb_value_freep) cb_value *holder = NULL;
        const char *owner;
        int r;

        r = ask_bus(link, "GetNameOwner", BUS_NAME, deadline, &holder, error);
        if (r == CB_UNREACHABLE && link_is_alive(link))
                return error_not_running(error);
        if (r)
                return r;
        owner = cb_value_string(cb_value_at(holder, 0), "");
        if (*owner != ':')
                return error_set(error, CB_FAILED, "The bus gave no owner of " BUS_NAME ".");
        r = link_set_broker(link, owner);
        return r ? error_set(error, r, "Out of memory.") : 0;
}

/* On some buses anybody may own any name. */
static int check_owner(Link *link, const Trust *trust, uint64_t deadline, uid_t *ret_uid,
                       cb_error *error)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        uint64_t uid;
        int r;

        r = ask_bus(link, "GetConnectionUnixUser", link_broker(link), deadline, &reply, error);
        if (r)
                return r;
        uid = cb_value_number(cb_value_at(reply, 0), UINT64_MAX);
        if (uid >= UINT32_MAX)
                return error_set(error, CB_FAILED, "The bus gave no user of " BUS_NAME ".");
        if (!trust_is_broker(trust, (uid_t)uid))
                return error_set(error, CB_ACCESS_DENIED,
                                 "The owner of " BUS_NAME " on the bus is user %u, who is not the "
                                 "broker: neither root, nor oneself, nor " BROKER_USER
                                 "; nothing was sent to it.",
                                 (unsigned)uid);
        *ret_uid = (uid_t)uid;
        return 0;
}

static int ask_channel(Link *link, uint64_t deadline, char **ret_addresses, cb_error *error)
{
        const struct timespec pause = { .tv_nsec = FULL_PAUSE_NSEC };
        CLEANUP(message_freep) Message *call = NULL;
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const char *addresses;
        int r;

        r = message_new(&(cb_method){ .interface = DBUS_NAME ".Properties", .member = "Get" },
                        &call, error, "ss", "org.certbroker1.Manager", "ChannelAddress");
        if (r == 0)
                r = link_call(link, call, link_broker(link), deadline, &reply, error);
        for (unsigned i = 0;
             i < FULL_TRIES && r == CB_LIMIT_EXCEEDED && link_now() < deadline; i++) {
                (void)nanosleep(&pause, NULL);
                r = link_call(link, call, link_broker(link), deadline, &reply, error);
        }
        if (r)
                return r;
        addresses = cb_value_string(cb_value_at(reply, 0), "");
        if (!address_is_valid(addresses))
                return error_set(error, CB_FAILED, "The broker's channel has no usable address.");
        *ret_addresses = strdup(addresses);
        return *ret_addresses ? 0 : error_set(error, -ENOMEM, "Out of memory.");
}

/* ------------------------------------------------------------------ channels */

static int open_channel(const char *addresses, const Trust *trust, uid_t only, Pool *pool,
                        uint64_t deadline, Link **ret_link, cb_error *error)
{
        const Wanted wanted = { .trust = trust, .kind = PEER_CHANNEL, .only = only };
        LinkRegister fd_register = pool_register(pool);

        return link_new(addresses, &wanted, &fd_register, deadline, ret_link, error);
}

static int keep_channel(Pool *pool, const char *addresses, uid_t server_uid, uint64_t retry_after,
                        cb_error *error)
{
        int r = pool_set_channel(pool, addresses, server_uid, retry_after);

        return r ? error_set(error, r, "Out of memory.") : 0;
}

/* Goes over to the channel, and keeps the bus's link where that cannot be done. */
static int prefer_channel(const Trust *trust, Pool *pool, uint64_t deadline, Link **link,
                          cb_error *error)
{
        CLEANUP(free_text) char *addresses = NULL;
        Link *channel = NULL;
        uid_t uid = TRUST_NO_UID;
        int r;

        r = find_owner(*link, deadline, error);
        if (r == 0)
                r = check_owner(*link, trust, deadline, &uid, error);
        if (r)
                return r;
        r = ask_channel(*link, deadline, &addresses, error);
        if (r < 0 || r == CB_TIMED_OUT || !link_is_alive(*link))
                return r;
        if (r == 0)
                r = open_channel(addresses, trust, uid, pool, deadline, &channel, NULL);
        if (r < 0)
                return error_set(error, r, "Out of memory.");
        if (r > 0)
                return keep_channel(pool, NULL, 0, link_deadline(CHANNEL_RETRY_USEC), error);

        link_free(*link);
        *link = channel;
        return keep_channel(pool, addresses, uid, 0, error);
}

/* The channel that was learnt before. CB_NOT_FOUND: none, or it is there no longer. */
static int known_channel(const Trust *trust, Pool *pool, uint64_t deadline, Link **ret_link,
                         cb_error *error)
{
        Channel channel;
        int r;

        r = pool_channel(pool, &channel);
        if (r)
                return error_set(error, r, "Out of memory.");
        if (!channel.addresses)
                return CB_NOT_FOUND;
        r = open_channel(channel.addresses, trust, channel.server_uid, pool, deadline, ret_link,
                         error);
        free(channel.addresses);
        if (r <= 0 || r == CB_TIMED_OUT)
                return r;
        (void)pool_set_channel(pool, NULL, 0, 0);
        return CB_NOT_FOUND;
}

/* reached: the server of the address let us in. */
static int by_address(const Place *place, Pool *pool, uint64_t deadline, Link **ret_link,
                      bool *ret_reached, cb_error *error)
{
        const Wanted wanted = { .trust = &place->trust, .kind = place->kind, .only = TRUST_NO_UID };
        CLEANUP(link_freep) Link *link = NULL;
        LinkRegister fd_register = pool_register(pool);
        int r;

        r = link_new(place->bus, &wanted, &fd_register, deadline, &link, error);
        *ret_reached = r == 0;
        if (r == 0 && link_is_bus(link))
                r = prefer_channel(&place->trust, pool, deadline, &link, error);
        if (r)
                return r;
        *ret_link = TAKE(link);
        return 0;
}

int connect_broker(const Place *place, Pool *pool, uint64_t deadline, Link **ret_link,
                   cb_error *error)
{
        uint64_t soon = place->fallback ? earlier(link_deadline(BUS_USEC), deadline) : deadline;
        bool reached;
        int r;

        r = known_channel(&place->trust, pool, deadline, ret_link, error);
        if (r != CB_NOT_FOUND)
                return r;

        r = by_address(place, pool, soon, ret_link, &reached, error);
        if (r <= 0 || !place->fallback || (reached && r != CB_TIMED_OUT))
                return r;
        if (open_channel(place->fallback, &place->trust, TRUST_NO_UID, pool, deadline, ret_link,
                         NULL) == 0)
                return 0;
        /* What the bus has not said yet is said, if the broker has no channel in its usual places. */
        return r == CB_TIMED_OUT ? by_address(place, pool, deadline, ret_link, &reached, error) : r;
}

bool connect_is_restarting(const Place *place)
{
        return place->fallback && access(RUNTIME_MARK, F_OK) == 0;
}

/* ------------------------------------------------------------------ sending to the broker */

/*
 * Of a broker that stops, the name is gone before its connection. A bus judges by the name what may
 * be sent to it, and so refuses then what it would have passed on.
 */
static bool has_gone(Link *link, uint64_t deadline)
{
        CLEANUP(cb_value_freep) cb_value *holder = NULL;
        int r = ask_bus(link, "GetNameOwner", BUS_NAME, deadline, &holder, NULL);

        return r == CB_UNREACHABLE ||
               (r == 0 &&
                strcmp(cb_value_string(cb_value_at(holder, 0), ""), link_broker(link)) != 0);
}

int client_call_on(Link *link, const Message *call, uint64_t deadline, cb_value **ret_body,
                   cb_error *error)
{
        int r = link_call(link, call, link_broker(link), deadline, ret_body, error);

        if (r != CB_ACCESS_DENIED || !link_was_refused(link) || !has_gone(link, deadline))
                return r;
        link_note_nobody(link);
        return error_not_running(error);
}

int client_pid_on(Link *link, uint64_t deadline, pid_t *ret_pid, cb_error *error)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        uint64_t pid = (uint64_t)link_server_pid(link);
        int r = 0;

        if (link_is_bus(link)) {
                r = ask_bus(link, "GetConnectionUnixProcessID", link_broker(link), deadline, &reply,
                            error);
                pid = cb_value_number(cb_value_at(reply, 0), 0);
        }
        if (r)
                return r;
        if (pid == 0 || pid > INT32_MAX)
                return error_set(error, CB_NOT_FOUND, "The broker's process cannot be seen here.");
        *ret_pid = (pid_t)pid;
        return 0;
}
