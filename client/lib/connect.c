/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the broker is found. On a bus: who owns its name, with which uid, and where is its private
 * channel; then the channel is used, if its server has that very uid. Without a bus (a chroot): the
 * channel's usual places, if the server is root or the broker's user. An address that turns out to
 * be no bus is a channel that the caller chose. Nothing of the caller's is sent before the server's
 * uid is known to be right; nothing here ever starts a daemon.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "error.h"
#include "message.h"
#include "value.h"

#define BUS_NAME           "org.certbroker1"
#define DBUS_NAME          "org.freedesktop.DBus"
#define SYSTEM_BUS_ADDRESS "unix:path=/run/dbus/system_bus_socket"
#define CHANNEL_RETRY_USEC (10 * USEC_PER_SEC)

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

int connect_address(const char *bus, char **ret_address, bool *ret_is_system)
{
        char *address = NULL;
        int r;

        if (!bus || !*bus)
                bus = secure_getenv("CERTBROKER_BUS");
        if (!bus || !*bus)
                bus = "system";

        if (strcmp(bus, "session") == 0) {
                r = session_address(&address);
                if (r)
                        return r;
        } else if (strcmp(bus, "system") == 0) {
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
        *ret_is_system = strcmp(bus, "system") == 0;
        *ret_address = address;
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

/* The unique name and the uid of the broker: the name first, so that both are of one process. */
static int broker_owner(Link *link, uint64_t deadline, cb_value **ret_holder,
                        const char **ret_owner, uid_t *ret_uid, cb_error *error)
{
        CLEANUP(cb_value_freep) cb_value *holder = NULL;
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const char *owner;
        uint64_t uid;
        int r;

        r = ask_bus(link, "GetNameOwner", BUS_NAME, deadline, &holder, error);
        if (r == CB_UNREACHABLE && link_is_alive(link))
                return error_not_running(error);
        if (r)
                return r;
        owner = cb_value_string(cb_value_at(holder, 0), NULL);
        if (!owner)
                return error_set(error, CB_FAILED, "The bus gave no owner of " BUS_NAME ".");

        r = ask_bus(link, "GetConnectionUnixUser", owner, deadline, &reply, error);
        if (r)
                return r;
        uid = cb_value_number(cb_value_at(reply, 0), UINT64_MAX);
        if (uid >= UINT32_MAX)
                return error_set(error, CB_FAILED, "The bus gave no user of " BUS_NAME ".");

        *ret_uid = (uid_t)uid;
        *ret_owner = owner;
        *ret_holder = TAKE(holder);
        return 0;
}

static int ask_channel(Link *link, const char *owner, uint64_t deadline, char **ret_addresses,
                       cb_error *error)
{
        CLEANUP(message_freep) Message *call = NULL;
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const char *addresses;
        int r;

        r = message_new(&(cb_method){ .interface = DBUS_NAME ".Properties", .member = "Get" },
                        &call, error, "ss", "org.certbroker1.Manager", "ChannelAddress");
        if (r == 0)
                r = link_call(link, call, owner, deadline, &reply, error);
        if (r)
                return r;
        addresses = cb_value_string(cb_value_at(reply, 0), "");
        if (!address_is_valid(addresses))
                return error_set(error, CB_FAILED, "The broker's channel has no usable address.");
        *ret_addresses = strdup(addresses);
        return *ret_addresses ? 0 : error_set(error, -ENOMEM, "Out of memory.");
}

/* ------------------------------------------------------------------ channels */

static int open_channel(const char *addresses, const uid_t *uids, size_t n_uids, Pool *pool,
                        uint64_t deadline, Link **ret_link, cb_error *error)
{
        CLEANUP(link_freep) Link *link = NULL;
        LinkRegister fd_register = pool_register(pool);
        int r;

        r = link_new(addresses, &fd_register, deadline, &link, error);
        if (r)
                return r;
        if (link_is_bus(link))
                return error_set(error, CB_UNREACHABLE, "There is a bus at the channel's address.");
        for (size_t i = 0; i < n_uids; i++)
                if (link_server_uid(link) == uids[i]) {
                        *ret_link = TAKE(link);
                        return 0;
                }
        return error_set(error, CB_ACCESS_DENIED,
                         "The server at %s runs as user %u, who is not the broker; not used.",
                         addresses, (unsigned)link_server_uid(link));
}

/* Goes over to the channel, and keeps the bus's link where that cannot be done. */
static int prefer_channel(Pool *pool, uint64_t deadline, Link **link, cb_error *error)
{
        CLEANUP(cb_value_freep) cb_value *holder = NULL;
        CLEANUP(free_text) char *addresses = NULL;
        Link *channel = NULL;
        const char *owner = NULL;
        uid_t uid = (uid_t)-1;
        int r;

        r = broker_owner(*link, deadline, &holder, &owner, &uid, error);
        if (r)
                return r;
        r = ask_channel(*link, owner, deadline, &addresses, error);
        if (r < 0 || r == CB_TIMED_OUT || !link_is_alive(*link))
                return r;
        if (r == 0)
                r = open_channel(addresses, &uid, 1, pool, deadline, &channel, NULL);
        if (r < 0)
                return error_set(error, r, "Out of memory.");
        if (r > 0)
                return pool_set_channel(pool, NULL, 0, link_deadline(CHANNEL_RETRY_USEC));

        link_free(*link);
        *link = channel;
        return pool_set_channel(pool, addresses, uid, 0);
}

/* An address that the caller gave: he trusts whoever may put a socket there, root and himself. */
static bool is_trusted_server(const Place *place, const Link *link)
{
        uid_t uid = link_server_uid(link);

        return uid == 0 || uid == geteuid() || uid == place->broker_uid;
}

/* The channel that was learnt before. CB_NOT_FOUND: none, or it is there no longer. */
static int known_channel(Pool *pool, uint64_t deadline, Link **ret_link, cb_error *error)
{
        Channel channel;
        int r;

        r = pool_channel(pool, &channel);
        if (r)
                return error_set(error, r, "Out of memory.");
        if (!channel.addresses)
                return CB_NOT_FOUND;
        r = open_channel(channel.addresses, &channel.server_uid, 1, pool, deadline, ret_link,
                         error);
        free(channel.addresses);
        if (r <= 0 || r == CB_TIMED_OUT)
                return r;
        (void)pool_set_channel(pool, NULL, 0, 0);
        return CB_NOT_FOUND;
}

int connect_broker(const Place *place, Pool *pool, uint64_t deadline, Link **ret_link,
                   cb_error *error)
{
        CLEANUP(link_freep) Link *link = NULL;
        const uid_t fallback_uids[] = { 0, place->broker_uid };
        LinkRegister fd_register = pool_register(pool);
        int r;

        r = known_channel(pool, deadline, ret_link, error);
        if (r != CB_NOT_FOUND)
                return r;

        r = link_new(place->bus, &fd_register, deadline, &link, error);
        if (r && r > 0 && place->fallback &&
            open_channel(place->fallback, fallback_uids, ELEMENTSOF(fallback_uids), pool, deadline,
                         ret_link, NULL) == 0)
                return 0;
        if (r)
                return r;

        if (link_is_bus(link)) {
                r = prefer_channel(pool, deadline, &link, error);
                if (r)
                        return r;
        } else if (!is_trusted_server(place, link)) {
                return error_set(error, CB_ACCESS_DENIED,
                                 "The server at %s runs as user %u, who is neither root, nor the "
                                 "broker's user, nor oneself; not used.",
                                 place->bus, (unsigned)link_server_uid(link));
        }
        *ret_link = TAKE(link);
        return 0;
}

/* ------------------------------------------------------------------ sending to the broker */

int client_call_on(Link *link, const Message *call, uint64_t deadline, cb_value **ret_body,
                   cb_error *error)
{
        return link_call(link, call, link_is_bus(link) ? BUS_NAME : NULL, deadline, ret_body,
                         error);
}
