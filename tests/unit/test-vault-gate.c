/* SPDX-License-Identifier: Apache-2.0 */
/* The gate before a vault, and the objects behind it: what each failure is evidence of, and what waits for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "source/azure-key-vault/gate.h"
#include "source/azure-key-vault/objects.h"

static void note(Gate *gate, GateUse use, GateOutcome outcome, uint64_t retry_after_usec,
                 uint64_t now_usec)
{
        gate_note(gate, &(GateNote){ .use = use,
                                     .outcome = outcome,
                                     .with_token = true,
                                     .retry_after_usec = retry_after_usec,
                                     .now_usec = now_usec });
}

static void note_probe(Gate *gate, GateOutcome outcome, bool with_token, uint64_t retry_after_usec,
                       uint64_t now_usec)
{
        gate_note(gate, &(GateNote){ .use = GATE_SIGNS,
                                     .outcome = outcome,
                                     .probe = true,
                                     .with_token = with_token,
                                     .retry_after_usec = retry_after_usec,
                                     .now_usec = now_usec });
}

static void doubt(Gate *gate, GateUse use, uint64_t object, bool first, uint64_t now_usec)
{
        gate_doubt(gate,
                   &(GateNote){ .use = use,
                                .outcome = GATE_FAILED,
                                .with_token = true,
                                .retry_after_usec = UINT64_MAX,
                                .now_usec = now_usec },
                   object, first);
}

/* In ten seconds no more than the vault's 4000 units pass, whoever asks how often. */
static void test_budget(void **state)
{
        uint64_t wait_usec, start_usec = 77 * USEC_PER_SEC;
        unsigned n = 0;
        Gate gate;

        (void)state;
        gate_init(&gate);
        for (uint64_t usec = 0; usec < 10 * USEC_PER_SEC; usec += USEC_PER_MSEC)
                n += gate_enter(&gate, GATE_SIGNS, 1, start_usec + usec, &wait_usec) == GATE_OPEN;
        assert_true(n > 3900 && n <= 4000);
        assert_int_equal(
                gate_enter(&gate, GATE_SIGNS, 2000, start_usec + 10 * USEC_PER_SEC, &wait_usec),
                GATE_SPENT);
        assert_true(wait_usec > 0);
}

static void test_breaker(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Gate gate;

        (void)state;
        gate_init(&gate);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_OPEN);
                note(&gate, GATE_SIGNS, GATE_UNREACHABLE, UINT64_MAX, now_usec);
        }
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_CLOSED);
        assert_false(gate_probe(&gate, now_usec));
        now_usec += 4 * USEC_PER_SEC;
        assert_true(gate_probe(&gate, now_usec));
        assert_false(gate_probe(&gate, now_usec)); /* one at a time */
        note_probe(&gate, GATE_UNREACHABLE, false, UINT64_MAX, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_CLOSED);
        now_usec += 4 * USEC_PER_SEC;
        assert_true(gate_probe(&gate, now_usec));
        note_probe(&gate, GATE_GREETED, false, UINT64_MAX, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_OPEN);
}

/* What fails behind the door: a greeting at it opens nothing, and the vault's word on how long is kept. */
static void test_failing_behind_the_door(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Gate gate;

        (void)state;
        gate_init(&gate);
        assert_false(gate_probe(&gate, now_usec));
        doubt(&gate, GATE_SIGNS, 1, true, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_OPEN);
        assert_true(gate_probe(&gate, now_usec));
        note_probe(&gate, GATE_FAILED, true, 30 * USEC_PER_SEC, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_CLOSED);
        assert_int_equal(wait_usec, 30 * USEC_PER_SEC);
        note(&gate, GATE_SIGNS, GATE_FAILED, UINT64_MAX, now_usec); /* that was on its way */
        note(&gate, GATE_SIGNS, GATE_GREETED, UINT64_MAX, now_usec);
        assert_false(gate_probe(&gate, now_usec + 29 * USEC_PER_SEC));
        for (unsigned i = 0; i < 10; i++) {
                now_usec += 30 * USEC_PER_SEC;
                assert_true(gate_probe(&gate, now_usec));
                note_probe(&gate, i % 2 ? GATE_GREETED : GATE_FAILED, i % 2 == 0, UINT64_MAX, now_usec);
                assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_CLOSED);
                assert_true(wait_usec <= 4 * USEC_PER_SEC);
        }
        now_usec += 4 * USEC_PER_SEC;
        assert_true(gate_probe(&gate, now_usec));
        note_probe(&gate, GATE_ANSWERED, true, UINT64_MAX, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_OPEN);
}

