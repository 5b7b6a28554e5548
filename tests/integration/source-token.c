/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbroker-source and its token: found by its URI, away and back, named in bytes that are no text; and its PIN: missing,
 * wrong, given later.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pki/context.h"
#include "source-harness.h"

static void move(const char *from, const char *to)
{
        assert_int_equal(rename(from, to), 0);
}

static void test_token_away_and_back(void **state)
{
        Fixture *fixture = *state;
        char tokens[160], gone[160];
        WireReply key, reply;

        data_path(fixture, "tokens", tokens);
        data_path(fixture, "gone", gone);
        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA256);

        move(tokens, gone);
        assert_int_equal(mkdir(tokens, 0700), 0);
        sign(fixture, key.key_uri, ALGORITHM_ECDSA_SHA256, &reply);
        expect_status(&reply, CB_SOURCE_UNAVAILABLE);
        wire_reply_deinit(&reply);
        wait_state(fixture, SOURCE_UNAVAILABLE, 5);
        lookup(fixture, key.key_uri, &reply);
        expect_status(&reply, CB_SOURCE_UNAVAILABLE);
        wire_reply_deinit(&reply);

        assert_int_equal(rmdir(tokens), 0);
        move(gone, tokens);
        wait_state(fixture, SOURCE_READY, 10);
        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA256);
        wire_reply_deinit(&key);
}

/* Nobody asks: the keeper sees it by itself. */
static void test_token_away_unasked(void **state)
{
        Fixture *fixture = *state;
        char tokens[160], gone[160];

        data_path(fixture, "tokens", tokens);
        data_path(fixture, "gone", gone);
        source_start_until(fixture, SOURCE_READY);
        move(tokens, gone);
        assert_int_equal(mkdir(tokens, 0700), 0);
        wait_state(fixture, SOURCE_UNAVAILABLE, 5);
}

static void test_no_such_token(void **state)
{
        Fixture *fixture = *state;

        setting(fixture, "uri", "pkcs11:token=another");
        source_start_until(fixture, SOURCE_UNAVAILABLE);
        assert_non_null(strstr(fixture->state_text, "'unit'"));
}

static void test_two_tokens_fit(void **state)
{
        Fixture *fixture = *state;

        add_token(fixture, "unit");
        source_start_until(fixture, SOURCE_UNAVAILABLE);
        assert_non_null(strstr(fixture->state_text, "2 tokens"));
        assert_non_null(strstr(fixture->state_text, "serial="));
}

static void test_token_comes_later(void **state)
{
        Fixture *fixture = *state;

        setting(fixture, "uri", "pkcs11:token=later");
        source_start_until(fixture, SOURCE_UNAVAILABLE);
        add_token(fixture, "later");
        wait_state(fixture, SOURCE_READY, 10);
}

static void test_label_not_utf8(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        add_token(fixture, "b\xff\x01\x1b%s");
        setting(fixture, "uri", "pkcs11:token=none");
        source_start_until(fixture, SOURCE_UNAVAILABLE);
        assert_non_null(strstr(fixture->state_text, "b\\xff\\x01\\x1b%s"));
        assert_int_equal(source_stop(fixture), 0);

        setting(fixture, "uri", "pkcs11:token=b%FF%01%1B%25s");
        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA256);
        wire_reply_deinit(&key);
}

static void test_no_module(void **state)
{
        Fixture *fixture = *state;

        setting(fixture, "module", "/nonexistent/module.so");
        source_start_until(fixture, SOURCE_UNAVAILABLE);
        assert_non_null(strstr(fixture->state_text, "/nonexistent/module.so"));
}

static void test_configured_modules(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        setting(fixture, "module", NULL);
        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA256);
        wire_reply_deinit(&key);
}

static void expect_locked(Fixture *fixture, const char *text)
{
        WireReply reply;

        source_start_until(fixture, SOURCE_LOCKED);
        if (!strstr(fixture->state_text, text))
                broken("'%s' is not in: %s", text, fixture->state_text);
        sign(fixture, "pkcs11:object=x", ALGORITHM_ECDSA_SHA256, &reply);
        expect_status(&reply, CB_SOURCE_LOCKED);
        wire_reply_deinit(&reply);
        assert_int_equal(source_stop(fixture), 0);
}

