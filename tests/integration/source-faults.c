/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbroker-source on a token that fails in the ways that real ones do, and SoftHSM does not: p11fault between it and
 * SoftHSM. Each case checks what a caller is told and, by the module's log, what the token was asked.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pki/context.h"
#include "source-harness.h"

#define ALGORITHM ALGORITHM_ECDSA_SHA256

static void refresh(Fixture *fixture, int status)
{
        WireReply reply;

        simple_call(fixture, WIRE_REFRESH, NULL, -1, &reply);
        expect_status(&reply, status);
        wire_reply_deinit(&reply);
}

static void test_wrong_pin_once(void **state)
{
        Fixture *fixture = *state;

        write_text(fixture->pin_file, "9999", 0600);
        for (unsigned start = 0; start < 5; start++) {
                WireReply reply;

                source_start_until(fixture, SOURCE_LOCKED);
                for (unsigned i = 0; i < 20; i++) {
                        sign(fixture, "pkcs11:object=orders", ALGORITHM, &reply);
                        expect_status(&reply, CB_SOURCE_LOCKED);
                        wire_reply_deinit(&reply);
                }
                refresh(fixture, CB_SOURCE_LOCKED);
                assert_int_equal(source_stop(fixture), 0);
        }
        assert_int_equal(log_count(fixture, "C_Login"), 1);

        write_text(fixture->pin_file, PIN, 0600);
        source_start_until(fixture, SOURCE_READY);
        assert_int_equal(log_count(fixture, "C_Login"), 2);
}

static void expect_no_login(Fixture *fixture, const char *rule, const char *text)
{
        rules_set(fixture, rule);
        source_start_until(fixture, SOURCE_LOCKED);
        if (!strstr(fixture->state_text, text))
                broken("'%s' is not in: %s", text, fixture->state_text);
        assert_int_equal(source_stop(fixture), 0);
        assert_int_equal(log_count(fixture, "C_Login"), 0);
}

static void test_pin_flags(void **state)
{
        Fixture *fixture = *state;

        expect_no_login(fixture, "C_GetTokenInfo flags|=0x20000\n", "one more wrong PIN");
        expect_no_login(fixture, "C_GetTokenInfo flags|=0x40000\n", "the PIN is locked");
        expect_no_login(fixture, "C_GetTokenInfo flags|=0x80000\n", "changed");
        expect_no_login(fixture, "C_GetTokenInfo flags|=0x100\n", "pad");
        rules_set(fixture, "C_GetTokenInfo flags|=0x10000\n"); /* low alone is no reason */
        source_start_until(fixture, SOURCE_READY);
        assert_int_equal(log_count(fixture, "C_Login"), 1);
}

/* Many start at once on a token that has lost its log-in: one log-in for all. */
static void test_login_lost(void **state)
{
        Fixture *fixture = *state;
        WireReply key, reply;

        start_with_key(fixture, &key);
        rules_set(fixture, "C_SignInit count=8 delay=100 rv=0x101\n");
        for (unsigned i = 0; i < 8; i++)
                (void)send_sign(fixture, key.key_uri, ALGORITHM, 0);
        for (unsigned i = 0; i < 8; i++) {
                assert_true(next_reply(fixture, 20000, &reply));
                expect_signature(&key, ALGORITHM, &reply);
                wire_reply_deinit(&reply);
        }
        assert_true(log_count(fixture, "C_Login") <= 2);
        assert_true(log_count(fixture, "C_Login") >= 1);
        wire_reply_deinit(&key);
}

static void expect_retried(Fixture *fixture, const WireReply *key, const char *rule)
{
        rules_set(fixture, rule);
        sign_ok(fixture, key, ALGORITHM);
        assert_int_equal(fixture->state, SOURCE_READY);
}

static void test_lost_handles_are_retried(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        start_with_key(fixture, &key);
        expect_retried(fixture, &key, "C_SignInit count=1 rv=0xb3\n"); /* session handle */
        expect_retried(fixture, &key, "C_Sign count=1 rv=0xb0\n");     /* session closed */
        expect_retried(fixture, &key, "C_SignInit count=1 rv=0x60\n"); /* key handle */
        expect_retried(fixture, &key, "C_SignInit count=1 rv=0x82\n"); /* object handle */
        expect_retried(fixture, &key, "C_SignInit count=1 rv=0x90\n"); /* operation active */
        expect_retried(fixture, &key, "C_Sign count=1 rv=0x91\n"); /* operation not initialised */
        assert_int_equal(log_count(fixture, "C_CloseSession"), 6);
        rules_set(fixture, "C_Sign rv=0xb0\n"); /* not for ever */
        log_clear(fixture);
        expect_sign(fixture, &key, CB_SOURCE_UNAVAILABLE);
        assert_int_equal(log_count(fixture, "C_Sign 0xb0"), 2);
        wire_reply_deinit(&key);
}

