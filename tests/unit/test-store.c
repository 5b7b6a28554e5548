/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store on real files in a temporary directory: what goes in comes out, whatever is refused is left
 * alone, and what was acknowledged survives a kill in the middle of the next commit.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <systemd/sd-event.h>

#include "base/strings.h"
#include "broker/store/store.h"

#define KILL_ROUNDS 20

typedef struct Bench {
        char directory[64];
        char path[128];
        sd_event *event;
        Lane *lane;
        Store *store;
        Failure failure;
        unsigned n_done;
        /* what was read */
        Certificate *certificates[64];
        size_t n_certificates;
        Backend *backends[64];
        size_t n_backends;
        char note[64];
} Bench;

static int bench_try(Bench *bench)
{
        return store_open(bench->directory, bench->lane, &bench->store, &bench->failure);
}

static void bench_start(Bench *bench)
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

static void bench_stop(Bench *bench)
{
        lane_drain(bench->lane);
        bench->store = store_free(bench->store);
        bench->lane = lane_free(bench->lane);
        bench->event = sd_event_unref(bench->event);
        assert_null(bench->event);
        bench_forget(bench);
}

static void bench_open(Bench *bench)
{
        *bench = (Bench){ .directory = "/tmp/test-store-XXXXXX" };
        assert_non_null(mkdtemp(bench->directory));
        snprintf(bench->path, sizeof(bench->path), "%s/certbroker.sqlite", bench->directory);
        bench_start(bench);
}

static void bench_restart(Bench *bench)
{
        bench_stop(bench);
        bench_start(bench);
        assert_int_equal(bench_try(bench), 0);
}

static void bench_close(Bench *bench)
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

static int keep_backend(void *userdata, Backend *backend)
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

static void bench_read(Bench *bench)
{
        bench_forget(bench);
        assert_int_equal(store_read(bench->store, &keep, bench, &bench->failure), 0);
}

static void on_done(void *userdata, const Failure *failure)
{
        Bench *bench = userdata;

        bench->failure = *failure;
        bench->n_done++;
}

static int commit(Bench *bench, StoreChange *change)
{
        unsigned n_before = bench->n_done;

        assert_int_equal(store_commit(change, on_done, bench), 0);
        assert_int_equal(bench->n_done, n_before); /* never from within */
        lane_drain(bench->lane);
        assert_int_equal(bench->n_done, n_before + 1);
        return bench->failure.status;
}

static StoreChange *change_new(Bench *bench)
{
        StoreChange *change = NULL;

        assert_int_equal(store_change_new(bench->store, &change), 0);
        return change;
}

static Generation *generation_make(uint64_t number, unsigned n_chain, size_t n_der)
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

static Certificate *certificate_make(const char *id, unsigned n_generations)
{
        Certificate *certificate = NULL;

        assert_int_equal(certificate_new(id, "hsm", &certificate), 0);
        for (unsigned i = 1; i <= n_generations; i++)
                assert_int_equal(
                        certificate_add_generation(certificate, generation_make(i, i, 700)), 0);
        certificate->current = n_generations;
        certificate->extractable = true;
        certificate->last_refresh_sec = 1234567890;
        return certificate;
}

static void put_certificate(Bench *bench, const char *id, unsigned n_generations)
{
        CLEANUP(certificate_freep) Certificate *certificate = certificate_make(id, n_generations);
        StoreChange *change = change_new(bench);

        assert_int_equal(store_change_put_certificate(change, certificate), 0);
        assert_int_equal(commit(bench, change), 0);
}

