/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbroker-source on a token that says lengths and numbers that are not so: p11fault between it and SoftHSM. It reads
 * and writes nothing beyond what is there, says what is wrong, and goes on with the token.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pki/context.h"
#include "source-harness.h"

#define ALGORITHM ALGORITHM_ECDSA_SHA256

static void test_lengths_of_signatures(void **state)
{
        static const char *const rules[] = {
                "C_Sign count=1 n=0\n",
                "C_Sign count=1 n=63\n",
                "C_Sign count=1 n=100000000\n",
                "C_Sign count=1 n=0xffffffffffffffff\n", /* CK_UNAVAILABLE_INFORMATION */
        };
        Fixture *fixture = *state;
        WireReply key;

        start_with_key(fixture, &key);
        for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
                rules_set(fixture, rules[i]);
                expect_sign(fixture, &key, CB_SOURCE_UNAVAILABLE);
                sign_ok(fixture, &key, ALGORITHM);
        }
        rules_set(fixture, "C_Sign count=2 rv=0x150 n=100000\n"); /* the operation would go on */
        log_clear(fixture);
        expect_sign(fixture, &key, CB_FAILED);
        expect_sign(fixture, &key, CB_FAILED);
        assert_int_equal(log_count(fixture, "C_CloseSession"), 2);
        sign_ok(fixture, &key, ALGORITHM);
        assert_int_equal(fixture->state, SOURCE_READY);
        wire_reply_deinit(&key);
}

static void test_lengths_of_objects(void **state)
{
        static const struct {
                const char *rule;
                int status;
        } rows[] = {
                { "C_GetAttributeValue type=0x180 n=0\n", CB_NOT_SUPPORTED }, /* CKA_EC_PARAMS */
                { "C_GetAttributeValue type=0x180 n=100000000\n", CB_NOT_SUPPORTED },
                { "C_GetAttributeValue type=0x180 n=0xffffffffffffffff\n", CB_NOT_SUPPORTED },
                { "C_GetAttributeValue type=0x180 after=1 n=100000000\n", CB_NOT_SUPPORTED },
                { "C_GetAttributeValue type=0x180 after=1 rv=0x150\n", CB_FAILED },
                { "C_FindObjects n=100000000\n", CB_SOURCE_UNAVAILABLE },
                { "C_FindObjects n=0xffffffffffffffff\n", CB_SOURCE_UNAVAILABLE },
        };
        Fixture *fixture = *state;
        WireReply key, reply;

        start_with_key(fixture, &key);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                rules_set(fixture, rows[i].rule);
                lookup(fixture, key.key_uri, &reply);
                if (reply.failure.status != rows[i].status)
                        broken("%d, not %d, after: %s", reply.failure.status, rows[i].status,
                               rows[i].rule);
                wire_reply_deinit(&reply);
                rules_set(fixture, "");
                sign_ok(fixture, &key, ALGORITHM);
        }
        assert_int_equal(fixture->state, SOURCE_READY);
        wire_reply_deinit(&key);
}

/* Between the call that asks how many and the one that takes them: the list grows, shrinks, or is said to. */
static void test_slot_list_changes(void **state)
{
        static const char *const rules[] = {
                "C_GetSlotList type=0 count=1 n=0\n",
                "C_GetSlotList type=0 n=3000\n",
                "C_GetSlotList type=0 n=0xffffffffffffffff\n",
                "C_GetSlotList type=1 count=2 rv=0x150 n=9\n",
                "C_GetSlotList type=1 n=100000000\n",
        };
        Fixture *fixture = *state;

        for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
                rules_set(fixture, rules[i]);
                source_start_until(fixture, SOURCE_READY);
                assert_int_equal(source_stop(fixture), 0);
        }
        log_clear(fixture);
        rules_set(fixture, "C_GetSlotList type=1 count=3 rv=0x150\n"); /* not for ever */
        source_start_until(fixture, SOURCE_UNAVAILABLE);
        assert_int_equal(log_count(fixture, "C_GetSlotList 0x150"), 3);
        wait_state(fixture, SOURCE_READY, 10);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup_faults, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_lengths_of_signatures),
                CASE(test_lengths_of_objects),
                CASE(test_slot_list_changes),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, bundles_setup, NULL);
}