static void test_pin_file(void **state)
{
        Fixture *fixture = *state;

        unlink(fixture->pin_file);
        expect_locked(fixture, "cannot be read");
        write_text(fixture->pin_file, "\n", 0600);
        expect_locked(fixture, "empty");
        write_text(fixture->pin_file, PIN, 0660); /* whoever may write it could try PINs */
        expect_locked(fixture, "may be written");
        setting(fixture, "pin-file", NULL);
        expect_locked(fixture, "no pin-file");
}

static void unlock(Fixture *fixture, const char *pin, int status)
{
        WireReply reply;

        simple_call(fixture, WIRE_UNLOCK, NULL, memory_fd(pin), &reply);
        expect_status(&reply, status);
        wire_reply_deinit(&reply);
}

static void refresh(Fixture *fixture, int status)
{
        WireReply reply;

        simple_call(fixture, WIRE_REFRESH, NULL, -1, &reply);
        expect_status(&reply, status);
        wire_reply_deinit(&reply);
}

static void test_unlock(void **state)
{
        Fixture *fixture = *state;
        char record[160];
        WireReply key;
        struct stat st;

        data_path(fixture, "../state/source-unit/pin-refused", record);
        write_text(fixture->pin_file, "9999", 0600);
        source_start_until(fixture, SOURCE_LOCKED);
        assert_int_equal(stat(record, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        unlock(fixture, "", CB_INVALID_ARGUMENT);
        unlock(fixture, "8888", CB_SOURCE_LOCKED);
        refresh(fixture, CB_SOURCE_LOCKED);
        unlock(fixture, PIN "\n", 0);
        wait_state(fixture, SOURCE_READY, 1);
        assert_int_not_equal(stat(record, &st), 0);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA256);
        refresh(fixture, 0);
        wire_reply_deinit(&key);
}

static void test_new_pin_file(void **state)
{
        Fixture *fixture = *state;

        write_text(fixture->pin_file, "9999", 0600);
        source_start_until(fixture, SOURCE_LOCKED);
        refresh(fixture, CB_SOURCE_LOCKED);
        write_text(fixture->pin_file, PIN, 0600);
        refresh(fixture, 0);
        wait_state(fixture, SOURCE_READY, 1);
}

/* The PIN that an unlock brought outlives the token's absence. */
static void test_unlock_is_remembered(void **state)
{
        Fixture *fixture = *state;
        char tokens[160], gone[160];

        data_path(fixture, "tokens", tokens);
        data_path(fixture, "gone", gone);
        setting(fixture, "pin-file", NULL);
        source_start_until(fixture, SOURCE_LOCKED);
        unlock(fixture, PIN, 0);
        wait_state(fixture, SOURCE_READY, 1);
        move(tokens, gone);
        assert_int_equal(mkdir(tokens, 0700), 0);
        wait_state(fixture, SOURCE_UNAVAILABLE, 5);
        assert_int_equal(rmdir(tokens), 0);
        move(gone, tokens);
        wait_state(fixture, SOURCE_READY, 10);
}

static void test_ends_with_the_socket(void **state)
{
        Fixture *fixture = *state;

        source_start_until(fixture, SOURCE_READY);
        assert_int_equal(source_stop(fixture), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_token_away_and_back),
                CASE(test_token_away_unasked),
                CASE(test_no_such_token),
                CASE(test_two_tokens_fit),
                CASE(test_token_comes_later),
                CASE(test_label_not_utf8),
                CASE(test_no_module),
                CASE(test_configured_modules),
                CASE(test_pin_file),
                CASE(test_unlock),
                CASE(test_new_pin_file),
                CASE(test_unlock_is_remembered),
                CASE(test_ends_with_the_socket),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, bundles_setup, NULL);
}
