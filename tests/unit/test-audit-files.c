/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log's files: rotated by us, renamed or removed by others; and what is read of them at a start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit-bench.h"

static void test_rotation(void **state)
{
        char prev[65] = ZEROS, path[128];
        unsigned n = 0, last = 0;
        Log *log = *state;

        open_log(log, 1000, 100000);
        append_many(log, 20);
        assert_int_equal(log->n_failed, 0);
        for (unsigned i = 1; i < 20; i++) {
                snprintf(path, sizeof(path), "%s.%u", log->path, i);
                if (access(path, F_OK) == 0)
                        last = i;
        }
        assert_true(last >= 3);
        for (unsigned i = last; i >= 1; i--) {
                snprintf(path, sizeof(path), "%s.%u", log->path, i);
                n += follow(path, prev);
        }
        n += follow(log->path, prev);
        assert_int_equal(n, 20);
        close_log(log);
        open_log(log, 1000, 100000);
        assert_string_equal(audit_problem(log->audit), "");
}

/* No descriptor is left for the new file: the old one goes back to its name, and rotation is done later. */
static void test_rotation_that_fails_is_done_later(void **state)
{
        struct rlimit before, none;
        Log *log = *state;
        struct stat status;
        int lowest_free;
        char first[128];

        open_log(log, 1000, 100000);
        do
                append_many(log, 1);
        while (stat(log->path, &status) == 0 && status.st_size < 1000);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        lowest_free = dup(0);
        assert_true(lowest_free >= 0);
        close(lowest_free);
        none = (struct rlimit){ (rlim_t)lowest_free, before.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        append(log, "Sign");
        append(log, "Sign");
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(log->n_failed, 2);

        append(log, "Sign");
        assert_int_equal(log->n_failed, 2);
        assert_int_equal(log->last, 0);
        snprintf(first, sizeof(first), "%s.1", log->path);
        assert_int_equal(access(first, F_OK), 0);
        assert_int_equal(access(log->path, F_OK), 0);
}

/* Who was killed meanwhile is followed by one who was told of it, and says so before anything else. */
static void test_what_was_lost_before_the_start(void **state)
{
        const AuditLost lost = { 3, 86400 * USEC_PER_SEC, true };
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 1);
        audit_recall_lost(log->audit, &lost);
        assert_true(line_says(log, 0, "resume",
                              "at least 3 lost since 1970-01-02T00:00:00.000000Z"));
        assert_int_equal(audit_lost(log->audit)->n, 0);
        assert_int_equal(audit_resumed_at(log->audit), 2);
}

/* That is known after the configuration was read, and until then more may be lost. */
static void test_what_was_lost_before_the_start_and_since(void **state)
{
        const AuditLost lost = { 3, 86400 * USEC_PER_SEC, false };
        char aside[128];
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 1);
        snprintf(aside, sizeof(aside), "%s-aside", log->path);
        assert_int_equal(rename(log->path, aside), 0);
        assert_int_equal(mkdir(log->path, 0700), 0);
        append_many(log, 2);
        audit_recall_lost(log->audit, &lost);
        assert_int_equal(audit_lost(log->audit)->n, 5);
        assert_int_equal(rmdir(log->path), 0);
        assert_int_equal(rename(aside, log->path), 0);
        append_many(log, 1);
        assert_true(line_says(log, 1, "resume", "5 lost since 1970-01-02T00:00:00.000000Z"));
}

/* A record that the log has, in this file or the one before it; one that it has not; and one of another hash. */
static void test_has_a_record(void **state)
{
        AuditHead head, other;
        char first[128];
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 3);
        head = other = *audit_head(log->audit);
        append_many(log, 3);
        assert_true(audit_has(log->audit, &head));
        other.hash[0] = head.hash[0] == '0' ? '1' : '0';
        assert_false(audit_has(log->audit, &other));
        other = *audit_head(log->audit);
        other.seq++;
        assert_false(audit_has(log->audit, &other));
        snprintf(first, sizeof(first), "%s.1", log->path);
        assert_int_equal(rename(log->path, first), 0);
        append_many(log, 3);
        assert_true(audit_has(log->audit, &head));
}

typedef struct Told {
        uint64_t first, last;
        unsigned n, n_disabled, n_enabled;
} Told;

static unsigned n_goes_on;

static void on_goes_on(void)
{
        n_goes_on++;
}

static void on_past(void *userdata, const AuditPast *past)
{
        Told *told = userdata;

        if (told->n++ == 0)
                told->first = past->seq;
        assert_true(past->seq > told->last);
        told->last = past->seq;
        told->n_disabled += past->is_disabled;
        told->n_enabled += past->is_enabled;
        assert_string_equal(past->object, "/c");
}

