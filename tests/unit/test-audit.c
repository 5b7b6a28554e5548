/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: the chain, its end after a crash or an edit, rotation, and what waits for the disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "audit-bench.h"
#include "broker/audit/tail.h"

static int fdatasync_errno; /* not 0: a disk that fails */

/* In place of the C library's, for the whole program. */
int fdatasync(int fd)
{
        errno = fdatasync_errno;
        return fdatasync_errno ? -1 : fsync(fd);
}

static bool may_only_grow; /* as a file with the attribute a of chattr(1) */

int ftruncate(int fd, off_t size)
{
        if (may_only_grow)
                errno = EPERM;
        return may_only_grow ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

static void test_chain(void **state)
{
        char prev[65] = ZEROS;
        Log *log = *state;
        struct stat status;

        open_log(log, 1 << 20, 100000);
        append_many(log, 10);
        assert_int_equal(log->n_done, 10);
        assert_int_equal(log->n_failed, 0);
        assert_int_equal(follow(log->path, prev), 10);
        assert_string_equal(audit_head(log->audit)->hash, prev);
        assert_int_equal(log->stored.seq, 10);
        assert_int_equal(audit_unsynced(log->audit), 0);
        assert_int_equal(stat(log->path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
}

static void test_goes_on_after_a_restart(void **state)
{
        char prev[65] = ZEROS;
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 3);
        close_log(log);
        open_log(log, 1 << 20, 100000);
        assert_string_equal(audit_problem(log->audit), "");
        append_many(log, 2);
        assert_int_equal(follow(log->path, prev), 5);
}

static void test_store_behind_the_file_is_no_gap(void **state)
{
        char prev[65] = ZEROS;
        AuditHead early;
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 3);
        early = log->stored;
        append_many(log, 3);
        close_log(log);
        log->stored = early;
        open_log(log, 1 << 20, 100000);
        assert_string_equal(audit_problem(log->audit), "");
        assert_int_equal(audit_head(log->audit)->seq, 6);
        append_many(log, 1);
        assert_int_equal(follow(log->path, prev), 7);
}

static void test_store_that_knows_nothing_yet_is_no_gap(void **state)
{
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 3);
        close_log(log);
        log->stored = (AuditHead){ .hash = ZEROS };
        open_log(log, 1 << 20, 100000);
        assert_string_equal(audit_problem(log->audit), "");
}

static void assert_gap(Log *log)
{
        open_log(log, 1 << 20, 100000);
        assert_string_not_equal(audit_problem(log->audit), "");
        append_many(log, 1);
        assert_int_equal(log->n_failed, 0);
}

static void test_cut_log_is_a_gap(void **state)
{
        char line[4096];
        Log *log = *state;
        FILE *file;

        open_log(log, 1 << 20, 100000);
        append_many(log, 5);
        close_log(log);

        file = fopen(log->path, "re");
        assert_non_null(fgets(line, sizeof(line), file));
        fclose(file);
        assert_int_equal(truncate(log->path, (off_t)strlen(line)), 0);
        assert_gap(log);
        assert_int_equal(audit_head(log->audit)->seq,
                         7); /* five, the gap, and one more: no number twice */
        memset(line, '0', 64);
        line[64] = '\0';
        assert_int_equal(follow(log->path, line), 3); /* the first, the gap, and one more */
}

static void test_missing_log_is_a_gap(void **state)
{
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 5);
        close_log(log);
        assert_int_equal(unlink(log->path), 0);
        assert_gap(log);
        /* five, the gap, that the first is gone, and one more: numbers are never used twice */
        assert_int_equal(audit_head(log->audit)->seq, 8);
}

static void test_edited_last_line_is_a_gap(void **state)
{
        Log *log = *state;
        int fd;

        open_log(log, 1 << 20, 100000);
        append_many(log, 5);
        close_log(log);
        fd = open(log->path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "X", 1, lseek(fd, 0, SEEK_END) - 100), 1);
        close(fd);
        assert_gap(log);
}

static void test_torn_line_is_a_gap(void **state)
{
        Log *log = *state;
        FILE *file;

        open_log(log, 1 << 20, 100000);
        append_many(log, 2);
        close_log(log);
        file = fopen(log->path, "ae");
        fputs("{\"time\":\"20", file);
        fclose(file);
        assert_gap(log);
}

