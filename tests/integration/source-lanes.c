/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures beside management, in certbroker-source alone: whose work waits for whose. p11fault makes the token's
 * calls slow, or has them never return.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pki/context.h"
#include "source-harness.h"

#define ALGORITHM   ALGORITHM_ECDSA_SHA256
#define N_MANAGERS  3 /* as many of them as there are workers */
#define READERS_MAX 64
#define OWNER_ROOT  WIRE_OWNER(0)
#define OWNER(i)    WIRE_OWNER(1000 + (i))
#define SEVERAL     "C_GetTokenInfo vendor\n" /* a token that works at several objects at once, as SoftHSM does not */

/* One that need not be searched for any more. */
static void start_with_known_key(Fixture *fixture, WireReply *ret_key)
{
        start_with_key(fixture, ret_key);
        sign_ok(fixture, ret_key, ALGORITHM);
}

/* bundle -1: a good one. */
static uint64_t send_import(Fixture *fixture, uint64_t owner, int bundle)
{
        WireRequest request;

        wire_request_init(&request, WIRE_IMPORT);
        request.owner = owner;
        request.name = strdup("more");
        request.generation = 1;
        request.timeout_usec = 30 * SECONDS;
        request.fds[0] = bundle >= 0 ? bundle : memory_fd(bundle_pem(BUNDLE_P256));
        request.fds[1] = memory_fd("");
        return send_request(fixture, &request);
}

static uint64_t send_lookup(Fixture *fixture, uint64_t owner, const char *key_uri)
{
        WireRequest request;

        wire_request_init(&request, WIRE_LOOKUP);
        request.owner = owner;
        request.uri = strdup(key_uri);
        return send_request(fixture, &request);
}

static void expect_next(Fixture *fixture, uint64_t id, int status)
{
        WireReply reply;

        assert_true(next_reply(fixture, 20000, &reply));
        assert_int_equal(reply.id, id);
        expect_status(&reply, status);
        wire_reply_deinit(&reply);
}

static void wait_for_log(Fixture *fixture, const char *line_start, unsigned n)
{
        for (unsigned i = 0; i < 2000 && log_count(fixture, line_start) < n; i++)
                usleep(10000);
        assert_int_equal(log_count(fixture, line_start), n);
}

/* With one session for signatures, and with all that management may have hanging. */
static void test_signs_while_management_hangs(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        setting(fixture, "sessions", "1");
        rules_set(fixture, SEVERAL);
        start_with_known_key(fixture, &key);
        rules_set(fixture, SEVERAL "C_CreateObject hang\n");
        for (unsigned i = 0; i < 2 * N_MANAGERS; i++)
                (void)send_import(fixture, OWNER(i), -1);
        wait_for_log(fixture, "C_CreateObject 0xdead", N_MANAGERS - 1);
        /* Only now: a look-up may have any worker, an import leaves one. */
        rules_set(fixture, SEVERAL "C_CreateObject hang\nC_FindObjectsInit hang\n");
        for (unsigned i = 0; i < N_MANAGERS; i++)
                (void)send_lookup(fixture, OWNER(100 + i), key.key_uri);
        wait_for_log(fixture, "C_FindObjectsInit 0xdead", 1);
        for (unsigned i = 0; i < 20; i++)
                sign_ok(fixture, &key, ALGORITHM);
        assert_int_equal(log_count(fixture, "C_CreateObject 0xdead"), N_MANAGERS - 1);
        assert_int_equal(source_stop(fixture), 0);
        wire_reply_deinit(&key);
}

/* What may take long leaves a worker to what does not, whoever asks. */
static void test_slow_management_leaves_a_worker(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        rules_set(fixture, SEVERAL);
        start_with_known_key(fixture, &key);
        rules_set(fixture, SEVERAL "C_CreateObject hang\n");
        for (unsigned i = 0; i < 2 * N_MANAGERS; i++)
                (void)send_import(fixture, OWNER(i), -1);
        expect_next(fixture, send_lookup(fixture, OWNER(100), key.key_uri), 0);
        expect_next(fixture, send_lookup(fixture, 0, key.key_uri), 0);
        assert_int_equal(source_stop(fixture), 0);
        wire_reply_deinit(&key);
}