static void append_change(Log *log, const char *event, bool disables, const char *result)
{
        bool is_switch = strcmp(event, "SetEnabled") == 0;

        audit_append(log->audit,
                     &(AuditRecord){ .event = event,
                                     .object = "/c",
                                     .generation = 3,
                                     .is_disabled = is_switch && disables,
                                     .is_enabled = is_switch && !disables,
                                     .result = result },
                     log_on_done, log);
}

/* Among thousands of signatures, in one large file or in many, each change after a record and none before it. */
static void test_changes_since_a_record(void **state)
{
        static const uint64_t max_sizes[] = { 1 << 30, 400000 };
        Log *log = *state;
        Told told = { 0 };

        for (size_t i = 0; i < ELEMENTSOF(max_sizes); i++) {
                uint64_t start = log->stored.seq;

                open_log(log, max_sizes[i], 100000);
                for (unsigned k = 1; k <= 18000; k++) {
                        if (k % 3000 == 0)
                                append_change(log, "Retire", false, "ok");
                        else if (k % 3000 == 1)
                                append_change(log, "SetEnabled", k / 3000 % 2, "ok");
                        else if (k % 3000 == 2)
                                append_change(log, "Delete", false, "InUse");
                        else
                                append(log, "Sign");
                }
                for (uint64_t seq = 0; seq <= 18000; seq += 1500) {
                        uint64_t first = seq % 3000 == 0 ? seq + 1 : seq + 1500;

                        told = (Told){ 0 };
                        assert_int_equal(audit_read_since(log->audit, start + seq, on_past,
                                                          on_goes_on, &told),
                                         0);
                        assert_int_equal(told.n, (18000 - seq) / 1500);
                        assert_int_equal(told.first, told.n ? start + first : 0);
                }
                n_goes_on = 0;
                told = (Told){ 0 };
                assert_int_equal(audit_read_since(log->audit, start, on_past, on_goes_on, &told),
                                 0);
                assert_int_equal(told.n, 12);
                append_many(log, 1);
                close_log(log);
        }
        told = (Told){ 0 };
        open_log(log, 1 << 30, 100000);
        assert_int_equal(audit_read_since(log->audit, 0, on_past, on_goes_on, &told), 0);
        assert_int_equal(told.n, 24);
        assert_int_equal(told.n_disabled, 6);
        assert_int_equal(told.n_enabled, 6);
}

/* What is in files that were taken away is not known, and not taken for nothing. */
static void test_changes_since_a_record_that_is_gone(void **state)
{
        Log *log = *state;
        Told told = { 0 };
        char path[160];
        unsigned n = 0;

        open_log(log, 2000, 100000);
        append_change(log, "Retire", false, "ok");
        append_many(log, 100);
        append_change(log, "Delete", false, "ok");
        while (snprintf(path, sizeof(path), "%s.%u", log->path, n + 1) > 0 && access(path, F_OK) == 0)
                n++;
        assert_true(n > 1);
        assert_int_equal(audit_read_since(log->audit, 0, on_past, on_goes_on, &told), 0);
        assert_int_equal(told.n, 2);
        snprintf(path, sizeof(path), "%s.%u", log->path, n);
        assert_int_equal(unlink(path), 0);
        told = (Told){ 0 };
        assert_int_equal(audit_read_since(log->audit, 1, on_past, on_goes_on, &told), -ENODATA);
        assert_int_equal(told.n, 1);
}

/* Whoever renames the file under us, as logrotate does, finds the chain going on in a new one. */
static void test_renamed_file(void **state)
{
        char prev[65] = ZEROS, first[128];
        Log *log = *state;
        FILE *other;

        open_log(log, 1 << 20, 100000);
        append_many(log, 3);
        snprintf(first, sizeof(first), "%s.1", log->path);
        assert_int_equal(rename(log->path, first), 0);
        append_many(log, 2);
        assert_string_equal(log->moved, "renamed after record 3");
        assert_int_equal(log->n_failed, 0);
        assert_int_equal(log->n_losses, 0);
        assert_int_equal(follow(first, prev), 3);
        assert_int_equal(follow(log->path, prev), 3);
        assert_string_equal(audit_problem(log->audit), "");

        /* likewise where there is a file already, which ends within a line, and at a restart */
        assert_int_equal(unlink(first), 0);
        assert_int_equal(rename(log->path, first), 0);
        other = fopen(log->path, "we");
        fputs("torn", other);
        fclose(other);
        append_many(log, 1);
        assert_string_equal(log->moved, "renamed after record 6");
        assert_true(line_says(log, 1, "removed", "oldest 4 "));
        assert_int_equal(audit_head(log->audit)->seq, 9); /* moved, removed and the one that was asked for */
        assert_int_equal(log->n_losses, 1);
        close_log(log);
        open_log(log, 1 << 20, 100000);
        assert_string_equal(audit_problem(log->audit), "");
}