/* One object's failures close nothing, however many; a probe looks, once in a while. */
static void test_one_object_fails(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        unsigned n_probes = 0;
        Gate gate;

        (void)state;
        gate_init(&gate);
        for (unsigned i = 0; i < 300; i++) {
                note(&gate, GATE_SIGNS, GATE_FAILED, UINT64_MAX, now_usec);
                doubt(&gate, GATE_SIGNS, 7, i == 0, now_usec);
                assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_OPEN);
                if (gate_probe(&gate, now_usec)) {
                        n_probes++;
                        note_probe(&gate, GATE_ANSWERED, true, UINT64_MAX, now_usec);
                }
                now_usec += USEC_PER_SEC;
        }
        assert_in_range(n_probes, 2, 6);
}

/* None of several keys signs, though the vault answers: one is tried at a time, until one is signed with. */
static void test_several_objects_fail(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Gate gate;

        (void)state;
        gate_init(&gate);
        for (uint64_t object = 1; object <= GATE_ILL_MAX; object++) {
                assert_true(gate_may_try(&gate, now_usec, &wait_usec));
                doubt(&gate, GATE_SIGNS, object, true, now_usec);
                doubt(&gate, GATE_SIGNS, object, false, now_usec);
                if (gate_probe(&gate, now_usec))
                        note_probe(&gate, GATE_ANSWERED, true, UINT64_MAX, now_usec);
        }
        assert_false(gate_may_try(&gate, now_usec, &wait_usec));
        assert_true(wait_usec <= 4 * USEC_PER_SEC);
        /* what did not fail passes as ever */
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_OPEN);
        now_usec += 4 * USEC_PER_SEC;
        assert_true(gate_may_try(&gate, now_usec, &wait_usec));
        assert_false(gate_may_try(&gate, now_usec, &wait_usec));
        note(&gate, GATE_SIGNS, GATE_FAILED, 30 * USEC_PER_SEC, now_usec);
        assert_false(gate_may_try(&gate, now_usec, &wait_usec));
        assert_int_equal(wait_usec, 30 * USEC_PER_SEC);
        note(&gate, GATE_MANAGES, GATE_ANSWERED, UINT64_MAX, now_usec);
        assert_false(gate_may_try(&gate, now_usec, &wait_usec));
        note(&gate, GATE_SIGNS, GATE_ANSWERED, UINT64_MAX, now_usec);
        assert_true(gate_may_try(&gate, now_usec, &wait_usec));
        /* that the same fail on is no news: one that signs is not forgotten over them */
        for (uint64_t object = 1; object <= GATE_ILL_MAX; object++)
                doubt(&gate, GATE_SIGNS, object, false, now_usec);
        assert_true(gate_may_try(&gate, now_usec, &wait_usec));
}

/* It was away, and is back: nothing is left of what failed meanwhile. */
static void test_several_failed_with_the_vault(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Gate gate;

        (void)state;
        gate_init(&gate);
        for (uint64_t object = 1; object <= GATE_ILL_MAX; object++)
                doubt(&gate, GATE_SIGNS, object, true, now_usec);
        assert_true(gate_probe(&gate, now_usec));
        note_probe(&gate, GATE_FAILED, true, UINT64_MAX, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_CLOSED);
        now_usec += 4 * USEC_PER_SEC;
        assert_true(gate_probe(&gate, now_usec));
        note_probe(&gate, GATE_ANSWERED, true, UINT64_MAX, now_usec);
        assert_int_equal(gate.n_ill, 0);
        assert_true(gate_may_try(&gate, now_usec, &wait_usec));
}

