/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store when something is wrong: whatever is refused is left alone, a full disk loses nothing,
 * and what was acknowledged survives a kill in the middle of the next commit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <systemd/sd-event.h>

#include "store-bench.h"

#define KILL_ROUNDS 20

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

static int refuse_as_known(void *userdata, Certificate *certificate)
{
        certificate_free(certificate);
        return -EEXIST;
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

/* What schema version 2 knew of all generations of a certificate alike, and version 1 of a key: is it gone? */
static void test_older_schema(void **state)
{
        static const char *const undo_2 =
                "ALTER TABLE generation DROP COLUMN warning;" /* of version 5 */
                "ALTER TABLE generation DROP COLUMN lost_names;"
                "ALTER TABLE certificate DROP COLUMN withheld;" /* of version 4 */
                "ALTER TABLE certificate ADD COLUMN extractable INTEGER NOT NULL DEFAULT 0"
                " CHECK (extractable IN (0, 1));"
                "UPDATE certificate SET extractable = 1 WHERE id = 'b';"
                "ALTER TABLE generation DROP COLUMN extractable;"
                "PRAGMA user_version = 2";
        static const char *const undo_1 =
                "ALTER TABLE certificate ADD COLUMN key_gone INTEGER NOT NULL DEFAULT 0"
                " CHECK (key_gone IN (0, 1));"
                "UPDATE certificate SET key_gone = 1 WHERE id = 'b';"
                "ALTER TABLE certificate DROP COLUMN verdict;"
                "PRAGMA user_version = 1";

        for (int version = 2; version >= 1; version--) {
                Bench bench;

                bench_open(&bench);
                assert_int_equal(bench_try(&bench), 0);
                put_certificate(&bench, "a", 1);
                put_certificate(&bench, "b", 2);
                bench.store = store_free(bench.store);
                file_execute(bench.path, undo_2);
                if (version == 1)
                        file_execute(bench.path, undo_1);
                assert_int_equal(bench_try(&bench), 0);
                bench_read(&bench);
                assert_int_equal(bench.certificates[0]->verdict, KEY_USABLE);
                assert_int_equal(bench.certificates[1]->verdict,
                                 version == 1 ? KEY_GONE : KEY_USABLE);
                assert_false(bench.certificates[0]->generations[0]->extractable);
                assert_int_equal(bench.certificates[1]->n_generations, 2);
                assert_true(bench.certificates[1]->generations[0]->extractable);
                assert_true(bench.certificates[1]->generations[1]->extractable);
                bench_close(&bench);
        }
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

/*
 * No room on the disk: a limit on file sizes stands for it. The loop goes on, and so does the
 * store.
 */
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
        assert_non_null(strstr(bench.failure.text, "writing the store"));

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

/* A disk that is full only when it comes to it: as it is for COMMIT, and for BEGIN in a small log. */
static void test_commit_that_fails_is_no_reading(void **state)
{
        struct rlimit before, none;
        StoreChange *change;
        Bench bench;

        (void)state;
        signal(SIGXFSZ, SIG_IGN);
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        none = (struct rlimit){ 0, before.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
        change = change_new(&bench);
        assert_int_equal(store_change_put_note(change, "k", "v"), 0);
        assert_int_equal(commit(&bench, change), CB_FAILED);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_non_null(strstr(bench.failure.text, "writing the store"));
        bench_close(&bench);
}

static int fsync_errno; /* not 0: a disk that fails */

/* In place of the C library's, for SQLite, too. */
#define PUBLIC __attribute__((visibility("default")))

PUBLIC int fdatasync(int fd)
{
        errno = fsync_errno;
        return fsync_errno ? -1 : (int)syscall(SYS_fdatasync, fd);
}

PUBLIC int fsync(int fd)
{
        errno = fsync_errno;
        return fsync_errno ? -1 : (int)syscall(SYS_fsync, fd);
}

/* Somebody else's copy of the store and its log: what a start would find. */
static void assert_note_in_copy(const Bench *bench, const char *value)
{
        char command[768], copy[160];
        sqlite3_stmt *statement = NULL;
        sqlite3 *handle = NULL;

        snprintf(copy, sizeof(copy), "%s-copy", bench->directory);
        snprintf(command, sizeof(command), "cp %s %s && cp %s-wal %s-wal", bench->path, copy, bench->path, copy);
        assert_int_equal(system(command), 0);
        assert_int_equal(sqlite3_open(copy, &handle), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(handle, "SELECT value FROM note WHERE key = 'k'", -1,
                                            &statement, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        assert_string_equal((const char *)sqlite3_column_text(statement, 0), value);
        sqlite3_finalize(statement);
        sqlite3_close(handle);
        snprintf(command, sizeof(command), "rm -f %s %s-wal %s-shm", copy, copy, copy);
        assert_int_equal(system(command), 0);
}

static int commit_note(Bench *bench, const char *value)
{
        StoreChange *change = change_new(bench);

        assert_int_equal(store_change_put_note(change, "k", value), 0);
        return commit(bench, change);
}

/* Written, and not known to be on the disk: it is refused, and no start finds it, however often that happens. */
static void test_a_sync_that_fails(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        assert_int_equal(commit_note(&bench, "before"), 0);
        fsync_errno = EDQUOT;
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(commit_note(&bench, "refused"), CB_FAILED);
                assert_non_null(strstr(bench.failure.text, bench.path));
                assert_non_null(strstr(bench.failure.text, "Disk quota exceeded"));
                assert_non_null(strstr(bench.failure.text, "a restart may find it"));
                assert_note_in_copy(&bench, "before");
        }
        fsync_errno = 0;
        assert_note_in_copy(&bench, "before");
        assert_int_equal(commit_note(&bench, "after"), 0);
        assert_note_in_copy(&bench, "after");
        bench_close(&bench);
}

/* Tables that are not there, names that are there twice: what to do about it is said, and not where to look for it. */
static void test_says_that_it_is_damaged(void **state)
{
        const StoreReader reader = { .certificate = refuse_as_known };
        Failure failure = { 0 };
        Bench bench;

        (void)state;
        bench_open(&bench);
        assert_int_equal(bench_try(&bench), 0);
        put_certificate(&bench, "a", 1);
        assert_int_equal(store_read(bench.store, &reader, NULL, &failure), CB_FAILED);
        assert_non_null(strstr(failure.text, "damaged"));
        bench.store = store_free(bench.store);
        file_execute(bench.path, "DROP TABLE note");
        assert_int_equal(bench_try(&bench), CB_FAILED);
        assert_non_null(strstr(bench.failure.text, "damaged"));
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

/*
 * Commits "1", "2" …: a certificate and the note in one transaction; says each number when it is
 * done.
 */
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

/*
 * Lets it acknowledge n commits, kills it in the middle of whatever is next; the last number it
 * said.
 */
static uint32_t kill_writer_after(const char *directory, unsigned n)
{
        uint32_t number = 0, last = 0;
        int fds[2], status;
        pid_t pid;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                /*
                 * A new program, not a copy of this one: that would have its threads' locks, held.
                 */
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
                cmocka_unit_test(test_newer_schema),
                cmocka_unit_test(test_older_schema),
                cmocka_unit_test(test_foreign_database),
                cmocka_unit_test(test_not_a_database),
                cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_wrong_places),
                cmocka_unit_test(test_disk_full),
                cmocka_unit_test(test_commit_that_fails_is_no_reading),
                cmocka_unit_test(test_a_sync_that_fails),
                cmocka_unit_test(test_says_that_it_is_damaged),
                cmocka_unit_test(test_queue_full),
                cmocka_unit_test(test_kill),
        };

        if (argc == 3 && strcmp(argv[1], "--writer") == 0)
                return writer_main(argv[2], STDOUT_FILENO);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
