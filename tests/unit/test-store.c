/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store on real files in a temporary directory: what goes in comes out, all of it or nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/strings.h"
#include "store-bench.h"

static void assert_same(const Certificate *a, const Certificate *b)
{
        assert_string_equal(a->id, b->id);
        assert_string_equal(a->source, b->source);
        assert_true(string_equal(a->registered_uri, b->registered_uri));
        assert_true(string_equal(a->last_error, b->last_error));
        assert_int_equal(a->enabled, b->enabled);
        assert_int_equal(a->verdict, b->verdict);
        assert_true(a->current == b->current && a->last_refresh_sec == b->last_refresh_sec &&
                    a->next_refresh_sec == b->next_refresh_sec);
        assert_int_equal(a->n_generations, b->n_generations);
        for (size_t i = 0; i < a->n_generations; i++) {
                const Generation *x = a->generations[i], *y = b->generations[i];

                assert_true(x->number == y->number && x->usable_until_sec == y->usable_until_sec);
                assert_true(string_equal(x->key_uri, y->key_uri));
                assert_int_equal(x->key_type, y->key_type);
                assert_int_equal(x->algorithms, y->algorithms);
                assert_int_equal(x->retired, y->retired);
                assert_int_equal(x->extractable, y->extractable);
                assert_true(string_equal(x->warning, y->warning));
                assert_true(string_equal(x->lost_names, y->lost_names));
                assert_true(bytes_equal(&x->spki, &y->spki));
                assert_true(bytes_list_equal(&x->chain, &y->chain));
        }
}

