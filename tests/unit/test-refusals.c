/* SPDX-License-Identifier: Apache-2.0 */
/* What failed, one by one or in sums: nobody fills the log, and nobody's first refusals are hidden by others'. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/macro.h"
#include "base/strings.h"
#include "core/refusals.h"

#define SEC      UINT64_C(1000000)
#define DAY      (86400 * SEC)
#define START    (1000 * SEC)
#define REALTIME (UINT64_C(1800000000) * SEC)
#define SUMS_MAX 64
#define SUBUIDS  100000

typedef struct Bench {
        Refusals *refusals;
        uint64_t now_usec;
        unsigned n_single;
} Bench;

static int setup(void **state)
{
        static Bench bench;

        bench = (Bench){ .now_usec = START };
        assert_int_equal(refusals_new(&bench.refusals), 0);
        *state = &bench;
        return 0;
}

static int teardown(void **state)
{
        Bench *bench = *state;

        refusals_free(bench->refusals);
        return 0;
}

static const char *const events[] = { "Sign", "Get", "Delete", "Retire",      "Export", "Decrypt",
                                      "Set",  "Tls", "Import", "GetAll",      "Change", "Refresh",
                                      "Push", "Pop", "Renew",  "SetRenewal",  "Unlock", "SetCurrent",
                                      "Make", "Ask", "Create", "CreateOther", "Bind",   "Introspect" };

static bool refuse(Bench *bench, uint32_t uid, bool has_grant, unsigned kind, const char *result)
{
        const Refusal refusal = { uid, has_grant, kind, events[kind], result };
        bool single = refusals_take(bench->refusals, &refusal, bench->now_usec,
                                    REALTIME + bench->now_usec);

        bench->n_single += single;
        return single;
}

static unsigned refuse_many(Bench *bench, uint32_t uid, bool has_grant, unsigned kind, unsigned n)
{
        unsigned n_single = 0;

        for (unsigned i = 0; i < n; i++)
                n_single += refuse(bench, uid, has_grant, kind, "NotFound");
        return n_single;
}

static size_t take_sums(Bench *bench, RefusalSum sums[SUMS_MAX])
{
        size_t n = 0;

        for (RefusalSum sum; refusals_next(bench->refusals, bench->now_usec, &sum);) {
                assert_true(n < SUMS_MAX);
                sums[n++] = sum;
        }
        return n;
}

static void first_ones_are_single_and_the_others_counted(void **state)
{
        RefusalSum sums[SUMS_MAX];
        Bench *bench = *state;

        assert_int_equal(refuse_many(bench, 1001, false, 0, 1), 1);
        bench->now_usec += SEC / 2;
        assert_int_equal(refuse_many(bench, 1001, false, 0, 4999), 9);
        assert_int_equal(refuse_many(bench, 1001, false, 2, 5), 5);
        assert_true(refusals_due(bench->refusals) == START + SEC / 2 + 10 * SEC);
        bench->now_usec += 5 * SEC;
        refuse(bench, 1001, false, 0, "NotFound");

        assert_int_equal(take_sums(bench, sums), 1);
        assert_int_equal(sums[0].uid, 1001);
        assert_int_equal(sums[0].uid_last, 1001);
        assert_int_equal(sums[0].n_users, 1);
        assert_string_equal(sums[0].event, "Sign");
        assert_string_equal(sums[0].result, "NotFound");
        assert_int_equal(sums[0].n, 4991);
        assert_true(sums[0].since_usec == REALTIME + START + SEC / 2);
        assert_true(sums[0].until_usec == sums[0].since_usec + 5 * SEC);
        assert_false(sums[0].is_rest);

        assert_true(refusals_due(bench->refusals) == UINT64_MAX);
        assert_int_equal(take_sums(bench, sums), 0);
        refuse(bench, 1001, false, 0, "NotFound");
        assert_true(refusals_due(bench->refusals) == bench->now_usec + 60 * SEC);
}

static void each_kind_and_result_has_a_sum(void **state)
{
        RefusalSum sums[SUMS_MAX];
        Bench *bench = *state;

        refuse_many(bench, 1001, false, 0, 20);
        refuse_many(bench, 1001, false, 2, 20);
        for (unsigned i = 0; i < 7; i++)
                assert_false(refuse(bench, 1001, false, 0, "LimitExceeded"));
        assert_int_equal(take_sums(bench, sums), 3);
        assert_int_equal(sums[0].n, 10);
        assert_string_equal(sums[1].event, "Delete");
        assert_string_equal(sums[2].result, "LimitExceeded");
        assert_int_equal(sums[2].n, 7);
}

/* Nor does it hide a user's first refusals who comes after it, nor one's who has a grant. */
static void a_flood_by_many_users_is_bounded(void **state)
{
        RefusalSum sums[SUMS_MAX];
        Bench *bench = *state;
        uint64_t n_summed = 0;
        size_t n;

        for (unsigned round = 0; round < 3; round++)
                for (uint32_t uid = SUBUIDS; uid < SUBUIDS + 65536; uid++)
                        refuse(bench, uid, false, round, "NotFound");
        assert_int_equal(bench->n_single, 200); /* two blocks */
        assert_int_equal(refuse_many(bench, 1001, false, 0, 3), 3);
        assert_int_equal(refuse_many(bench, 33, true, 0, 1000), 1000);

        n = take_sums(bench, sums);
        assert_int_equal(n, 6);
        for (size_t i = 0; i < n; i++) {
                n_summed += sums[i].n;
                assert_int_equal(sums[i].uid >> 16, sums[i].uid_last >> 16);
                if (i >= 2) /* those of the first round were in part single */
                        assert_int_equal(sums[i].n_users, sums[i].n);
        }
        assert_int_equal(n_summed, 3 * 65536 - 200);
        assert_int_equal(sums[2].uid, SUBUIDS);
        assert_int_equal(sums[2].uid_last, 131071);
        assert_int_equal(sums[3].uid_last, SUBUIDS + 65535);
}

