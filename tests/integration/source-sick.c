/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module that answers nothing but codes of its vendor's, and one that does so for some of its keys: the first is
 * initialised anew, by itself or when a person refreshes the source, the second goes on. By p11fault's log of C_Finalize.
 */
#include <setjmp.h>
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
#define PERSON    WIRE_OWNER(0)
#define SICK      "C_SignInit rv=0x80000123\n"
#define SICK_USEC (5 * USEC_PER_SEC) /* as long they must last until the module is taken for sick */
#define FEW       7                  /* one less than it takes */

/* One that need not be searched for any more. */
static void start_with_known_key(Fixture *fixture, WireReply *ret_key)
{
        start_with_key(fixture, ret_key);
        sign_ok(fixture, ret_key, ALGORITHM);
        log_clear(fixture);
}

static void refresh(Fixture *fixture, uint64_t owner)
{
        WireRequest request;
        WireReply reply;

        wire_request_init(&request, WIRE_REFRESH);
        request.owner = owner;
        call(fixture, &request, &reply);
        expect_status(&reply, 0);
        wire_reply_deinit(&reply);
}

static void test_module_that_stays_sick(void **state)
{
        Fixture *fixture = *state;
        unsigned n_failed = 0;
        WireReply key;

        start_with_known_key(fixture, &key);
        rules_set(fixture, SICK);
        while (log_count(fixture, "C_Finalize") == 0) {
                expect_sign(fixture, &key, CB_FAILED);
                n_failed++;
                if (n_failed > 2000)
                        broken("the module is not initialised anew");
                usleep(20000);
        }
        assert_true(n_failed >= 8);
        /* Who comes just then waits: nobody is told that there is no token. */
        rules_set(fixture, "");
        sign_ok(fixture, &key, ALGORITHM);
        assert_int_equal(fixture->state, SOURCE_READY);
        assert_int_equal(log_count(fixture, "C_Login"), 1);
        wire_reply_deinit(&key);
}

/* Others' signatures are the proof that it is the key's own trouble. */
static void test_one_key_is_no_sick_module(void **state)
{
        Fixture *fixture = *state;
        uint64_t begin_usec;
        WireReply key;

        start_with_known_key(fixture, &key);
        begin_usec = clock_monotonic_usec();
        while (clock_monotonic_usec() - begin_usec < SICK_USEC + SICK_USEC / 5) {
                rules_set(fixture, SICK);
                for (unsigned i = 0; i < FEW; i++)
                        expect_sign(fixture, &key, CB_FAILED);
                rules_set(fixture, "");
                sign_ok(fixture, &key, ALGORITHM);
        }
        assert_int_equal(log_count(fixture, "C_Finalize"), 0);
        wire_reply_deinit(&key);
}

/* However long it takes, and not for a code that is the request's own. */
static void test_few_are_no_sick_module(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        start_with_known_key(fixture, &key);
        rules_set(fixture, SICK);
        for (unsigned i = 0; i < FEW; i++) {
                expect_sign(fixture, &key, CB_FAILED);
                usleep(SICK_USEC / (FEW - 2));
        }
        rules_set(fixture, "C_SignInit rv=0x70\n");
        for (unsigned i = 0; i < 20; i++)
                expect_sign(fixture, &key, CB_NOT_SUPPORTED);
        assert_int_equal(log_count(fixture, "C_Finalize"), 0);
        wire_reply_deinit(&key);
}

static void test_refresh_initialises_a_sick_module(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        start_with_known_key(fixture, &key);
        rules_set(fixture, "C_SignInit count=1 rv=0x80000123\n");
        expect_sign(fixture, &key, CB_FAILED);
        refresh(fixture, 0); /* the broker's own, at a reload: nobody has complained */
        assert_int_equal(log_count(fixture, "C_Finalize"), 0);
        refresh(fixture, PERSON);
        assert_int_equal(log_count(fixture, "C_Finalize"), 1);
        sign_ok(fixture, &key, ALGORITHM);
        wire_reply_deinit(&key);
}

/* Of one that works nothing is kept, and nobody notices. */
static void test_refresh_is_a_fresh_look(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        start_with_known_key(fixture, &key);
        refresh(fixture, PERSON);
        assert_true(log_count(fixture, "C_CloseSession") >= 1);
        assert_true(log_count(fixture, "C_GetSlotList") >= 1);
        assert_int_equal(log_count(fixture, "C_Finalize"), 0);
        sign_ok(fixture, &key, ALGORITHM);
        assert_true(log_count(fixture, "C_OpenSession") >= 1);
        assert_true(log_count(fixture, "C_FindObjectsInit") >= 1);
        assert_int_equal(log_count(fixture, "C_Login"), 0);
        wire_reply_deinit(&key);
}

static void test_token_that_has_too_much_to_do(void **state)
{
        Fixture *fixture = *state;
        WireReply key;

        start_with_known_key(fixture, &key);
        rules_set(fixture, "C_SignInit count=1 rv=0x201\n");
        expect_sign(fixture, &key, CB_LIMIT_EXCEEDED);
        sign_ok(fixture, &key, ALGORITHM);
        assert_int_equal(log_count(fixture, "C_Finalize"), 0);
        wire_reply_deinit(&key);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup_faults, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_module_that_stays_sick),
                CASE(test_one_key_is_no_sick_module),
                CASE(test_few_are_no_sick_module),
                CASE(test_refresh_initialises_a_sick_module),
                CASE(test_refresh_is_a_fresh_look),
                CASE(test_token_that_has_too_much_to_do),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, bundles_setup, NULL);
}