/* Six jobs of one owner are one neighbour to the one job of another. */
static void test_owners_have_turns(void **state)
{
        enum { N = 6 };
        Fixture *fixture = *state;
        uint64_t ids[N], other;
        WireReply key;

        start_with_known_key(fixture, &key);
        rules_set(fixture, "C_FindObjectsInit delay=30\n");
        for (unsigned i = 0; i < N; i++)
                ids[i] = send_lookup(fixture, OWNER(1), key.key_uri);
        other = send_lookup(fixture, OWNER(2), key.key_uri);
        for (unsigned i = 0, n = 0; i <= N; i++) {
                WireReply reply;

                assert_true(next_reply(fixture, 20000, &reply));
                expect_status(&reply, 0);
                if (reply.id == other)
                        assert_true(i <= 2);
                else
                        assert_int_equal(reply.id, ids[n++]); /* in their order: one at a time */
                wire_reply_deinit(&reply);
        }
        wire_reply_deinit(&key);
}

/* One session beside the log-in's: it serves both, and signatures first. */
static void test_one_session_for_both(void **state)
{
        enum { N = 8 };
        Fixture *fixture = *state;
        uint64_t import;
        WireReply key;
        bool imported = false;

        rules_set(fixture, "C_OpenSession sessions=2\n");
        start_with_known_key(fixture, &key);
        rules_set(fixture, "C_OpenSession sessions=2\nC_Sign delay=50\n"); /* one of them is the log-in's */
        for (unsigned i = 0; i < N; i++)
                (void)send_sign(fixture, key.key_uri, ALGORITHM, 0);
        import = send_import(fixture, OWNER(1), -1);
        for (unsigned i = 0; i <= N; i++) {
                WireReply reply;

                assert_true(next_reply(fixture, 20000, &reply));
                expect_status(&reply, 0);
                imported |= reply.id == import;
                if (reply.id == import)
                        assert_true(i >= N - 1);
                wire_reply_deinit(&reply);
        }
        assert_true(imported);
        wire_reply_deinit(&key);
}

/* Pipes that do not end wait for nobody but their owners; what was read of others lies in locked memory. */
static void test_few_descriptors_are_read_at_once(void **state)
{
        enum { N = READERS_MAX + 10 };
        Fixture *fixture = *state;
        int writers[N];
        WireReply key;
        uint64_t last;

        start_with_known_key(fixture, &key);
        for (unsigned i = 0; i < N; i++) {
                int fds[2];

                assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                writers[i] = fds[1];
                (void)send_import(fixture, OWNER(i), fds[0]);
        }
        sign_ok(fixture, &key, ALGORITHM);
        expect_next(fixture, send_lookup(fixture, OWNER(N), key.key_uri), 0);
        expect_next(fixture, send_import(fixture, OWNER_ROOT, -1), 0);
        last = send_import(fixture, OWNER(N), -1);
        for (unsigned i = 0; i < N; i++)
                close(writers[i]);
        for (unsigned i = 0; i <= N; i++) {
                WireReply reply;

                assert_true(next_reply(fixture, 20000, &reply));
                expect_status(&reply, reply.id == last ? 0 : CB_BAD_BUNDLE);
                wire_reply_deinit(&reply);
        }
        wire_reply_deinit(&key);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup_faults, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_signs_while_management_hangs),
                CASE(test_slow_management_leaves_a_worker),
                CASE(test_owners_have_turns),
                CASE(test_one_session_for_both),
                CASE(test_few_descriptors_are_read_at_once),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, bundles_setup, NULL);
}
