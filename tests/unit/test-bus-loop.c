/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libdbus on sd-event, proven with a peer-to-peer server and its client in this one process:
 * nothing moves unless watches, timeouts and dispatching all come from the loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>
#include <dbus/dbus.h>
#include <systemd/sd-event.h>

#include "loop/bus-loop.h"

typedef enum Conduct {
        CONDUCT_ANSWER,
        CONDUCT_SILENT,
        CONDUCT_CLOSE,     /* closes the connection from within its handler */
        CONDUCT_FREE_LOOP, /* frees its BusLoop from within its handler */
        CONDUCT_CLOSE_ALL, /* both, and drops the connection: the last reference but the loop's */
} Conduct;

typedef struct Bench {
        sd_event *event;
        DBusServer *server;
        BusLoop *server_loop;
        DBusConnection *peer, *client;
        BusLoop *peer_loop, *client_loop;
        Conduct conduct;
        unsigned n_calls, n_replies, n_errors, n_disconnected, n_lost;
        char error[256];
} Bench;

static void bench_drop_peer(Bench *bench)
{
        if (!bench->peer)
                return;
        dbus_connection_close(bench->peer);
        dbus_connection_unref(bench->peer);
        bench->peer = NULL;
}

static DBusHandlerResult peer_on_message(DBusConnection *connection, DBusMessage *message,
                                         void *userdata)
{
        Bench *bench = userdata;
        DBusMessage *reply;

        if (dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected")) {
                bench->n_disconnected++;
                return DBUS_HANDLER_RESULT_HANDLED;
        }
        bench->n_calls++;
        switch (bench->conduct) {
        case CONDUCT_ANSWER:
                reply = dbus_message_new_method_return(message);
                assert_true(dbus_connection_send(connection, reply, NULL));
                dbus_message_unref(reply);
                break;
        case CONDUCT_SILENT:
                break;
        case CONDUCT_CLOSE:
                dbus_connection_close(connection);
                break;
        case CONDUCT_FREE_LOOP:
                bench->peer_loop = bus_loop_free(bench->peer_loop);
                break;
        case CONDUCT_CLOSE_ALL:
                bench->peer_loop = bus_loop_free(bench->peer_loop);
                bench_drop_peer(bench);
                break;
        }
        return DBUS_HANDLER_RESULT_HANDLED;
}

static void server_on_connection(DBusServer *server, DBusConnection *connection, void *userdata)
{
        Bench *bench = userdata;

        (void)server;
        assert_null(bench->peer);
        bench->peer = dbus_connection_ref(connection);
        dbus_connection_set_allow_anonymous(connection, FALSE);
        assert_true(dbus_connection_add_filter(connection, peer_on_message, bench, NULL));
        assert_int_equal(bus_loop_attach_connection(bench->event, connection, NULL,
                                                    &bench->peer_loop),
                         0);
}

/*
 * libdbus 1.14 drops its pending calls when the connection is lost: only a filter sees their
 * errors.
 */