/* Somebody has mended it, and says so: no back-off goes on, not even that of TLS. */
static void test_hurry(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Gate gate;

        (void)state;
        gate_init(&gate);
        note(&gate, GATE_SIGNS, GATE_INSECURE, UINT64_MAX, now_usec);
        for (unsigned i = 0; i < 6; i++) {
                now_usec += 60 * USEC_PER_SEC;
                assert_true(gate_probe(&gate, now_usec));
                note_probe(&gate, GATE_INSECURE, false, UINT64_MAX, now_usec);
        }
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_CLOSED);
        assert_true(wait_usec > 5 * USEC_PER_SEC);
        gate_hurry(&gate, now_usec);
        assert_true(gate_probe(&gate, now_usec));
        note_probe(&gate, GATE_INSECURE, false, UINT64_MAX, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_CLOSED);
        assert_true(wait_usec <= 5 * USEC_PER_SEC);
}

static void test_throttled(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Gate gate;

        (void)state;
        gate_init(&gate);
        note(&gate, GATE_SIGNS, GATE_THROTTLED, 7 * USEC_PER_SEC, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec + 6 * USEC_PER_SEC, &wait_usec),
                         GATE_ASKED);
        assert_int_equal(wait_usec, USEC_PER_SEC);
        note(&gate, GATE_SIGNS, GATE_ANSWERED, UINT64_MAX, now_usec); /* one that was on its way */
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec + 6 * USEC_PER_SEC, &wait_usec),
                         GATE_ASKED);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec + 7 * USEC_PER_SEC, &wait_usec),
                         GATE_OPEN);
}

/* Units that pass in so many seconds, by what each asks for at every millisecond; 0: it does not. */
typedef struct Passed {
        unsigned signed_units, managed_units;
} Passed;

static Passed pass(Gate *gate, unsigned seconds, unsigned sign_cost, unsigned manage_cost,
                   uint64_t *now_usec)
{
        uint64_t end_usec = *now_usec + seconds * USEC_PER_SEC, wait_usec;
        Passed passed = { 0 };

        for (; *now_usec < end_usec; *now_usec += USEC_PER_MSEC) {
                if (manage_cost > 0 &&
                    gate_enter(gate, GATE_MANAGES, manage_cost, *now_usec, &wait_usec) == GATE_OPEN)
                        passed.managed_units += manage_cost;
                if (sign_cost > 0 &&
                    gate_enter(gate, GATE_SIGNS, sign_cost, *now_usec, &wait_usec) == GATE_OPEN)
                        passed.signed_units += sign_cost;
        }
        return passed;
}

/* However much is managed, not one signature less passes, whatever it costs; and management is never starved. */
static void test_budget_of_management(void **state)
{
        static const unsigned costs[] = { 1, 4, 8, 16 };
        uint64_t now_usec;
        Gate gate;

        (void)state;
        for (size_t i = 0; i < sizeof(costs) / sizeof(*costs); i++) {
                Passed alone, beside;

                gate_init(&gate);
                now_usec = 5 * USEC_PER_SEC;
                alone = pass(&gate, 60, costs[i], 0, &now_usec);

                gate_init(&gate);
                now_usec = 5 * USEC_PER_SEC;
                beside = pass(&gate, 60, costs[i], 1, &now_usec);
                assert_int_equal(beside.signed_units, alone.signed_units);
                assert_true(beside.managed_units >= 60 * GATE_UNITS_TO_MANAGE_PER_SEC);
        }
}

/* A burst of signatures finds what it would have found, however long there was only management before. */
static void test_management_leaves_the_burst(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC;
        Passed managed, burst;
        Gate gate;

        (void)state;
        gate_init(&gate);
        managed = pass(&gate, 30, 0, 1, &now_usec);
        assert_true(managed.managed_units > 29 * GATE_UNITS_PER_SEC); /* nothing is lost */
        burst = pass(&gate, 10, 1, 1, &now_usec);
        assert_true(burst.signed_units >= 3900);
        assert_true(burst.signed_units + burst.managed_units <= 4000);
}

