/* SPDX-License-Identifier: Apache-2.0 */
/* Shares of time, by a clock that is an argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/turns.h"

#define MSEC UINT64_C(1000)

enum { LIGHT, HEAVY, CAPPED };

static const TurnClass classes[] = {
        [LIGHT] = { .weight = 1 },
        [HEAVY] = { .weight = 4 },
        [CAPPED] = { .weight = 1, .percent = 10, .burst_usec = 50 * MSEC },
};

typedef struct Bench {
        Turns *turns;
        uint64_t now_usec;
} Bench;

static void bench_open(Bench *bench)
{
        *bench = (Bench){ .now_usec = 1000 * MSEC };
        assert_int_equal(turns_new(classes, ELEMENTSOF(classes), &bench->turns), 0);
}

/* Gives the next turn, which takes so long; NULL: nobody may. */
static Turn *give(Bench *bench, uint64_t usec)
{
        uint64_t wait_usec;
        Turn *turn = turns_next(bench->turns, bench->now_usec, &wait_usec);

        if (turn)
                turns_spend(bench->turns, turn_payer(turn), usec);
        bench->now_usec += usec;
        return turn;
}

static void one_user_has_one_share_whatever_its_connections(void **state)
{
        Turn many[50], one;
        uint64_t spent[2] = { 0 };
        Bench bench;

        bench_open(&bench);
        for (size_t i = 0; i < 50; i++) {
                assert_int_equal(turn_init(&many[i], bench.turns, LIGHT, 1), 0);
                turn_want(&many[i]);
                turn_want(&many[i]); /* once */
        }
        assert_int_equal(turn_init(&one, bench.turns, LIGHT, 2), 0);
        turn_want(&one);
        for (unsigned i = 0; i < 1000; i++) {
                Turn *turn = give(&bench, 100);

                assert_non_null(turn);
                spent[turn == &one] += 100;
                turn_want(turn);
        }
        assert_int_equal(spent[0], spent[1]);
        for (size_t i = 0; i < 50; i++)
                turn_deinit(&many[i]);
        turn_deinit(&one);
        turns_free(bench.turns);
}

/* Its own come in the order in which they asked. */
static void of_one_user_nobody_waits_for_ever(void **state)
{
        Turn turns[5];
        Bench bench;

        bench_open(&bench);
        for (size_t i = 0; i < 5; i++) {
                assert_int_equal(turn_init(&turns[i], bench.turns, LIGHT, 1), 0);
                turn_want(&turns[i]);
        }
        for (size_t i = 0; i < 20; i++) {
                Turn *turn = give(&bench, 1 + i * 100);

                assert_ptr_equal(turn, &turns[i % 5]);
                turn_want(turn);
        }
        for (size_t i = 0; i < 5; i++)
                turn_deinit(&turns[i]);
        turns_free(bench.turns);
}

/* However many slow ones wait, a call is never behind more than one of them; and they are not forgotten for calls. */
static void what_is_slow_alternates_with_the_rest(void **state)
{
        Turn slow[50], call;
        unsigned n_calls = 0;
        Bench bench;

        bench_open(&bench);
        for (size_t i = 0; i < 50; i++) {
                assert_int_equal(turn_init(&slow[i], bench.turns, LIGHT, 1), 0);
                slow[i].is_slow = true;
                turn_want(&slow[i]);
        }
        assert_int_equal(turn_init(&call, bench.turns, LIGHT, 1), 0);
        turn_want(&call);
        for (unsigned i = 0; i < 100; i++) {
                Turn *turn = give(&bench, 100);

                n_calls += turn == &call;
                if (turn != &call)
                        assert_ptr_equal(turn, &slow[(i / 2) % 50]);
                turn_want(turn);
        }
        assert_int_equal(n_calls, 50);
        turn_deinit(&call);
        for (size_t i = 0; i < 50; i++) {
                assert_ptr_equal(give(&bench, 100), &slow[i]);
                turn_deinit(&slow[i]);
        }
        assert_null(give(&bench, 100));
        turns_free(bench.turns);
}

