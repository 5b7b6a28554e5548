/* SPDX-License-Identifier: Apache-2.0 */
/* What an address is, and who may be there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "macro.h"
#include "trust.h"

#define BUS_UID     4001
#define BROKER_UID  4002
#define STRANGER    4003
#define OVERFLOWING 65534

static const Trust trust = { .bus_uid = BUS_UID, .broker_uid = BROKER_UID };

static Address address_of(const char *text)
{
        Address address;

        assert_int_equal(address_next(&text, &address), 0);
        return address;
}

static void test_kind(void **state)
{
        static const struct {
                const char *text;
                bool is_bus;
        } rows[] = {
                { "unix:path=/run/certbroker/channel", false },
                { "unix:abstract=/run/certbroker/channel", false },
                { "unix:abstract=/run/certbroker/channel,guid=00", false },
                { "unix:path=/a%2fchannel", false },
                { "unix:path=/channel", false },
                { "unix:path=channel", true },
                { "unix:abstract=channel", true },
                { "unix:path=/run/channel/bus", true },
                { "unix:path=/run/channel/", true },
                { "unix:path=/run/xchannel", true },
                { "unix:abstract=/run/channel2", true },
                { "unix:path=/run/dbus/system_bus_socket", true },
                { "unix:abstract=/tmp/dbus-x", true },
                { "unix:path=c", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Address address = address_of(rows[i].text);
                Wanted wanted = { .trust = &trust, .only = TRUST_NO_UID };

                assert_int_equal(trust_is_bus(&wanted, &address), rows[i].is_bus);
                wanted.kind = PEER_BUS;
                assert_true(trust_is_bus(&wanted, &address));
                wanted.kind = PEER_CHANNEL;
                assert_false(trust_is_bus(&wanted, &address));
        }
}

static bool may(const Trust *of, PeerKind kind, uid_t only, uid_t uid)
{
        const Wanted wanted = { .trust = of, .kind = kind, .only = only };
        Address address = address_of("unix:path=/x");
        cb_error error = { 0 };
        int r = trust_check(&wanted, &address, uid, &error);

        assert_true(r == 0 || r == CB_ACCESS_DENIED);
        assert_int_equal(error.text[0] != '\0', r != 0);
        return r == 0;
}

static void test_users(void **state)
{
        for (PeerKind kind = PEER_BUS; kind <= PEER_CHANNEL; kind++) {
                assert_true(may(&trust, kind, TRUST_NO_UID, 0));
                assert_true(may(&trust, kind, TRUST_NO_UID, geteuid()));
                assert_false(may(&trust, kind, TRUST_NO_UID, STRANGER));
                assert_false(may(&trust, kind, TRUST_NO_UID, TRUST_NO_UID));
        }
        assert_true(may(&trust, PEER_BUS, TRUST_NO_UID, BUS_UID));
        assert_false(may(&trust, PEER_BUS, TRUST_NO_UID, BROKER_UID));
        assert_true(may(&trust, PEER_CHANNEL, TRUST_NO_UID, BROKER_UID));
        assert_false(may(&trust, PEER_CHANNEL, TRUST_NO_UID, BUS_UID));
        assert_true(trust_is_broker(&trust, BROKER_UID));
        assert_true(trust_is_broker(&trust, 0));
        assert_false(trust_is_broker(&trust, BUS_UID));
        assert_false(trust_is_broker(&trust, STRANGER));
}

/* The channel that the broker told of is of the broker's own uid; that of a stranger never counts. */
static void test_only_one(void **state)
{
        assert_true(may(&trust, PEER_CHANNEL, BROKER_UID, BROKER_UID));
        assert_false(may(&trust, PEER_CHANNEL, BROKER_UID, 0));
        assert_false(may(&trust, PEER_CHANNEL, STRANGER, STRANGER));
}

static void test_no_such_users(void **state)
{
        const Trust none = { .bus_uid = TRUST_NO_UID, .broker_uid = TRUST_NO_UID };

        assert_false(may(&none, PEER_BUS, TRUST_NO_UID, TRUST_NO_UID));
        assert_false(may(&none, PEER_CHANNEL, TRUST_NO_UID, TRUST_NO_UID));
        assert_false(may(&none, PEER_CHANNEL, TRUST_NO_UID, BROKER_UID));
        assert_true(may(&none, PEER_CHANNEL, TRUST_NO_UID, 0));
}

/* The number of all that a user namespace does not know, were it the broker's or one's own. */
static void test_user_without_a_number(void **state)
{
        const Trust inside = { OVERFLOWING, OVERFLOWING, true, true };
        const Trust chroot = { OVERFLOWING, OVERFLOWING, false, true };
        const Trust outside = { OVERFLOWING, OVERFLOWING, false, false };

        assert_false(may(&inside, PEER_BUS, TRUST_NO_UID, OVERFLOWING));
        assert_false(may(&inside, PEER_CHANNEL, TRUST_NO_UID, OVERFLOWING));
        assert_false(may(&chroot, PEER_CHANNEL, TRUST_NO_UID, OVERFLOWING));
        assert_true(trust_is_broker(&chroot, geteuid()));
        assert_true(may(&outside, PEER_CHANNEL, TRUST_NO_UID, OVERFLOWING));
        /* what a bus tells of is not of our namespace: only the names' users are */
        assert_true(trust_is_broker(&inside, 0));
        assert_int_equal(trust_is_broker(&inside, geteuid()), geteuid() == 0);
}

static void test_init(void **state)
{
        Trust found;

        trust_init(&found);
        assert_int_not_equal(found.bus_uid, 0);
        assert_int_not_equal(found.broker_uid, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_kind),          cmocka_unit_test(test_users),
                cmocka_unit_test(test_only_one),      cmocka_unit_test(test_no_such_users),
                cmocka_unit_test(test_user_without_a_number), cmocka_unit_test(test_init),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