static DBusHandlerResult client_on_message(DBusConnection *connection, DBusMessage *message,
                                           void *userdata)
{
        Bench *bench = userdata;

        (void)connection;
        if (dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected"))
                bench->n_lost++;
        return DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
}

static void bench_open(Bench *bench)
{
        DBusError error = DBUS_ERROR_INIT;
        char *address;

        *bench = (Bench){ 0 };
        assert_int_equal(sd_event_new(&bench->event), 0);
        bench->server = dbus_server_listen("unix:tmpdir=/tmp", &error);
        assert_non_null(bench->server);
        dbus_server_set_new_connection_function(bench->server, server_on_connection, bench, NULL);
        assert_int_equal(bus_loop_attach_server(bench->event, bench->server, NULL,
                                                &bench->server_loop),
                         0);

        address = dbus_server_get_address(bench->server);
        bench->client = dbus_connection_open_private(address, &error);
        assert_non_null(bench->client);
        dbus_free(address);
        dbus_connection_set_exit_on_disconnect(bench->client, FALSE);
        assert_true(dbus_connection_add_filter(bench->client, client_on_message, bench, NULL));
        assert_int_equal(
                bus_loop_attach_connection(bench->event, bench->client, NULL,
                                                    &bench->client_loop), 0);
}

static void bench_close(Bench *bench)
{
        bus_loop_free(bench->client_loop);
        dbus_connection_close(bench->client);
        /* A call that still waits and its connection hold each other, until all that has come is told. */
        while (dbus_connection_dispatch(bench->client) == DBUS_DISPATCH_DATA_REMAINS)
                ;
        dbus_connection_unref(bench->client);
        bench_drop_peer(bench); /* in the other order: the loop is freed after its connection */
        bus_loop_free(bench->peer_loop);
        bus_loop_free(bench->server_loop);
        dbus_server_disconnect(bench->server);
        dbus_server_unref(bench->server);
        /* A source that was left behind would hold the event loop. */
        assert_null(sd_event_unref(bench->event));
        dbus_shutdown();
}

static void client_on_reply(DBusPendingCall *call, void *userdata)
{
        Bench *bench = userdata;
        DBusMessage *reply = dbus_pending_call_steal_reply(call);

        if (dbus_message_get_type(reply) == DBUS_MESSAGE_TYPE_ERROR) {
                bench->n_errors++;
                strncpy(bench->error, dbus_message_get_error_name(reply), sizeof(bench->error) - 1);
        } else {
                bench->n_replies++;
        }
        dbus_message_unref(reply);
}

static void client_call(Bench *bench, size_t n_payload, int timeout_msec)
{
        DBusMessage *message;
        DBusPendingCall *call = NULL;
        uint8_t *payload = calloc(1, n_payload + 1);

        message = dbus_message_new_method_call(NULL, "/", "org.example.Test", "Call");
        assert_non_null(payload);
        assert_non_null(message);
        assert_true(dbus_message_append_args(message, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE, &payload,
                                             (int)n_payload, DBUS_TYPE_INVALID));
        assert_true(dbus_connection_send_with_reply(bench->client, message, &call, timeout_msec));
        assert_non_null(call);
        assert_true(dbus_pending_call_set_notify(call, client_on_reply, bench, NULL));
        dbus_pending_call_unref(call);
        dbus_message_unref(message);
        free(payload);
}

static void bench_turn(Bench *bench)
{
        assert_true(sd_event_run(bench->event, 10 * USEC_PER_SEC) > 0);
}

static void test_calls(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        for (unsigned i = 0; i < 300; i++)
                client_call(&bench, 10, 10000);
        while (bench.n_replies < 300)
                bench_turn(&bench);
        assert_int_equal(bench.n_calls, 300);
        assert_int_equal(bench.n_errors, 0);
        bench_close(&bench);
}

/* Larger than a socket's buffer: the write watch must go on and off again. */
static void test_large(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        for (unsigned i = 0; i < 4; i++)
                client_call(&bench, 3 * 1024 * 1024, 10000);
        while (bench.n_replies < 4)
                bench_turn(&bench);
        /* Nothing to do now: the loop must not spin on a writable socket. */
        while (sd_event_run(bench.event, 0) > 0)
                ;
        assert_int_equal(sd_event_run(bench.event, 0), 0);
        bench_close(&bench);
}

static void test_dispatch_is_bounded(void **state)
{
        Bench bench;
        unsigned n_max = 0;

        (void)state;
        bench_open(&bench);
        for (unsigned i = 0; i < 500; i++)
                client_call(&bench, 1, 10000);
        while (bench.n_replies < 500) {
                unsigned n_before = bench.n_calls;

                bench_turn(&bench);
                n_max = MAX(n_max, bench.n_calls - n_before);
        }
        assert_true(n_max > 1);
        assert_true(n_max <= 16);
        bench_close(&bench);
}

static void test_timeout(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        bench.conduct = CONDUCT_SILENT;
        client_call(&bench, 1, 50);
        while (bench.n_errors == 0)
                bench_turn(&bench);
        assert_string_equal(bench.error, DBUS_ERROR_NO_REPLY);
        bench_close(&bench);
}

static void run_until_client_lost(Conduct conduct)
{
        Bench bench;

        bench_open(&bench);
        bench.conduct = conduct;
        for (unsigned i = 0; i < 5; i++)
                client_call(&bench, 1, 60000);
        while (bench.n_lost < 1)
                bench_turn(&bench);
        assert_int_equal(bench.n_replies, 0);
        assert_true(bench.n_calls >= 1);
        bench_close(&bench);
}

static void test_close_in_handler(void **state)
{
        (void)state;
        run_until_client_lost(CONDUCT_CLOSE);
}

static void test_close_and_free_in_handler(void **state)
{
        (void)state;
        run_until_client_lost(CONDUCT_CLOSE_ALL);
}

static void test_free_in_handler(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        bench.conduct = CONDUCT_FREE_LOOP;
        for (unsigned i = 0; i < 5; i++)
                client_call(&bench, 1, 50);
        while (bench.n_errors < 5)
                bench_turn(&bench);
        assert_int_equal(bench.n_calls, 1); /* detached: the rest is not dispatched */
        bench_close(&bench);
}

static void test_client_goes(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        client_call(&bench, 1, 10000);
        while (bench.n_replies < 1)
                bench_turn(&bench);
        dbus_connection_close(bench.client);
        while (bench.n_disconnected < 1)
                bench_turn(&bench);
        bench_close(&bench);
}

/* Several connections come and go on one loop: their descriptors' numbers are used again. */
static void test_again_and_again(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        for (unsigned i = 1; i <= 20; i++) {
                DBusError error = DBUS_ERROR_INIT;
                char *address = dbus_server_get_address(bench.server);

                client_call(&bench, 1, 10000);
                while (bench.n_replies < i)
                        bench_turn(&bench);
                dbus_connection_close(bench.client);
                while (bench.n_disconnected < i)
                        bench_turn(&bench);
                bench.client_loop = bus_loop_free(bench.client_loop);
                dbus_connection_unref(bench.client);
                bench.peer_loop = bus_loop_free(bench.peer_loop);
                bench_drop_peer(&bench);

                bench.client = dbus_connection_open_private(address, &error);
                assert_non_null(bench.client);
                assert_int_equal(
                        bus_loop_attach_connection(bench.event, bench.client, NULL,
                                                    &bench.client_loop),
                        0);
                dbus_free(address);
        }
        bench_close(&bench);
}

/* --- turns that an owner gives --- */

typedef struct Owner {
        Bench bench;
        unsigned n_ready;
        bool goes_on;
} Owner;

static void on_ready(void *userdata)
{
        Owner *owner = userdata;

        owner->n_ready++;
}

static bool on_go_on(void *userdata)
{
        const Owner *owner = userdata;

        return owner->goes_on;
}

static void owner_open(Owner *owner)
{
        const BusLoopOwner turns = { .ready = on_ready, .userdata = owner, .priority = 5 };
        Bench *bench = &owner->bench;

        bench_open(bench);
        client_call(bench, 1, 10000);
        while (bench->n_replies < 1)
                bench_turn(bench);
        bench->peer_loop = bus_loop_free(bench->peer_loop);
        owner->goes_on = true;
        owner->n_ready = 0;
        assert_int_equal(bus_loop_attach_connection(bench->event, bench->peer, &turns,
                                                    &bench->peer_loop),
                         0);
        assert_int_equal(owner->n_ready, 1); /* what came before is not told again */
}

static BusTurnEnd owner_turn(Owner *owner, unsigned n_max)
{
        const BusTurn turn = { n_max, UINT64_MAX, on_go_on, owner };

        owner->n_ready = 0;
        return bus_loop_turn(owner->bench.peer_loop, &turn);
}

static void run_for_a_while(Bench *bench)
{
        for (unsigned i = 0; i < 50; i++)
                assert_true(sd_event_run(bench->event, USEC_PER_MSEC) >= 0);
}

/* It is told once, and nothing happens until it gives the turn; epoll does not spin meanwhile. */
static void test_nothing_outside_of_turns(void **state)
{
        Owner owner = { 0 };
        Bench *bench = &owner.bench;

        (void)state;
        owner_open(&owner);
        assert_int_equal(owner_turn(&owner, 16), BUS_TURN_IDLE);
        for (unsigned i = 0; i < 40; i++)
                client_call(bench, 10, 10000);
        run_for_a_while(bench);
        assert_int_equal(owner.n_ready, 1);
        assert_int_equal(bench->n_calls, 1);
        assert_int_equal(sd_event_run(bench->event, 0), 0);

        assert_int_equal(owner_turn(&owner, 3), BUS_TURN_MORE);
        assert_int_equal(bench->n_calls, 4);
        run_for_a_while(bench);
        assert_int_equal(owner.n_ready, 0); /* it knows */
        for (unsigned i = 0; bench->n_replies < 41; i++) {
                assert_true(i < 1000);
                if (owner_turn(&owner, 16) == BUS_TURN_IDLE)
                        run_for_a_while(bench);
        }
        assert_int_equal(bench->n_calls, 41);
        bench_close(bench);
}

/* Who is stopped is not read from: what it sends stays with it. */
static void test_stopped(void **state)
{
        Owner owner = { 0 };
        Bench *bench = &owner.bench;

        (void)state;
        owner_open(&owner);
        owner.goes_on = false;
        assert_int_equal(owner_turn(&owner, 16), BUS_TURN_STOPPED);
        for (unsigned i = 0; i < 200; i++)
                client_call(bench, 10000, 10000);
        run_for_a_while(bench);
        assert_int_equal(owner.n_ready, 0);
        assert_true(dbus_connection_get_outgoing_size(bench->client) > 1000000);
        owner.goes_on = true;
        for (unsigned i = 0; bench->n_replies < 201; i++) {
                assert_true(i < 10000);
                if (owner_turn(&owner, 16) == BUS_TURN_IDLE)
                        (void)sd_event_run(bench->event, 0);
                (void)sd_event_run(bench->event, 0);
        }
        bench_close(bench);
}

/* Who goes while he is stopped is noticed where there is something to write, and else when he is asked again. */
static void test_client_goes_in_its_turn(void **state)
{
        Owner owner = { 0 };
        Bench *bench = &owner.bench;

        (void)state;
        owner_open(&owner);
        owner.goes_on = false;
        assert_int_equal(owner_turn(&owner, 16), BUS_TURN_STOPPED);
        dbus_connection_close(bench->client);
        run_for_a_while(bench);
        assert_int_equal(sd_event_run(bench->event, 0), 0);
        owner.goes_on = true;
        for (unsigned i = 0; bench->n_disconnected < 1; i++) {
                assert_true(i < 100);
                if (owner_turn(&owner, 16) == BUS_TURN_IDLE)
                        (void)sd_event_run(bench->event, 0);
        }
        bench_close(bench);
}

static void send_large(DBusConnection *connection)
{
        char *text = calloc(1, 1 << 22);
        DBusMessage *signal;

        assert_non_null(text);
        memset(text, 'x', (1 << 22) - 1);
        signal = dbus_message_new_signal("/", "org.example.Test", "Large");
        assert_true(dbus_message_append_args(signal, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID));
        assert_true(dbus_connection_send(connection, signal, NULL));
        dbus_message_unref(signal);
        free(text);
        assert_true(dbus_connection_get_outgoing_size(connection) > 0);
}

static void wait_until_lost(Owner *owner)
{
        BusTurnEnd end = BUS_TURN_IDLE;

        for (unsigned i = 0; end != BUS_TURN_LOST; i++) {
                assert_true(i < 100);
                (void)sd_event_run(owner->bench.event, USEC_PER_MSEC);
                if (owner->n_ready > 0)
                        end = owner_turn(owner, 16);
        }
}

/* It has asked for more than its socket takes, reads nothing, and goes. */
static void test_client_goes_without_reading(void **state)
{
        Owner owner = { 0 };
        Bench *bench = &owner.bench;

        (void)state;
        owner_open(&owner);
        assert_int_equal(owner_turn(&owner, 16), BUS_TURN_IDLE);
        bench->client_loop = bus_loop_free(bench->client_loop);
        send_large(bench->peer);
        owner.goes_on = false;
        assert_int_equal(owner_turn(&owner, 16), BUS_TURN_STOPPED);
        dbus_connection_close(bench->client);
        wait_until_lost(&owner);
        bench_close(bench);
}

/* It is there, and its socket is ready for ever for what it has said that it will not take. */
static void test_client_will_never_read(void **state)
{
        Owner owner = { 0 };
        Bench *bench = &owner.bench;
        int fd = -1;

        (void)state;
        owner_open(&owner);
        assert_int_equal(owner_turn(&owner, 16), BUS_TURN_IDLE);
        bench->client_loop = bus_loop_free(bench->client_loop);
        assert_true(dbus_connection_get_socket(bench->client, &fd));
        assert_int_equal(shutdown(fd, SHUT_RD), 0);
        send_large(bench->peer);
        owner.goes_on = false;
        assert_int_not_equal(owner_turn(&owner, 16), BUS_TURN_IDLE);
        wait_until_lost(&owner);
        bench_close(bench);
}

static void free_in_turn(Conduct conduct)
{
        Owner owner = { 0 };
        Bench *bench = &owner.bench;

        owner_open(&owner);
        assert_int_equal(owner_turn(&owner, 16), BUS_TURN_IDLE);
        bench->conduct = conduct;
        for (unsigned i = 0; i < 5; i++)
                client_call(bench, 1, 50);
        while (owner.n_ready < 1)
                bench_turn(bench);
        (void)owner_turn(&owner, 16);
        if (conduct != CONDUCT_CLOSE)
                assert_int_equal(bench->n_calls, 2); /* detached: the rest is not dispatched */
        run_for_a_while(bench);
        bench_close(bench);
}

static void test_end_in_turn(void **state)
{
        (void)state;
        free_in_turn(CONDUCT_FREE_LOOP);
        free_in_turn(CONDUCT_CLOSE_ALL);
        free_in_turn(CONDUCT_CLOSE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_calls),
                cmocka_unit_test(test_large),
                cmocka_unit_test(test_dispatch_is_bounded),
                cmocka_unit_test(test_timeout),
                cmocka_unit_test(test_close_in_handler),
                cmocka_unit_test(test_close_and_free_in_handler),
                cmocka_unit_test(test_free_in_handler),
                cmocka_unit_test(test_client_goes),
                cmocka_unit_test(test_again_and_again),
                cmocka_unit_test(test_nothing_outside_of_turns),
                cmocka_unit_test(test_stopped),
                cmocka_unit_test(test_client_goes_in_its_turn),
                cmocka_unit_test(test_client_goes_without_reading),
                cmocka_unit_test(test_client_will_never_read),
                cmocka_unit_test(test_end_in_turn),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