static void classes_share_by_weight(void **state)
{
        Turn light, heavy;
        uint64_t spent[2] = { 0 };
        Bench bench;

        bench_open(&bench);
        assert_int_equal(turn_init(&light, bench.turns, LIGHT, 1), 0);
        assert_int_equal(turn_init(&heavy, bench.turns, HEAVY, 1), 0);
        turn_want(&light);
        turn_want(&heavy);
        for (unsigned i = 0; i < 1000; i++) {
                Turn *turn = give(&bench, 64);

                spent[turn == &heavy] += 64;
                turn_want(turn);
        }
        assert_in_range(spent[1] / 64, 799, 801);
        turn_deinit(&light);
        turn_deinit(&heavy);
        turns_free(bench.turns);
}

/* Who asks now and then is next at once; who rested has saved nothing up. */
static void who_asks_little_does_not_wait(void **state)
{
        Turn flood[20], polite;
        Bench bench;
        unsigned n_flood = 0;

        bench_open(&bench);
        for (uint32_t i = 0; i < 20; i++) {
                assert_int_equal(turn_init(&flood[i], bench.turns, LIGHT, i), 0);
                turn_want(&flood[i]);
        }
        assert_int_equal(turn_init(&polite, bench.turns, HEAVY, 0), 0);
        for (unsigned i = 0; i < 100; i++) {
                for (unsigned k = 0; k < 7; k++)
                        turn_want(give(&bench, 150));
                turn_want(&polite);
                assert_ptr_equal(give(&bench, 100), &polite);
        }
        /* after a long rest it does not hold up the others for as long */
        turn_want(&polite);
        for (unsigned i = 0; i < 50; i++) {
                Turn *turn = give(&bench, 100);

                n_flood += turn != &polite;
                turn_want(turn);
        }
        assert_in_range(n_flood, 9, 11);
        for (size_t i = 0; i < 20; i++)
                turn_deinit(&flood[i]);
        turn_deinit(&polite);
        turns_free(bench.turns);
}

/* Also when it has gone in between, and comes as somebody new. */
static void a_long_turn_is_paid_for(void **state)
{
        Turn greedy, other;
        Bench bench;

        bench_open(&bench);
        assert_int_equal(turn_init(&other, bench.turns, LIGHT, 2), 0);
        assert_int_equal(turn_init(&greedy, bench.turns, LIGHT, 1), 0);
        turn_want(&greedy);
        assert_ptr_equal(give(&bench, 10 * MSEC), &greedy);
        turn_deinit(&greedy);
        assert_int_equal(turn_init(&greedy, bench.turns, LIGHT, 1), 0);
        turn_want(&greedy);
        for (unsigned i = 0; i < 100; i++) {
                turn_want(&other);
                assert_ptr_equal(give(&bench, 100), &other);
        }
        turn_want(&other);
        assert_ptr_equal(give(&bench, 100), &greedy);
        turn_deinit(&greedy);
        turn_deinit(&other);
        turns_free(bench.turns);
}

static void a_cap_holds_where_nobody_else_asks(void **state)
{
        uint64_t spent = 0, wait_usec, began;
        Bench bench;
        Turn turn;

        bench_open(&bench);
        assert_int_equal(turn_init(&turn, bench.turns, CAPPED, 1), 0);
        began = bench.now_usec;
        while (bench.now_usec < began + 10000 * MSEC) {
                turn_want(&turn);
                if (give(&bench, 100)) {
                        spent += 100;
                        continue;
                }
                bench.now_usec -= 100; /* nothing was done */
                assert_null(turns_next(bench.turns, bench.now_usec, &wait_usec));
                assert_in_range(wait_usec, 1, 10 * MSEC);
                bench.now_usec += wait_usec;
        }
        /* a burst, and a tenth */
        assert_in_range(spent, 1000 * MSEC, 1060 * MSEC);
        turn_deinit(&turn);
        assert_null(turns_next(bench.turns, bench.now_usec, &wait_usec));
        assert_true(wait_usec == UINT64_MAX);
        turns_free(bench.turns);
}