/* As logrotate with `dateext` and `extension`: their order is told by the chain alone. */
static void test_files_of_any_name(void **state)
{
        static const char *const names[] = { "audit-20270102.jsonl", "audit.jsonl-20270103",
                                             "audit.kept" };
        AuditHead before;
        char path[160];
        Log *log = *state;
        FILE *other;

        open_log(log, 1 << 20, 100000);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                append_many(log, 3);
                before = *audit_head(log->audit);
                snprintf(path, sizeof(path), "%s/%s", log->folder, names[i]);
                assert_int_equal(rename(log->path, path), 0);
        }
        append_many(log, 1);
        assert_true(audit_has(log->audit, &before));
        snprintf(path, sizeof(path), "%s/audit.other", log->folder);
        other = fopen(path, "we");
        fputs("{\"time\":\"2027-01-01T00:00:00.000000Z\",\"seq\":99,\"prev\":\"" ZEROS
              "\"}\n",
              other);
        fclose(other);
        close_log(log);
        open_log(log, 1 << 20, 100000);
        assert_string_equal(audit_problem(log->audit), "");
        assert_int_equal(log->oldest.seq, 1);
        assert_int_equal(log->n_losses, 0);

        /* an empty one in its place when it was not running, as `create` makes */
        append_many(log, 1);
        before = *audit_head(log->audit);
        close_log(log);
        snprintf(path, sizeof(path), "%s-20270104", log->path);
        assert_int_equal(rename(log->path, path), 0);
        fclose(fopen(log->path, "we"));
        open_log(log, 1 << 20, 100000);
        assert_string_equal(audit_problem(log->audit), "");
        assert_int_equal(audit_head(log->audit)->seq, before.seq);
        assert_string_equal(audit_head(log->audit)->hash, before.hash);
        assert_int_equal(log->n_losses, 0);
}

/* The chain is broken at a file's end: those before it tell of what has ended all the same. */
static void test_behind_a_changed_file(void **state)
{
        char first[128], second[128];
        Told told = { 0 };
        Log *log = *state;
        int fd;

        open_log(log, 1 << 20, 100000);
        append_change(log, "Retire", false, "ok");
        snprintf(first, sizeof(first), "%s.1", log->path);
        snprintf(second, sizeof(second), "%s.2", log->path);
        assert_int_equal(rename(log->path, second), 0);
        append_many(log, 3);
        assert_int_equal(rename(log->path, first), 0);
        append_many(log, 1);
        fd = open(first, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "X", 1, lseek(fd, 0, SEEK_END) - 100), 1);
        close(fd);
        assert_int_equal(audit_read_since(log->audit, 0, on_past, on_goes_on, &told), 0);
        assert_int_equal(told.n, 1);
        assert_int_equal(told.first, 1);
}

static void test_removed_file(void **state)
{
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 3);
        assert_int_equal(unlink(log->path), 0);
        audit_sync(log->audit);
        append_many(log, 1);
        assert_string_equal(log->moved, "removed after record 3");
        assert_int_equal(log->n_losses, 1);
        assert_non_null(strstr(audit_problem(log->audit), "was 1 and is 4 now"));
}

/* A file at its limit is renamed by us: one that another has renamed before is not moved on once more. */
static void test_renamed_at_its_limit(void **state)
{
        char prev[65] = ZEROS, path[128];
        Log *log = *state;
        struct stat status;

        open_log(log, 1000, 100000);
        do
                append_many(log, 1);
        while (stat(log->path, &status) == 0 && status.st_size < 1000);
        snprintf(path, sizeof(path), "%s.1", log->path);
        assert_int_equal(rename(log->path, path), 0);
        append_many(log, 1);
        assert_int_equal(log->n_failed, 0);
        assert_true(follow(path, prev) > 1);
        assert_int_equal(follow(log->path, prev), 2);
        snprintf(path, sizeof(path), "%s.2", log->path);
        assert_int_equal(access(path, F_OK), -1);
}

/* Where no other file can be begun, nothing is recorded: least of all in one that has no name. */
static void test_moved_and_no_other(void **state)
{
        char aside[128];
        Log *log = *state;

        open_log(log, 1 << 20, 100000);
        append_many(log, 1);
        snprintf(aside, sizeof(aside), "%s-aside", log->path);
        assert_int_equal(rename(log->path, aside), 0);
        assert_int_equal(mkdir(log->path, 0700), 0);
        append_many(log, 1);
        assert_int_equal(log->n_failed, 1);
        assert_true(audit_is_failing(log->audit));
        assert_non_null(strstr(audit_problem(log->audit), "; move away what is in its place"));
        assert_int_equal(rmdir(log->path), 0);
        assert_int_equal(rename(aside, log->path), 0);
        append_many(log, 1);
        assert_int_equal(log->n_failed, 1);
        assert_true(line_says(log, 1, "resume", "1 lost since 2"));
}