static void test_always_waits_for_the_disk(void **state)
{
        Log *log = *state;

        open_log(log, 1 << 20, 0);
        append(log, "Sign");
        append(log, "Sign");
        assert_int_equal(log->n_done, 0);
        lane_drain(log->lane);
        assert_int_equal(log->n_done, 2);
        assert_int_equal(log->n_failed, 0);
        assert_int_equal(log->stored.seq, 2);
}

typedef struct Turn {
        char *order; /* of all: a letter for each that was answered */
        char letter;
        int r;
} Turn;

static void on_turn(void *userdata, int r)
{
        Turn *turn = userdata;

        turn->r = r;
        strncat(turn->order, &turn->letter, 1);
}

static void append_turn(Log *log, Turn *turn)
{
        audit_append(log->audit, &(AuditRecord){ .event = "Sign", .object = "/o", .result = "ok" },
                     on_turn, turn);
}

/* What is recorded first is answered first, also where the later one would not have to wait. */
static void test_answers_keep_the_order_of_their_records(void **state)
{
        struct rlimit before, small;
        char order[8] = "";
        Turn turns[] = { { order, 'a', 1 }, { order, 'b', 1 }, { order, 'c', 1 } };
        Log *log = *state;
        struct stat status;

        open_log(log, 1 << 20, 0);
        append_turn(log, &turns[0]);
        audit_configure(log->audit, &(AuditSettings){ log->path, 1 << 20, 100000, NULL });
        append_turn(log, &turns[1]);

        assert_int_equal(stat(log->path, &status), 0);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        small = (struct rlimit){ (rlim_t)status.st_size, before.rlim_max };
        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        append_turn(log, &turns[2]);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);

        assert_string_equal(order, "");
        lane_drain(log->lane);
        assert_string_equal(order, "abc");
        assert_int_equal(turns[0].r, 0);
        assert_int_equal(turns[1].r, 0);
        assert_true(turns[2].r < 0);
        append_turn(log, &turns[2]);
        assert_string_equal(order, "abcc");
}

static void test_full_disk_fails_and_leaves_whole_lines(void **state)
{
        char prev[65] = ZEROS, expected[32];
        struct rlimit before, small = { 700, 700 };
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 1);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        small.rlim_max = before.rlim_max;
        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        append(log, "Sign");
        append(log, "Sign");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_true(log->n_failed >= 1);
        assert_true(log->last < 0);
        assert_string_not_equal(audit_problem(log->audit), "");
        assert_true(audit_is_failing(log->audit));
        append(log, "Sign");
        assert_int_equal(log->last, 0);
        assert_false(audit_is_failing(log->audit));
        assert_string_equal(audit_problem(log->audit), "");
        assert_int_equal(follow(log->path, prev), 4 - log->n_failed + 1);
        snprintf(expected, sizeof(expected), "%u lost since 2", log->n_failed);
        assert_true(line_says(log, 1, "resume", expected));
        assert_int_equal(audit_lost(log->audit)->n, 0);
        assert_int_equal(audit_resumed_at(log->audit), audit_head(log->audit)->seq - 1);
}

/* Half a line that cannot be taken back spoils no other one, and what others wrote meanwhile is not taken with it. */
static void test_half_a_line_that_stays(void **state)
{
        struct rlimit before, small = { 700, 700 };
        Log *log = *state;

        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        small.rlim_max = before.rlim_max;
        for (unsigned i = 0; i < 2; i++) {
                char line[1024], prev[65] = ZEROS;
                unsigned n_halves = 0;
                FILE *file;

                log->stored = (AuditHead){ .hash = ZEROS };
                log->n_failed = 0;
                open_log(log, 1 << 20, 100000);
                may_only_grow = true;
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
                append_many(log, 5);
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
                assert_true(log->n_failed >= 2);
                may_only_grow = i == 0;
                append_many(log, 1);
                may_only_grow = false;
                assert_int_equal(log->last, 0);
                assert_int_equal(strstr(audit_problem(log->audit), "half a line") != NULL, i == 0);

                file = fopen(log->path, "re");
                while (fgets(line, sizeof(line), file))
                        n_halves += strstr(line, "}\n") == NULL;
                fclose(file);
                assert_int_equal(n_halves, i == 0);
                if (i == 1)
                        assert_int_equal(follow(log->path, prev), audit_head(log->audit)->seq);
                close_log(log);
                assert_int_equal(unlink(log->path), 0);
        }
}