/* When to come back: soon, for what signatures leave may be there at once. */
static void test_management_waits(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Gate gate;

        (void)state;
        gate_init(&gate);
        for (unsigned i = 0; i < GATE_UNITS_TO_MANAGE; i++)
                assert_int_equal(gate_enter(&gate, GATE_MANAGES, 1, now_usec, &wait_usec),
                                 GATE_OPEN);
        assert_int_equal(gate_enter(&gate, GATE_MANAGES, 1, now_usec, &wait_usec), GATE_SPENT);
        assert_true(wait_usec > 0 && wait_usec < USEC_PER_SEC);
        assert_int_equal(gate_enter(&gate, GATE_MANAGES, 1, now_usec + wait_usec, &wait_usec),
                         GATE_OPEN);
}

/* What the vault makes of management is no word about signatures; but of both what it makes of these. */
static void test_management_closes_nothing(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Gate gate;

        (void)state;
        gate_init(&gate);
        note(&gate, GATE_MANAGES, GATE_THROTTLED, 300 * USEC_PER_SEC, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_MANAGES, 1, now_usec, &wait_usec), GATE_ASKED);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_OPEN);
        note(&gate, GATE_SIGNS, GATE_ANSWERED, UINT64_MAX, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_MANAGES, 1, now_usec, &wait_usec), GATE_ASKED);

        for (unsigned i = 0; i < 10; i++)
                note(&gate, GATE_MANAGES, GATE_UNREACHABLE, UINT64_MAX, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_OPEN);
        assert_true(gate_probe(&gate, now_usec)); /* but they make it look */
        assert_false(gate_probe(&gate, now_usec));
        note_probe(&gate, GATE_FAILED, true, UINT64_MAX, now_usec); /* which is management, too */
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_OPEN);
        now_usec += 60 * USEC_PER_SEC;
        doubt(&gate, GATE_MANAGES, 1, true, now_usec);
        assert_true(gate_probe(&gate, now_usec));
        note_probe(&gate, GATE_UNREACHABLE, true, UINT64_MAX, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_SIGNS, 1, now_usec, &wait_usec), GATE_CLOSED);

        gate_init(&gate);
        note(&gate, GATE_SIGNS, GATE_THROTTLED, USEC_PER_SEC, now_usec);
        assert_int_equal(gate_enter(&gate, GATE_MANAGES, 1, now_usec, &wait_usec), GATE_ASKED);
}

#define BAD  "POST https://h/keys/bad/0/sign"
#define GOOD "POST https://h/keys/good/0/sign"

static bool fails(Objects *objects, const char *key, uint64_t retry_after_usec, uint64_t now_usec)
{
        Failure failure = { 0 };
        bool first = false;

        fail(&failure, CB_SOURCE_UNAVAILABLE, "%s: the vault answered 500", key);
        return objects_note(objects, key,
                            &(ObjectNote){ true, retry_after_usec, now_usec, 0, &failure }, &first);
}

static int enter(Objects *objects, const char *key, uint64_t now_usec, uint64_t *ret_wait_usec)
{
        Failure failure = { 0 };
        int r = objects_enter(objects, key, now_usec, ret_wait_usec, &failure);

        assert_true(r == 0 || strstr(failure.text, "tried again in"));
        assert_true(r == 0 || strstr(failure.text, key));
        return r;
}

static void answers(Objects *objects, const char *key, uint64_t now_usec)
{
        bool first = false;

        assert_false(objects_note(objects, key,
                                  &(ObjectNote){ false, UINT64_MAX, now_usec, 0, NULL }, &first));
}