/* Whoever has more blocks and users than there are sums: nothing is lost, and it is said what there was. */
static void more_than_there_are_sums(void **state)
{
        RefusalSum sums[SUMS_MAX];
        uint64_t n_summed = 0, n_rest = 0, n_asked = 0;
        Bench *bench = *state;
        size_t n;

        for (unsigned kind = 0; kind < ELEMENTSOF(events); kind++)
                for (uint32_t uid = 1; uid < 400; uid++, n_asked += 20)
                        for (unsigned i = 0; i < 20; i++)
                                refuse(bench, uid * 20000, false, kind, i % 2 ? "NotFound" : "X");
        n = take_sums(bench, sums);
        assert_true(n > SUMS_MAX / 2); /* take_sums() holds the bound */
        for (size_t i = 0; i < n; i++) {
                n_summed += sums[i].n;
                if (sums[i].is_rest) {
                        n_rest += sums[i].n;
                        assert_true(sums[i].n_users > 1 && sums[i].n_users < 400);
                        assert_true(sums[i].uid < sums[i].uid_last);
                }
        }
        assert_int_equal(n_summed + bench->n_single, n_asked);
        assert_true(n_rest > 0);
}

/* One that has many kinds takes no other's sums: of those it did not name, whose they were is still known. */
static void one_user_has_a_few_sums(void **state)
{
        RefusalSum sums[SUMS_MAX];
        Bench *bench = *state;
        size_t n;

        for (unsigned kind = 0; kind < ELEMENTSOF(events); kind++)
                refuse_many(bench, 1001, false, kind, 50);
        refuse_many(bench, 1002, false, 0, 50);
        n = take_sums(bench, sums);
        assert_int_equal(n, 8);
        assert_null(sums[6].event);
        assert_null(sums[6].result);
        assert_int_equal(sums[6].uid, 1001);
        assert_int_equal(sums[7].uid, 1002);
        assert_int_equal(sums[7].n, 40);
}

/* The figures that the documentation gives: of one user for a day, and of everybody. */
static void one_users_worst_day(void **state)
{
        Bench *bench = *state;

        for (; bench->now_usec < START + DAY; bench->now_usec += 10 * SEC)
                for (unsigned kind = 0; kind < ELEMENTSOF(events); kind++)
                        refuse_many(bench, 1001, false, kind, 2);
        assert_true(bench->n_single >= 4400 && bench->n_single <= 4420);
}

static void everybodys_worst_hours(void **state)
{
        const uint64_t n_sec = 7200;
        RefusalSum sums[SUMS_MAX];
        Bench *bench = *state;
        uint64_t n_sums = 0;

        for (unsigned sec = 0; sec < n_sec; sec++, bench->now_usec += SEC) {
                for (uint32_t uid = 0; uid < 40; uid++) {
                        refuse(bench, 1000 + (uid * 41 + sec) % 20000, false, sec % 24, "X");
                        refuse(bench, uid * 1000000 + sec, false, sec % 24, "X");
                        refuse(bench, uid, true, sec % 24, "X");
                }
                if (refusals_due(bench->refusals) <= bench->now_usec)
                        n_sums += take_sums(bench, sums);
        }
        assert_true(bench->n_single <= 55000 + 2 * n_sec);
        assert_true(bench->n_single >= 2 * n_sec);
        assert_true(n_sums <= SUMS_MAX * (n_sec / 60 + 1));
}

static void a_clock_that_stands_or_goes_back(void **state)
{
        Bench *bench = *state;

        refuse_many(bench, 1001, false, 0, 100);
        bench->now_usec = 0;
        assert_int_equal(refuse_many(bench, 1001, false, 0, 100), 0);
        assert_int_equal(refuse_many(bench, 1002, false, 0, 3), 3);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                CASE(first_ones_are_single_and_the_others_counted),
                CASE(each_kind_and_result_has_a_sum),
                CASE(a_flood_by_many_users_is_bounded),
                CASE(more_than_there_are_sums),
                CASE(one_user_has_a_few_sums),
                CASE(one_users_worst_day),
                CASE(everybodys_worst_hours),
                CASE(a_clock_that_stands_or_goes_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