static void test_device_errors(void **state)
{
        Fixture *fixture = *state;
        unsigned n_events;
        WireReply key;

        start_with_key(fixture, &key);
        rules_set(fixture, "C_Sign rv=0x30\n");
        n_events = fixture->n_events;
        for (unsigned i = 0; i < 100; i++)
                expect_sign(fixture, &key, CB_SOURCE_UNAVAILABLE);
        wait_state(fixture, SOURCE_UNAVAILABLE, 2);
        assert_true(log_count(fixture, "C_Sign ") <= 4);
        assert_true(fixture->n_events - n_events <= 3);

        rules_set(fixture, "");
        wait_state(fixture, SOURCE_READY, 10);
        sign_ok(fixture, &key, ALGORITHM);
        wire_reply_deinit(&key);
}

/* One is no reason to give the token up. */
static void test_single_device_error(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        start_with_key(fixture, &key);
        rules_set(fixture, "C_Sign count=1 rv=0x30\n");
        expect_sign(fixture, &key, CB_SOURCE_UNAVAILABLE);
        sign_ok(fixture, &key, ALGORITHM);
        assert_int_equal(fixture->state, SOURCE_READY);
        assert_int_equal(log_count(fixture, "C_Finalize"), 0);
        wire_reply_deinit(&key);
}

static void test_token_removed(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        start_with_key(fixture, &key);
        rules_set(fixture, "C_SignInit count=1 rv=0x32\n");
        expect_sign(fixture, &key, CB_SOURCE_UNAVAILABLE);
        wait_state(fixture, SOURCE_UNAVAILABLE, 2);
        wait_state(fixture, SOURCE_READY, 10);
        sign_ok(fixture, &key, ALGORITHM);
        wire_reply_deinit(&key);
}

static void test_module_not_initialized(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        start_with_key(fixture, &key);
        rules_set(fixture, "C_SignInit count=1 rv=0x190\n");
        expect_sign(fixture, &key, CB_SOURCE_UNAVAILABLE);
        wait_state(fixture, SOURCE_UNAVAILABLE, 2);
        wait_state(fixture, SOURCE_READY, 10);
        sign_ok(fixture, &key, ALGORITHM);
        wire_reply_deinit(&key);
}

static void test_initialize_fails_at_first(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Initialize count=1 rv=0x5\n");
        source_start_until(fixture, SOURCE_UNAVAILABLE);
        assert_non_null(strstr(fixture->state_text, "CKR_GENERAL_ERROR"));
        wait_state(fixture, SOURCE_READY, 10);
}

/* The main thread goes on reading, whatever hangs; and the end is the end. */
static void test_hangs(void **state)
{
        Fixture *fixture = *state;
        WireReply key, reply;
        uint64_t begin_usec;

        setting(fixture, "sessions", "2");
        start_with_key(fixture, &key);
        rules_set(fixture, "C_Sign hang\n");
        (void)send_sign(fixture, key.key_uri, ALGORITHM, SECONDS);
        (void)send_sign(fixture, key.key_uri, ALGORITHM, SECONDS);
        /* Both workers hang now, or soon. What waits behind them is answered in its time. */
        begin_usec = clock_monotonic_usec();
        (void)send_sign(fixture, key.key_uri, ALGORITHM, SECONDS / 2);
        assert_true(next_reply(fixture, 5000, &reply));
        assert_int_equal(reply.id, fixture->last_id);
        expect_status(&reply, CB_TIMED_OUT);
        wire_reply_deinit(&reply);
        assert_true(clock_monotonic_usec() - begin_usec < 2 * SECONDS);
        assert_int_equal(log_count(fixture, "C_Sign 0xdead"), 2);
        assert_int_equal(source_stop(fixture), 0);
        wire_reply_deinit(&key);
}

static void test_initialize_hangs(void **state)
{
        Fixture *fixture = *state;
        WireReply reply;

        rules_set(fixture, "C_Initialize hang\n");
        source_start_until(fixture, SOURCE_STARTING);
        (void)send_sign(fixture, "pkcs11:object=x", ALGORITHM, SECONDS);
        assert_true(next_reply(fixture, 5000, &reply));
        expect_status(&reply, CB_SOURCE_UNAVAILABLE);
        wire_reply_deinit(&reply);
        assert_int_equal(source_stop(fixture), 0);
}