/* What is written but cannot be made durable is a failure too, until it can. */
static void test_a_sync_that_fails(void **state)
{
        Log *log = *state;
        unsigned n_planned;

        open_log(log, 1 << 20, 100000);
        append(log, "Sign");
        fdatasync_errno = EIO;
        n_planned = log->n_planned;
        audit_sync(log->audit);
        lane_drain(log->lane);
        assert_int_equal(log->n_sync_failed, 1);
        assert_int_equal(log->n_planned, n_planned + 1);
        assert_true(audit_is_failing(log->audit));
        assert_non_null(strstr(audit_problem(log->audit), "durable"));
        assert_int_equal(audit_try(log->audit), -EIO);
        append(log, "Sign");
        assert_true(audit_is_failing(log->audit));

        fdatasync_errno = 0;
        audit_sync(log->audit);
        lane_drain(log->lane);
        assert_false(audit_is_failing(log->audit));
        assert_int_equal(audit_try(log->audit), 0);
        assert_int_equal(log->stored.seq, 2);
        assert_true(line_says(log, 0, "resume", "1 to 1 may be missing on the disk"));
}

/* With audit-sync = "always" who waits for the disk is told. */
static void test_always_tells_of_a_sync_that_fails(void **state)
{
        Log *log = *state;

        open_log(log, 1 << 20, 0);
        fdatasync_errno = EIO;
        append(log, "Sign");
        lane_drain(log->lane);
        fdatasync_errno = 0;
        assert_int_equal(log->last, -EIO);
}

static void test_text_is_escaped(void **state)
{
        char prev[65] = ZEROS;
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        audit_append(
                log->audit,
                &(AuditRecord){ .event = "Sign", .unit = "a\"b\\c\nd.service", .result = "ok" },
                log_on_done, log);
        assert_int_equal(log->last, 0);
        assert_int_equal(follow(log->path, prev), 1);
}

/* A caller may ask for any generation, which is then not found: it is no negative number, and the line can be read. */
static void test_numbers_that_json_has_not(void **state)
{
        static const uint64_t numbers[] = { INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX };
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                json_t *record;

                audit_append(log->audit,
                             &(AuditRecord){ .event = "Retire", .generation = numbers[i] },
                             log_on_done, log);
                record = last_record(log);
                assert_int_equal(json_integer_value(json_object_get(record, "generation")),
                                 INT64_MAX);
                json_decref(record);
        }
}

static void test_bad_directory(void **state)
{
        const AuditSettings settings = { "/nonexistent/audit.jsonl", 1 << 20, 0, NULL };
        Failure failure = { 0 };
        Audit *audit = NULL;
        Log *log = *state;

        assert_int_equal(audit_open(&settings, &log->stored, log->lane, &(AuditEvents){ 0 }, NULL,
                                    &audit, &failure),
                         CB_FAILED);
        assert_non_null(strstr(failure.text, "/nonexistent/audit.jsonl"));
        assert_null(audit);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_chain),
                CASE(test_goes_on_after_a_restart),
                CASE(test_store_behind_the_file_is_no_gap),
                CASE(test_store_that_knows_nothing_yet_is_no_gap),
                CASE(test_cut_log_is_a_gap),
                CASE(test_missing_log_is_a_gap),
                CASE(test_edited_last_line_is_a_gap),
                CASE(test_torn_line_is_a_gap),
                CASE(test_always_waits_for_the_disk),
                CASE(test_answers_keep_the_order_of_their_records),
                CASE(test_full_disk_fails_and_leaves_whole_lines),
                CASE(test_half_a_line_that_stays),
                CASE(test_a_sync_that_fails),
                CASE(test_always_tells_of_a_sync_that_fails),
                CASE(test_text_is_escaped),
                CASE(test_numbers_that_json_has_not),
                CASE(test_bad_directory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