/* Uids that come and go by the thousand leave nothing behind for long. */
static void users_are_forgotten(void **state)
{
        Turn turn, steady;
        Bench bench;

        bench_open(&bench);
        assert_int_equal(turn_init(&steady, bench.turns, LIGHT, UINT32_MAX), 0);
        for (uint32_t uid = 0; uid < 100000; uid++) {
                assert_int_equal(turn_init(&turn, bench.turns, LIGHT, uid), 0);
                turn_want(&turn);
                turn_want(&steady);
                assert_non_null(give(&bench, 50));
                assert_non_null(give(&bench, 50));
                turn_deinit(&turn);
        }
        assert_true(turns_users(bench.turns) < 1000);
        turn_deinit(&steady);
        turns_free(bench.turns);
}

/* Nor where nobody stays: each has its first turn at once, so none of them ever waits for the others. */
static void users_are_forgotten_where_nobody_stays(void **state)
{
        Bench bench;
        Turn turn;

        bench_open(&bench);
        for (uint32_t uid = 0; uid < 100000; uid++) {
                assert_int_equal(turn_init(&turn, bench.turns, LIGHT, uid), 0);
                turn_want(&turn);
                assert_ptr_equal(give(&bench, 50), &turn);
                turn_deinit(&turn);
        }
        assert_true(turns_users(bench.turns) <= 1000);
        turns_free(bench.turns);
}

/* It goes after each long turn, and is back: it is not a new one for that. */
static void who_goes_and_comes_back_still_owes(void **state)
{
        Turn turn, steady;
        unsigned n_steady = 0;
        Bench bench;

        bench_open(&bench);
        assert_int_equal(turn_init(&steady, bench.turns, LIGHT, 1), 0);
        for (unsigned i = 0; i < 100; i++) {
                Turn *next;

                assert_int_equal(turn_init(&turn, bench.turns, LIGHT, 2), 0);
                turn_want(&turn);
                turn_want(&steady);
                next = turns_next(bench.turns, bench.now_usec, &(uint64_t){ 0 });
                n_steady += next == &steady;
                turns_spend(bench.turns, turn_payer(next), next == &steady ? 10 : 1000);
                turn_deinit(&turn);
        }
        assert_in_range(n_steady, 95, 99);
        turn_deinit(&steady);
        turns_free(bench.turns);
}

static void a_turn_moves_to_another_class(void **state)
{
        uint64_t wait_usec;
        Bench bench;
        Turn turn;

        bench_open(&bench);
        assert_int_equal(turn_init(&turn, bench.turns, LIGHT, 1), 0);
        turn_want(&turn);
        assert_int_equal(turn_move(&turn, HEAVY), 0);
        assert_int_equal(turn_payer(&turn).class, HEAVY);
        assert_ptr_equal(give(&bench, 100), &turn);
        assert_null(turns_next(bench.turns, bench.now_usec, &wait_usec));
        assert_int_equal(turn_move(&turn, LIGHT), 0);
        assert_null(turns_next(bench.turns, bench.now_usec, &wait_usec));
        turn_want(&turn);
        turn_deinit(&turn); /* while it is wanted */
        turn_deinit(&turn);
        assert_null(turns_next(bench.turns, bench.now_usec, &wait_usec));
        turns_free(bench.turns);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_user_has_one_share_whatever_its_connections),
                cmocka_unit_test(of_one_user_nobody_waits_for_ever),
                cmocka_unit_test(what_is_slow_alternates_with_the_rest),
                cmocka_unit_test(classes_share_by_weight),
                cmocka_unit_test(who_asks_little_does_not_wait),
                cmocka_unit_test(a_long_turn_is_paid_for),
                cmocka_unit_test(a_cap_holds_where_nobody_else_asks),
                cmocka_unit_test(users_are_forgotten),
                cmocka_unit_test(users_are_forgotten_where_nobody_stays),
                cmocka_unit_test(who_goes_and_comes_back_still_owes),
                cmocka_unit_test(a_turn_moves_to_another_class),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