static void test_login_hangs(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Login hang\n");
        source_start_until(fixture, SOURCE_STARTING);
        assert_int_equal(source_stop(fixture), 0);
}

/* A request that comes while the token starts waits for it. */
static void test_waits_for_start(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        rules_set(fixture, "C_Initialize delay=1000\n");
        source_start(fixture);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        wire_reply_deinit(&key);
}

static void test_crash(void **state)
{
        Fixture *fixture = *state;
        WireReply key, reply;
        int status;

        start_with_key(fixture, &key);
        rules_set(fixture, "C_Sign crash\n");
        (void)send_sign(fixture, key.key_uri, ALGORITHM, 0);
        assert_false(next_reply(fixture, 10000, &reply)); /* the end of the socket */
        status = source_stop(fixture);
        assert_int_not_equal(status, 0);
        wire_reply_deinit(&key);
}

static void test_flipped_bit_at_import(void **state)
{
        Fixture *fixture = *state;
        WireReply reply;

        rules_set(fixture, "C_Sign flipbit\n");
        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_RSA_2048, &reply);
        expect_status(&reply, CB_SOURCE_UNAVAILABLE);
        assert_non_null(strstr(reply.failure.text, "trial"));
        wire_reply_deinit(&reply);
        assert_int_equal(token_objects(fixture), 0);
}

static void test_import_rolls_back(void **state)
{
        static const char *const rules[] = {
                "C_CreateObject after=0 count=1 rv=0x31\n", /* private key */
                "C_CreateObject after=1 count=1 rv=0x31\n", /* public key */
                "C_CreateObject after=2 count=1 rv=0x6\n",  /* leaf */
                "C_CreateObject after=3 count=1 rv=0xe2\n", /* intermediate */
                "C_CreateObject after=4 count=1 rv=0x5\n",  /* root */
                "C_SignInit rv=0x68\n",                     /* trial */
                "C_SignInit rv=0x70\n",
        };
        Fixture *fixture = *state;
        WireReply reply;

        source_start_until(fixture, SOURCE_READY);
        for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
                rules_set(fixture, rules[i]);
                import_bundle(fixture, "orders", BUNDLE_P256, &reply);
                assert_int_not_equal(reply.failure.status, 0);
                wire_reply_deinit(&reply);
                if (token_objects(fixture) != 0)
                        broken("objects are left after: %s", rules[i]);
                assert_int_equal(fixture->state, SOURCE_READY);
        }
        rules_set(fixture, "C_CreateObject after=3 count=1 rv=0xb3\n"); /* the session: once more */
        import_bundle(fixture, "orders", BUNDLE_P256, &reply);
        expect_status(&reply, 0);
        wire_reply_deinit(&reply);
        assert_int_equal(token_objects(fixture), 5);
}

static void test_token_without_pss(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        rules_set(fixture, "C_GetMechanismInfo type=0xd rv=0x70\n");
        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_RSA_2048, &key);
        expect_status(&key, 0);
        assert_int_equal(key.algorithms, algorithms_of_key(KEY_TYPE_RSA_2048));
        sign_ok(fixture, &key, ALGORITHM_RSA_PSS_SHA256);
        sign_ok(fixture, &key, ALGORITHM_RSA_PSS_SHA384);
        sign_ok(fixture, &key, ALGORITHM_RSA_PSS_SHA512);
        wire_reply_deinit(&key);

        assert_int_equal(source_stop(fixture), 0);
        rules_set(fixture,
                  "C_GetMechanismInfo type=0xd rv=0x70\nC_GetMechanismInfo type=0x3 rv=0x70\n");
        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_RSA_2048, &key);
        expect_status(&key, 0);
        assert_int_equal(key.algorithms & ALGORITHM_BIT(ALGORITHM_RSA_PSS_SHA256), 0);
        assert_int_not_equal(key.algorithms & ALGORITHM_BIT(ALGORITHM_RSA_PKCS1_SHA256), 0);
        wire_reply_deinit(&key);
}

/* It lists PSS, and refuses it when it comes to it. */
static void test_pss_refused(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_RSA_2048, &key);
        expect_status(&key, 0);
        rules_set(fixture, "C_SignInit count=1 rv=0x71\n");
        sign_ok(fixture, &key, ALGORITHM_RSA_PSS_SHA256);
        wire_reply_deinit(&key);
}

