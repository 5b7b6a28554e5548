/* SPDX-License-Identifier: Apache-2.0 */
/* The bench of the tests of the store: it opens, commits, reads, and leaves nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

#include "base/strings.h"
#include "store-bench.h"

int bench_try(Bench *bench)
{
        return store_open(bench->directory, bench->lane, &bench->store, &bench->failure);
}

void bench_start(Bench *bench)
{
        assert_int_equal(sd_event_new(&bench->event), 0);
        assert_int_equal(lane_new(bench->event, 100, &bench->lane), 0);
        bench->failure = (Failure){ 0 };
}

static void bench_forget(Bench *bench)
{
        while (bench->n_certificates > 0)
                certificate_free(bench->certificates[--bench->n_certificates]);
        while (bench->n_backends > 0)
                backend_free(bench->backends[--bench->n_backends]);
        bench->note[0] = '\0';
}

void bench_stop(Bench *bench)
{
        lane_drain(bench->lane);
        bench->store = store_free(bench->store);
        bench->lane = lane_free(bench->lane);
        bench->event = sd_event_unref(bench->event);
        assert_null(bench->event);
        bench_forget(bench);
}

void bench_open(Bench *bench)
{
        *bench = (Bench){ .directory = "/tmp/test-store-XXXXXX" };
        assert_non_null(mkdtemp(bench->directory));
        snprintf(bench->path, sizeof(bench->path), "%s/certbroker.sqlite", bench->directory);
        bench_start(bench);
}

void bench_restart(Bench *bench)
{
        bench_stop(bench);
        bench_start(bench);
        assert_int_equal(bench_try(bench), 0);
}

void bench_close(Bench *bench)
{
        static const char *const names[] = { "certbroker.sqlite", "certbroker.sqlite-wal",
                                             "certbroker.sqlite-shm", "lock" };
        char path[128];

        bench_stop(bench);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                snprintf(path, sizeof(path), "%s/%s", bench->directory, names[i]);
                (void)unlink(path);
        }
        assert_int_equal(rmdir(bench->directory), 0); /* and nothing else is left there */
}

static int keep_certificate(void *userdata, Certificate *certificate)
{
        Bench *bench = userdata;

        assert_true(bench->n_certificates < ELEMENTSOF(bench->certificates));
        bench->certificates[bench->n_certificates++] = certificate;
        return 0;
}

int keep_backend(void *userdata, Backend *backend)
{
        Bench *bench = userdata;

        assert_true(bench->n_backends < ELEMENTSOF(bench->backends));
        bench->backends[bench->n_backends++] = backend;
        return 0;
}

static int keep_note(void *userdata, const char *key, const char *value)
{
        Bench *bench = userdata;

        snprintf(bench->note, sizeof(bench->note), "%s=%s", key, value);
        return 0;
}

static const StoreReader keep = { keep_certificate, keep_backend, keep_note };

void bench_read(Bench *bench)
{
        bench_forget(bench);
        assert_int_equal(store_read(bench->store, &keep, bench, &bench->failure), 0);
}

void on_done(void *userdata, const Failure *failure)
{
        Bench *bench = userdata;

        bench->failure = *failure;
        bench->n_done++;
}

int commit(Bench *bench, StoreChange *change)
{
        unsigned n_before = bench->n_done;

        assert_int_equal(store_commit(change, on_done, bench), 0);
        assert_int_equal(bench->n_done, n_before); /* never from within */
        lane_drain(bench->lane);
        assert_int_equal(bench->n_done, n_before + 1);
        return bench->failure.status;
}

StoreChange *change_new(Bench *bench)
{
        StoreChange *change = NULL;

        assert_int_equal(store_change_new(bench->store, &change), 0);
        return change;
}

Generation *generation_make(uint64_t number, unsigned n_chain, size_t n_der)
{
        Generation *generation = calloc(1, sizeof(*generation));
        uint8_t *der = malloc(n_der);

        assert_non_null(generation);
        assert_non_null(der);
        generation->number = number;
        generation->key_type = KEY_TYPE_EC_P256;
        generation->algorithms =
                ALGORITHM_BIT(ALGORITHM_ECDSA_SHA256) | ALGORITHM_BIT(ALGORITHM_RSA_PKCS1_SHA1);
        assert_int_equal(string_set(&generation->key_uri, "pkcs11:token=t;id=%01"), 0);
        assert_int_equal(bytes_set(&generation->spki, "spki\0x", 6), 0);
        generation->usable_until_sec = number == 1 ? 1700000000 : 0;
        generation->retired = number == 2;
        for (unsigned i = 0; i < n_chain; i++) {
                memset(der, (int)(number * 16 + i), n_der);
                assert_int_equal(bytes_list_append(&generation->chain, der, n_der), 0);
        }
        free(der);
        return generation;
}

Certificate *certificate_make(const char *id, unsigned n_generations)
{
        Certificate *certificate = NULL;

        assert_int_equal(certificate_new(id, "hsm", &certificate), 0);
        for (unsigned i = 1; i <= n_generations; i++)
                assert_int_equal(
                        certificate_add_generation(certificate, generation_make(i, i, 700)), 0);
        certificate->current = n_generations;
        if (n_generations > 0)
                certificate_newest(certificate)->extractable = true; /* and the others not */
        certificate->last_refresh_sec = 1234567890;
        return certificate;
}

void put_certificate(Bench *bench, const char *id, unsigned n_generations)
{
        CLEANUP(certificate_freep) Certificate *certificate = certificate_make(id, n_generations);
        StoreChange *change = change_new(bench);

        assert_int_equal(store_change_put_certificate(change, certificate), 0);
        assert_int_equal(commit(bench, change), 0);
}