/* It alone is put off, and one request at a time goes there, until it answers. */
static void test_objects(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Objects objects;

        (void)state;
        objects_init(&objects);
        assert_false(fails(&objects, BAD, UINT64_MAX, now_usec));
        assert_false(fails(&objects, BAD, UINT64_MAX, now_usec + 100 * USEC_PER_MSEC));
        assert_int_equal(enter(&objects, BAD, now_usec, &wait_usec), 0);
        now_usec += 300 * USEC_PER_MSEC;
        assert_true(fails(&objects, BAD, UINT64_MAX, now_usec));
        for (unsigned i = 0; i < 20; i++) {
                assert_int_equal(enter(&objects, BAD, now_usec, &wait_usec), CB_SOURCE_UNAVAILABLE);
                assert_true(wait_usec <= 4 * USEC_PER_SEC);
                assert_false(fails(&objects, BAD, UINT64_MAX, now_usec)); /* that was on its way */
                assert_int_equal(enter(&objects, GOOD, now_usec, &wait_usec), 0);
                now_usec += 4 * USEC_PER_SEC;
                assert_int_equal(enter(&objects, BAD, now_usec, &wait_usec), 0);
                assert_int_equal(enter(&objects, BAD, now_usec, &wait_usec), CB_SOURCE_UNAVAILABLE);
                assert_true(fails(&objects, BAD, UINT64_MAX, now_usec));
        }
        now_usec += 4 * USEC_PER_SEC;
        assert_int_equal(enter(&objects, BAD, now_usec, &wait_usec), 0);
        answers(&objects, BAD, now_usec);
        assert_int_equal(enter(&objects, BAD, now_usec, &wait_usec), 0);
        objects_clear(&objects);
}

/* A hundred that were under way in one bad moment are no three failures in a row. */
static void test_objects_and_a_hiccup(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Objects objects;

        (void)state;
        objects_init(&objects);
        for (unsigned i = 0; i < 100; i++)
                assert_false(fails(&objects, GOOD, UINT64_MAX, now_usec + i * USEC_PER_MSEC));
        assert_int_equal(enter(&objects, GOOD, now_usec, &wait_usec), 0);
        objects_clear(&objects);
}

static void test_objects_that_say_for_how_long(void **state)
{
        uint64_t now_usec = 5 * USEC_PER_SEC, wait_usec;
        Objects objects;

        (void)state;
        objects_init(&objects);
        assert_true(fails(&objects, BAD, 30 * USEC_PER_SEC, now_usec));
        assert_int_equal(enter(&objects, BAD, now_usec + 29 * USEC_PER_SEC, &wait_usec),
                         CB_SOURCE_UNAVAILABLE);
        assert_int_equal(wait_usec, USEC_PER_SEC);
        assert_int_equal(enter(&objects, BAD, now_usec + 30 * USEC_PER_SEC, &wait_usec), 0);
        objects_clear(&objects);
}

/* Whoever makes many of them fail costs no more memory for that. */
static void test_objects_are_bounded(void **state)
{
        Objects objects;
        char key[32];

        (void)state;
        objects_init(&objects);
        for (unsigned i = 0; i < 5000; i++) {
                snprintf(key, sizeof(key), "GET %u", i);
                (void)fails(&objects, key, USEC_PER_SEC, 5 * USEC_PER_SEC);
        }
        assert_true(objects.entries.n <= 512);
        objects_clear(&objects);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_budget),
                cmocka_unit_test(test_breaker),
                cmocka_unit_test(test_failing_behind_the_door),
                cmocka_unit_test(test_one_object_fails),
                cmocka_unit_test(test_several_objects_fail),
                cmocka_unit_test(test_several_failed_with_the_vault),
                cmocka_unit_test(test_hurry),
                cmocka_unit_test(test_throttled),
                cmocka_unit_test(test_budget_of_management),
                cmocka_unit_test(test_management_leaves_the_burst),
                cmocka_unit_test(test_management_waits),
                cmocka_unit_test(test_management_closes_nothing),
                cmocka_unit_test(test_objects),
                cmocka_unit_test(test_objects_and_a_hiccup),
                cmocka_unit_test(test_objects_that_say_for_how_long),
                cmocka_unit_test(test_objects_are_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