static void test_round_trip(void **state)
{
        CLEANUP(certificate_freep) Certificate *rich = certificate_make("rich", 3);
        CLEANUP(certificate_freep) Certificate *bare = NULL;
        CLEANUP(backend_freep) Backend *backend = NULL;
        Generation *pending;
        StoreChange *change;
        Bench bench;
        struct stat st;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        assert_int_equal(stat(bench.path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);

        assert_int_equal(string_set(&rich->registered_uri, "https://v/certificates/ä"), 0);
        assert_int_equal(string_set(&rich->last_error, "it's \"odd\"; -- \\x"), 0);
        assert_int_equal(string_set(&rich->generations[1]->warning, "a gap"), 0);
        assert_int_equal(string_set(&rich->generations[2]->lost_names, "DNS:a"), 0);
        rich->enabled = false;
        rich->verdict = KEY_PENDING;
        rich->next_refresh_sec = UINT64_MAX;
        assert_int_equal(certificate_new("bare", "vault", &bare), 0);
        /* Pending: no key type, no chain, no public key. */
        pending = calloc(1, sizeof(*pending));
        assert_non_null(pending);
        pending->number = 5;
        assert_int_equal(certificate_add_generation(bare, pending), 0);
        assert_int_equal(backend_new("orders", &backend), 0);
        assert_int_equal(string_set(&backend->url, "https://orders.example"), 0);
        assert_int_equal(string_set(&backend->certificate, "rich"), 0);
        assert_int_equal(string_set(&backend->skip_reason, "old CA"), 0);
        assert_int_equal(strv_append(&backend->server_names, "z.example"), 0);
        assert_int_equal(strv_append(&backend->server_names, "a.example"), 0);
        assert_int_equal(strv_append(&backend->server_thumbprints, "AB"), 0);
        backend->validate_chain = false;
        backend->skip_until_sec = UINT64_MAX;

        change = change_new(&bench);
        assert_int_equal(store_change_put_backend(change, backend), 0); /* before its certificate */
        assert_int_equal(store_change_put_certificate(change, rich), 0);
        assert_int_equal(store_change_put_certificate(change, bare), 0);
        assert_int_equal(store_change_put_note(change, "audit-head", "7 abc"), 0);
        assert_int_equal(commit(&bench, change), 0);

        for (unsigned round = 0; round < 2; round++) {
                bench_read(&bench);
                assert_int_equal(bench.n_certificates, 2);
                assert_same(bench.certificates[0], bare); /* by id */
                assert_same(bench.certificates[1], rich);
                assert_int_equal(bench.n_backends, 1);
                assert_true(backend_equal(bench.backends[0], backend));
                assert_string_equal(bench.note, "audit-head=7 abc");
                bench_restart(&bench);
        }
        bench_close(&bench);
}

static void test_replace_and_delete(void **state)
{
        CLEANUP(backend_freep) Backend *backend = NULL;
        StoreChange *change;
        Bench bench;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        put_certificate(&bench, "a", 3);
        put_certificate(&bench, "b", 1);
        assert_int_equal(backend_new("x", &backend), 0);
        assert_int_equal(string_set(&backend->certificate, "a"), 0);
        assert_int_equal(strv_append(&backend->server_names, "one"), 0);
        change = change_new(&bench);
        assert_int_equal(store_change_put_backend(change, backend), 0);
        assert_int_equal(store_change_put_note(change, "k", "v"), 0);
        assert_int_equal(commit(&bench, change), 0);

        /* Replaced: the old generations and names are gone, the backend that refers to it stays. */
        put_certificate(&bench, "a", 2);
        backend->server_names = strv_free(backend->server_names);
        change = change_new(&bench);
        assert_int_equal(store_change_put_backend(change, backend), 0);
        assert_int_equal(store_change_put_note(change, "k", NULL), 0);
        assert_int_equal(commit(&bench, change), 0);
        bench_restart(&bench);
        bench_read(&bench);
        assert_int_equal(bench.n_certificates, 2);
        assert_int_equal(bench.certificates[0]->n_generations, 2);
        assert_int_equal(bench.n_backends, 1);
        assert_true(backend_equal(bench.backends[0], backend));
        assert_string_equal(bench.note, "");

        /* A certificate in use cannot go, even if somebody above forgot to ask: all or nothing. */
        change = change_new(&bench);
        assert_int_equal(store_change_delete_certificate(change, "b"), 0);
        assert_int_equal(store_change_delete_certificate(change, "a"), 0);
        assert_int_equal(commit(&bench, change), CB_FAILED);
        bench_read(&bench);
        assert_int_equal(bench.n_certificates, 2);

        change = change_new(&bench);
        assert_int_equal(store_change_delete_certificate(change, "a"), 0);
        assert_int_equal(store_change_delete_backend(change, "x"), 0);
        assert_int_equal(store_change_delete_backend(change, "never was"), 0);
        assert_int_equal(commit(&bench, change), 0);
        bench_read(&bench);
        assert_int_equal(bench.n_certificates, 1);
        assert_string_equal(bench.certificates[0]->id, "b");
        assert_int_equal(bench.n_backends, 0);
        bench_close(&bench);
}

/* The change is its own: what happens to the original after it was put does not matter. */
static void test_change_is_a_copy(void **state)
{
        Certificate *certificate = certificate_make("a", 1);
        StoreChange *change;
        Bench bench;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        change = change_new(&bench);
        assert_int_equal(store_change_put_certificate(change, certificate), 0);
        memset(certificate->id, 'z', 1);
        certificate_free(certificate);
        assert_int_equal(commit(&bench, change), 0);
        bench_read(&bench);
        assert_string_equal(bench.certificates[0]->id, "a");

        change = change_new(&bench);
        assert_int_equal(store_change_put_note(change, "k", "v"), 0);
        store_change_free(change); /* never committed */
        bench_read(&bench);
        assert_string_equal(bench.note, "");
        bench_close(&bench);
}

static bool tell_companion(void *userdata, char *value, size_t n)
{
        const unsigned *now = userdata;

        snprintf(value, n, "%u", *now);
        return *now != 0;
}

static void test_a_note_goes_with_each_change(void **state)
{
        StoreChange *change;
        unsigned now = 7;
        Bench bench;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        store_accompany(bench.store, "known", tell_companion, &now);
        put_certificate(&bench, "a", 1);
        bench_read(&bench);
        assert_string_equal(bench.note, "known=7");

        now = 0; /* none now: the one before stays */
        put_certificate(&bench, "b", 1);
        now = 8;
        change = change_new(&bench);
        assert_int_equal(store_change_put_note(change, "known", "by itself"), 0);
        assert_int_equal(commit(&bench, change), 0); /* no change of an object */
        bench_read(&bench);
        assert_string_equal(bench.note, "known=by itself");

        change = change_new(&bench);
        assert_int_equal(store_change_delete_certificate(change, "a"), 0);
        assert_int_equal(commit(&bench, change), 0);
        bench_read(&bench);
        assert_string_equal(bench.note, "known=8");
        bench_close(&bench);
}

static int refuse_certificate(void *userdata, Certificate *certificate)
{
        (void)userdata;
        certificate_free(certificate);
        return CB_BAD_BUNDLE;
}

static void test_reader_stops(void **state)
{
        static const StoreReader refuse = { refuse_certificate, keep_backend, NULL };
        Bench bench;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        put_certificate(&bench, "a", 1);
        assert_int_equal(store_read(bench.store, &refuse, &bench, &bench.failure), CB_BAD_BUNDLE);
        bench_read(&bench); /* the statement was reset */
        assert_int_equal(bench.n_certificates, 1);
        bench_close(&bench);
}

static void test_two_daemons(void **state)
{
        Bench bench;
        Store *second = NULL;
        Failure failure = { 0 };

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        assert_int_equal(store_open(bench.directory, bench.lane, &second, &failure), CB_IN_USE);
        assert_non_null(strstr(failure.text, bench.directory));
        assert_non_null(strstr(failure.text, "another certbrokerd"));
        assert_null(second);
        bench_restart(&bench); /* and the lock goes with its holder */
        bench_close(&bench);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_replace_and_delete),
                cmocka_unit_test(test_change_is_a_copy), cmocka_unit_test(test_reader_stops),
                cmocka_unit_test(test_a_note_goes_with_each_change),
                cmocka_unit_test(test_two_daemons),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