static void assert_same(const Certificate *a, const Certificate *b)
{
        assert_string_equal(a->id, b->id);
        assert_string_equal(a->source, b->source);
        assert_true(string_equal(a->registered_uri, b->registered_uri));
        assert_true(string_equal(a->last_error, b->last_error));
        assert_int_equal(a->enabled, b->enabled);
        assert_int_equal(a->extractable, b->extractable);
        assert_int_equal(a->key_gone, b->key_gone);
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
        rich->enabled = false;
        rich->key_gone = true;
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

/* --- files that are not ours to use --- */

static void file_write(const char *path, const void *data, size_t n)
{
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        assert_int_equal(fwrite(data, 1, n, file), n);
        assert_int_equal(fclose(file), 0);
}

static size_t file_read(const char *path, uint8_t *data, size_t n_max)
{
        FILE *file = fopen(path, "re");
        size_t n;

        assert_non_null(file);
        n = fread(data, 1, n_max, file);
        assert_int_equal(fclose(file), 0);
        return n;
}

static void file_execute(const char *path, const char *sql)
{
        sqlite3 *handle = NULL;

        assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
        assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

static void assert_refused_untouched(Bench *bench, const char *word)
{
        static uint8_t before[1 << 20], after[1 << 20];
        size_t n_before = file_read(bench->path, before, sizeof(before)), n_after;

        assert_true(n_before > 0 && n_before < sizeof(before));
        assert_int_equal(bench_try(bench), CB_FAILED);
        assert_null(bench->store);
        assert_non_null(strstr(bench->failure.text, bench->path));
        if (!strstr(bench->failure.text, word))
                assert_string_equal(bench->failure.text, word); /* shows both */
        n_after = file_read(bench->path, after, sizeof(after));
        assert_int_equal(n_before, n_after);
        assert_memory_equal(before, after, n_before);
}

static void test_newer_schema(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        put_certificate(&bench, "a", 1);
        bench.store = store_free(bench.store);
        file_execute(bench.path, "PRAGMA user_version = 999; CREATE TABLE later (x);");
        assert_refused_untouched(&bench, "schema version 999");
        bench_close(&bench);
}

static void test_foreign_database(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        file_execute(bench.path, "CREATE TABLE something (else_ TEXT)");
        assert_refused_untouched(&bench, "another program");
        bench_close(&bench);
}

static void test_not_a_database(void **state)
{
        char text[4096];
        Bench bench;

        (void)state;
        memset(text, 'x', sizeof(text));
        bench_open(&bench);
        file_write(bench.path, text, sizeof(text));
        assert_refused_untouched(&bench, "restore a backup");
        bench_close(&bench);
}

static void test_damaged(void **state)
{
        static uint8_t data[1 << 20];
        Bench bench;
        size_t n;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        for (char id[] = "a"; id[0] < 'q'; id[0]++)
                put_certificate(&bench, id, 3);
        bench.store = store_free(bench.store);
        n = file_read(bench.path, data, sizeof(data));
        assert_true(n > 5 * 4096);
        memset(data + 4096, 0xa5, 3 * 4096); /* pages of tables, not the header */
        file_write(bench.path, data, n);
        assert_refused_untouched(&bench, "damaged");

        /* Cut short, as by a full disk under somebody's cp. */
        file_write(bench.path, data, 4096 + 100);
        assert_refused_untouched(&bench, "restore a backup");
        bench_close(&bench);
}

static void test_wrong_places(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        assert_int_equal(store_open("/nonexistent/state", bench.lane, &bench.store, &bench.failure),
                         CB_FAILED);
        assert_non_null(strstr(bench.failure.text, "/nonexistent/state"));

        assert_int_equal(mkdir(bench.path, 0700), 0);
        assert_int_equal(bench_try(&bench), CB_FAILED);
        assert_int_equal(rmdir(bench.path), 0);

        assert_int_equal(symlink("/etc/passwd", bench.path), 0);
        assert_int_equal(bench_try(&bench), CB_FAILED);
        assert_int_equal(unlink(bench.path), 0);

        /* One that others could read is made private. */
        file_write(bench.path, "", 0);
        assert_int_equal(chmod(bench.path, 0644), 0);
        assert_int_equal(bench_try(&bench), 0);
        {
                struct stat st;

                assert_int_equal(stat(bench.path, &st), 0);
                assert_int_equal(st.st_mode & 0777, 0600);
        }
        bench_close(&bench);
}

/* No room on the disk: a limit on file sizes stands for it. The loop goes on, and so does the store. */
static void test_disk_full(void **state)
{
        CLEANUP(certificate_freep) Certificate *large = certificate_make("large", 1);
        struct rlimit before, small;
        StoreChange *change;
        Bench bench;

        (void)state;
        assert_int_equal(certificate_add_generation(large, generation_make(2, 8, 60000)), 0);
        signal(SIGXFSZ, SIG_IGN);
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        put_certificate(&bench, "a", 1);

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        small = (struct rlimit){ 200 * 1024, before.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        change = change_new(&bench);
        assert_int_equal(store_change_put_note(change, "k", "v"), 0);
        assert_int_equal(store_change_put_certificate(change, large), 0);
        assert_int_equal(commit(&bench, change), CB_FAILED);
        assert_non_null(strstr(bench.failure.text, bench.path));
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);

        bench_read(&bench); /* nothing of it */
        assert_int_equal(bench.n_certificates, 1);
        assert_string_equal(bench.note, "");
        change = change_new(&bench);
        assert_int_equal(store_change_put_certificate(change, large), 0);
        assert_int_equal(commit(&bench, change), 0);
        bench_restart(&bench);
        bench_read(&bench);
        assert_int_equal(bench.n_certificates, 2);
        bench_close(&bench);
}

static void test_queue_full(void **state)
{
        StoreChange *change, *waiting[100];
        Bench bench;
        unsigned n = 0;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        while (n < ELEMENTSOF(waiting)) {
                waiting[n] = change_new(&bench);
                assert_int_equal(store_change_put_note(waiting[n], "k", "v"), 0);
                assert_int_equal(store_commit(waiting[n], on_done, &bench), 0);
                n++;
        }
        change = change_new(&bench);
        assert_int_equal(store_change_put_note(change, "k", "w"), 0);
        assert_int_equal(store_commit(change, on_done, &bench), -EBUSY);
        store_change_free(change); /* still the caller's */
        lane_drain(bench.lane);
        assert_int_equal(bench.n_done, n);
        bench_close(&bench);
}

/* --- kill -9 --- */

/* Commits "1", "2" …: a certificate and the note in one transaction; says each number when it is done. */
static int writer_main(const char *directory, int fd)
{
        Failure failure = { 0 };
        sd_event *event = NULL;
        Store *store = NULL;
        Bench bench = { 0 };
        Lane *lane = NULL;

        if (sd_event_new(&event) < 0 || lane_new(event, 10, &lane) < 0 ||
            store_open(directory, lane, &store, &failure) != 0)
                _exit(9);
        for (uint32_t number = 1;; number++) {
                Certificate *certificate = NULL;
                StoreChange *change = NULL;
                char text[16];

                snprintf(text, sizeof(text), "%u", number);
                if (certificate_new(number % 2 ? "odd" : "even", text, &certificate) < 0 ||
                    certificate_add_generation(certificate, generation_make(1, 3, 900)) < 0 ||
                    store_change_new(store, &change) < 0 ||
                    store_change_put_certificate(change, certificate) < 0 ||
                    store_change_put_note(change, "number", text) < 0 ||
                    store_commit(change, on_done, &bench) < 0)
                        _exit(10);
                lane_drain(lane);
                if (bench.failure.status != 0 || write(fd, &number, sizeof(number)) < 0)
                        _exit(11);
                certificate_free(certificate);
        }
}

/* Lets it acknowledge n commits, kills it in the middle of whatever is next; the last number it said. */
static uint32_t kill_writer_after(const char *directory, unsigned n)
{
        uint32_t number = 0, last = 0;
        int fds[2], status;
        pid_t pid;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                /* A new program, not a copy of this one: that would have its threads' locks, held. */
                if (dup2(fds[1], STDOUT_FILENO) >= 0)
                        execl("/proc/self/exe", "test-store", "--writer", directory, NULL);
                _exit(8);
        }
        assert_true(pid > 0);
        close(fds[1]);
        for (unsigned i = 0; i < n; i++) {
                assert_int_equal(read(fds[0], &number, sizeof(number)), sizeof(number));
                last = number;
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        while (read(fds[0], &number, sizeof(number)) == (ssize_t)sizeof(number))
                last = number;
        close(fds[0]);
        return last;
}

static void assert_whole(const char *path)
{
        sqlite3_stmt *statement = NULL;
        sqlite3 *handle = NULL;

        assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(handle, "PRAGMA integrity_check", -1, &statement, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        assert_string_equal((const char *)sqlite3_column_text(statement, 0), "ok");
        sqlite3_finalize(statement);
        sqlite3_close(handle);
}

static void test_kill(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        for (unsigned round = 0; round < KILL_ROUNDS; round++) {
                uint32_t said = kill_writer_after(bench.directory, 1 + round * 7 % 13), kept;

                assert_true(said > 0);
                assert_int_equal(bench_try(&bench), 0);
                bench_read(&bench);
                kept = (uint32_t)atoi(bench.note + strlen("number="));
                /* All that was said; at most the one that was under way besides. */
                assert_true(kept == said || kept == said + 1);
                for (size_t i = 0; i < bench.n_certificates; i++) {
                        uint32_t number = (uint32_t)atoi(bench.certificates[i]->source);

                        assert_string_equal(bench.certificates[i]->id, number % 2 ? "odd" : "even");
                        assert_int_equal(bench.certificates[i]->generations[0]->chain.n, 3);
                        /* The note and its certificate are of one transaction. */
                        if (number % 2 == kept % 2)
                                assert_int_equal(number, kept);
                }
                bench_stop(&bench);
                assert_whole(bench.path);
                bench_start(&bench);
        }
        bench_close(&bench);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_replace_and_delete),
                cmocka_unit_test(test_change_is_a_copy),
                cmocka_unit_test(test_reader_stops),
                cmocka_unit_test(test_two_daemons),
                cmocka_unit_test(test_newer_schema),
                cmocka_unit_test(test_foreign_database),
                cmocka_unit_test(test_not_a_database),
                cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_wrong_places),
                cmocka_unit_test(test_disk_full),
                cmocka_unit_test(test_queue_full),
                cmocka_unit_test(test_kill),
        };

        if (argc == 3 && strcmp(argv[1], "--writer") == 0)
                return writer_main(argv[2], STDOUT_FILENO);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