static void test_token_without_eddsa(void **state)
{
        Fixture *fixture = *state;
        WireReply reply;

        rules_set(fixture, "C_GetMechanismInfo type=0x1057 rv=0x70\n");
        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_ED25519, &reply);
        expect_status(&reply, CB_NOT_SUPPORTED);
        assert_non_null(strstr(reply.failure.text, "CKM_EDDSA"));
        wire_reply_deinit(&reply);
        assert_int_equal(token_objects(fixture), 0);
}

static void sign_many(Fixture *fixture, const WireReply *key, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                (void)send_sign(fixture, key->key_uri, ALGORITHM, 0);
        for (unsigned i = 0; i < n; i++) {
                WireReply reply;

                assert_true(next_reply(fixture, 30000, &reply));
                expect_signature(key, ALGORITHM, &reply);
                wire_reply_deinit(&reply);
        }
}

static void test_few_sessions(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        rules_set(fixture, "C_OpenSession sessions=4\nC_Sign delay=20\n");
        start_with_key(fixture, &key);
        sign_many(fixture, &key, 64);
        assert_true(log_count(fixture, "C_OpenSession 0xb1") >= 1);
        assert_true(log_count(fixture, "C_OpenSession 0xb1") <= 8);
        wire_reply_deinit(&key);
}

static void test_module_cannot_lock(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        rules_set(fixture, "C_Initialize count=1 rv=0xa\n"
                           "C_SignInit alone\nC_Sign alone delay=5\nC_GetTokenInfo alone\n"
                           "C_OpenSession alone\nC_FindObjectsInit alone\n");
        source_start_until(fixture, SOURCE_DEGRADED);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        sign_many(fixture, &key, 64);
        wire_reply_deinit(&key);
}

/* The PIN is changed on the token while we run: one refused log-in, then none. */
static void test_pin_refused_later(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        start_with_key(fixture, &key);
        rules_set(fixture, "C_SignInit count=1 rv=0x101\nC_Login rv=0xa0\n");
        expect_sign(fixture, &key, CB_SOURCE_LOCKED);
        wait_state(fixture, SOURCE_LOCKED, 1);
        for (unsigned i = 0; i < 10; i++)
                expect_sign(fixture, &key, CB_SOURCE_LOCKED);
        refresh(fixture, CB_SOURCE_LOCKED);
        assert_int_equal(log_count(fixture, "C_Login"), 1);
        wire_reply_deinit(&key);
}

/* The same for a key that wants the PIN for each signature, with eight at once. */
static void test_context_login_refused(void **state)
{
        Fixture *fixture = *state;
        WireReply reply;

        add_key_for_each_use(fixture, "always");
        source_start_until(fixture, SOURCE_READY);
        log_clear(fixture);
        rules_set(fixture, "C_Login delay=50 rv=0xa0\n");
        for (unsigned i = 0; i < 8; i++)
                (void)send_sign(fixture, "pkcs11:token=unit;object=always", ALGORITHM, 0);
        for (unsigned i = 0; i < 8; i++) {
                assert_true(next_reply(fixture, 20000, &reply));
                expect_status(&reply, CB_SOURCE_LOCKED);
                wire_reply_deinit(&reply);
        }
        wait_state(fixture, SOURCE_LOCKED, 2);
        assert_int_equal(log_count(fixture, "C_Login"), 1);
}

static void test_already_logged_in(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Login rv=0x100\n");
        source_start_until(fixture, SOURCE_READY);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup_faults, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_wrong_pin_once),
                CASE(test_pin_flags),
                CASE(test_login_lost),
                CASE(test_lost_handles_are_retried),
                CASE(test_device_errors),
                CASE(test_single_device_error),
                CASE(test_token_removed),
                CASE(test_module_not_initialized),
                CASE(test_initialize_fails_at_first),
                CASE(test_hangs),
                CASE(test_initialize_hangs),
                CASE(test_login_hangs),
                CASE(test_waits_for_start),
                CASE(test_crash),
                CASE(test_flipped_bit_at_import),
                CASE(test_import_rolls_back),
                CASE(test_token_without_pss),
                CASE(test_pss_refused),
                CASE(test_token_without_eddsa),
                CASE(test_few_sessions),
                CASE(test_module_cannot_lock),
                CASE(test_pin_refused_later),
                CASE(test_context_login_refused),
                CASE(test_already_logged_in),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, bundles_setup, NULL);
}