static void rename_to(const Log *log, unsigned from, unsigned to)
{
        char old[128], new[128];

        snprintf(old, sizeof(old), from ? "%s.%u" : "%s", log->path, from);
        snprintf(new, sizeof(new), "%s.%u", log->path, to);
        assert_int_equal(rename(old, new), 0);
}

/*
 * A crash around a rotation: the store, which knows of a record before it, does not fit the new file, be that empty, not
 * there, or begun. Nothing is missing, and no number is used twice.
 */
static void test_crash_around_a_rotation(void **state)
{
        Log *log = *state;

        for (unsigned i = 0; i < 3; i++) {
                char prev[65] = ZEROS, path[128];
                AuditHead behind;
                unsigned n;

                log->stored = (AuditHead){ .hash = ZEROS };
                log->oldest = (AuditHead){ 0 };
                open_log(log, 1 << 20, 100000);
                append_many(log, 2);
                behind = log->stored;
                append_many(log, 3);
                n = 5;
                if (i == 2) {
                        rename_to(log, 0, 1);
                        append_many(log, 1);
                        n += 2; /* it says that it was renamed */
                }
                close_log(log);
                if (i < 2)
                        rename_to(log, 0, 1);
                if (i == 1)
                        fclose(fopen(log->path, "we"));

                log->stored = behind;
                open_log(log, 1 << 20, 100000);
                assert_string_equal(audit_problem(log->audit), "");
                assert_int_equal(audit_head(log->audit)->seq, n);
                append_many(log, 1);
                snprintf(path, sizeof(path), "%s.1", log->path);
                assert_int_equal(follow(path, prev) + follow(log->path, prev), n + 1);
                assert_int_equal(log->n_losses, 0);
                close_log(log);
                assert_int_equal(unlink(log->path), 0);
                assert_int_equal(unlink(path), 0);
        }
}

/* What is found may never have been synced: whoever takes it up does so, though nothing is recorded. */
static void test_what_is_found_is_synced(void **state)
{
        Log *log = *state;
        AuditHead behind;
        unsigned n;

        open_log(log, 1 << 20, 100000);
        append_many(log, 1);
        behind = log->stored;
        append_many(log, 1);
        close_log(log);
        log->stored = behind;
        n = log->n_planned;
        open_log(log, 1 << 20, 100000);
        assert_int_equal(log->n_planned, n + 1);
        assert_int_equal(audit_unsynced(log->audit), 1);
        audit_sync(log->audit);
        lane_drain(log->lane);
        assert_int_equal(log->stored.seq, 2);
        assert_int_equal(audit_unsynced(log->audit), 0);
}

/* One that came to its end in the midst of the renames leaves a number free, wherever that is; and goes on from there. */
static void test_rotation_that_was_broken_off(void **state)
{
        Log *log = *state;
        char path[128];
        unsigned last;

        open_log(log, 1000, 100000);
        append_many(log, 20);
        close_log(log);
        for (last = 1; snprintf(path, sizeof(path), "%s.%u", log->path, last) > 0 && access(path, F_OK) == 0;)
                last++;
        assert_true(--last >= 3);
        for (unsigned i = last; i >= 1; i--) {
                for (unsigned k = last; k >= i; k--)
                        rename_to(log, k, k + 1);
                open_log(log, 1 << 20, 100000);
                assert_int_equal(log->n_losses, 0);
                assert_string_equal(audit_problem(log->audit), "");
                snprintf(path, sizeof(path), "%s.%u", log->path, last);
                assert_int_equal(access(path, F_OK), 0);
                snprintf(path, sizeof(path), "%s.%u", log->path, last + 1);
                assert_int_equal(access(path, F_OK), -1);
                close_log(log);
        }

        /* Where one was taken away, that is no such hole: what is missing shows. */
        snprintf(path, sizeof(path), "%s.2", log->path);
        assert_int_equal(unlink(path), 0);
        open_log(log, 1 << 20, 100000);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(log->n_losses, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_rotation),
                CASE(test_rotation_that_fails_is_done_later),
                CASE(test_what_was_lost_before_the_start),
                CASE(test_what_was_lost_before_the_start_and_since),
                CASE(test_has_a_record),
                CASE(test_changes_since_a_record),
                CASE(test_changes_since_a_record_that_is_gone),
                CASE(test_renamed_file),
                CASE(test_files_of_any_name),
                CASE(test_behind_a_changed_file),
                CASE(test_removed_file),
                CASE(test_renamed_at_its_limit),
                CASE(test_moved_and_no_other),
                CASE(test_crash_around_a_rotation),
                CASE(test_what_is_found_is_synced),
                CASE(test_rotation_that_was_broken_off),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
