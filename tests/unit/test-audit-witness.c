/* SPDX-License-Identifier: Apache-2.0 */
/* What vouches for the audit log beside its chain: the oldest record that is kept, and the journal's copy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "audit-bench.h"

/* --- the oldest that is kept --- */

static unsigned oldest_file(const Log *log, char *ret_path, size_t n)
{
        unsigned last = 0;

        for (unsigned i = 1; i < 100; i++) {
                snprintf(ret_path, n, "%s.%u", log->path, i);
                if (access(ret_path, F_OK) == 0)
                        last = i;
        }
        snprintf(ret_path, n, "%s.%u", log->path, last);
        return last;
}

static void assert_removed(const Log *log, uint64_t first)
{
        json_t *record = last_record(log);
        unsigned long long seq = 0;

        assert_string_equal(json_string_value(json_object_get(record, "event")), "removed");
        assert_string_equal(json_string_value(json_object_get(record, "result")), "Failed");
        assert_int_equal(
                sscanf(json_string_value(json_object_get(record, "object")), "oldest %llu ", &seq),
                1);
        assert_int_equal(seq, first);
        json_decref(record);
        assert_non_null(strstr(audit_problem(log->audit), "oldest"));
}

static void test_the_oldest_is_known(void **state)
{
        Log *log = *state;

        open_log(log, 1000, 100000);
        assert_int_equal(log->oldest.seq, 1);
        assert_string_equal(log->oldest.hash, ZEROS);
        append_many(log, 20);
        close_log(log);
        log->oldest = (AuditHead){ 0 }; /* as a store of before has it */
        open_log(log, 1000, 100000);
        assert_int_equal(log->oldest.seq, 1);
        assert_int_equal(log->n_losses, 0);
        assert_string_equal(audit_problem(log->audit), "");
}

/* A log of several files without its oldest one. */
static void lose_oldest(Log *log)
{
        char path[128];

        assert_true(oldest_file(log, path, sizeof(path)) > 2);
        assert_int_equal(unlink(path), 0);
}

static void test_older_files_that_are_gone_at_start(void **state)
{
        uint64_t first;
        Log *log = *state;

        open_log(log, 1000, 100000);
        append_many(log, 40);
        close_log(log);
        lose_oldest(log);
        open_log(log, 1 << 20, 100000);
        assert_int_equal(log->n_losses, 1);
        first = log->oldest.seq;
        assert_true(first > 1);
        assert_removed(log, first);
        close_log(log);

        open_log(log, 1 << 20, 100000); /* noted once */
        assert_int_equal(log->n_losses, 1);
        assert_string_equal(audit_problem(log->audit), "");
        close_log(log);

        lose_oldest(log); /* and the next loss again */
        open_log(log, 1 << 20, 100000);
        assert_int_equal(log->n_losses, 2);
        assert_true(log->oldest.seq > first);
        assert_removed(log, log->oldest.seq);
}

static void test_older_files_that_go_meanwhile(void **state)
{
        const AuditSettings settings = { NULL, 1 << 20, 100000, NULL };
        Log *log = *state;
        char prev[65];

        open_log(log, 1000, 100000);
        append_many(log, 20);
        lose_oldest(log);
        while (log->n_losses == 0 && log->n_done < 40)
                append_many(log, 1); /* until it is rotated */
        assert_int_equal(log->n_losses, 1);
        assert_int_equal(log->n_failed, 0);
        assert_non_null(strstr(audit_problem(log->audit), "oldest"));
        memcpy(prev, log->oldest.hash, sizeof(prev));

        lose_oldest(log);
        audit_configure(log->audit, &settings);
        assert_int_equal(log->n_losses, 2);
        assert_removed(log, log->oldest.seq);
        assert_string_not_equal(prev, log->oldest.hash);
        audit_configure(log->audit, &settings); /* whoever reloads has been told */
        assert_string_equal(audit_problem(log->audit), "");
        assert_int_equal(log->n_losses, 2);
}

/* It is there by name alone. */
static void test_oldest_file_that_is_emptied(void **state)
{
        const AuditSettings settings = { NULL, 1 << 20, 100000, NULL };
        char path[128];
        Log *log = *state;

        open_log(log, 1000, 100000);
        append_many(log, 20);
        assert_true(oldest_file(log, path, sizeof(path)) > 2);
        assert_int_equal(truncate(path, 0), 0);
        audit_configure(log->audit, &settings);
        assert_int_equal(log->n_losses, 1);
        assert_true(log->oldest.seq > 1);
        assert_non_null(strstr(audit_problem(log->audit), "cut or replaced"));
}

static void test_older_files_that_are_put_back(void **state)
{
        char path[128], away[160], other[160];
        Log *log = *state;

        open_log(log, 1000, 100000);
        append_many(log, 20);
        close_log(log);
        assert_true(oldest_file(log, path, sizeof(path)) > 2);
        snprintf(other, sizeof(other), "%s/other", log->folder);
        snprintf(away, sizeof(away), "%s/other/away", log->folder);
        assert_int_equal(mkdir(other, 0700), 0);
        assert_int_equal(rename(path, away), 0);
        open_log(log, 1 << 20, 100000);
        close_log(log);
        assert_true(log->oldest.seq > 1);
        assert_int_equal(rename(away, path), 0);
        open_log(log, 1 << 20, 100000);
        assert_int_equal(log->oldest.seq, 1);
        assert_int_equal(log->n_losses, 1);
        assert_int_equal(rmdir(other), 0);
}

/* --- the journal --- */

static int listen_as_journal(Log *log, char *path, size_t n)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        snprintf(path, n, "%s/journal", log->folder);
        strcpy(address.sun_path, path);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        log->journal = path;
        return fd;
}

/* One entry; each of its lines is FIELD=value, as often as is expected. */
static void receive_entry(int fd, char *entry, size_t n)
{
        ssize_t got = recv(fd, entry, n - 1, 0);
        char *line, *rest = NULL;
        CLEANUP(freep) char *copy = NULL;

        assert_true(got > 0);
        entry[got] = '\0';
        assert_int_equal(strlen(entry), got);
        copy = strdup(entry);
        for (line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                assert_non_null(strchr(line, '='));
                assert_int_equal(strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"), strcspn(line, "="));
        }
}

static void test_the_journal_has_a_copy(void **state)
{
        const AuditRecord record = { .event = "Sign",
                                     .uid = 33,
                                     .pid = 7,
                                     .unit = "a\nCERTBROKER_UID=0\xff.service",
                                     .object = "/o",
                                     .generation = 2,
                                     .algorithm = "ecdsa-sha256",
                                     .grant = "everything",
                                     .result = "AccessDenied" };
        static const char *const lines[] = {
                "MESSAGE=Sign of /o by uid 33: AccessDenied\n",
                "\nPRIORITY=5\n",
                "\nSYSLOG_IDENTIFIER=certbrokerd\n",
                "\nCERTBROKER_SEQ=1\n",
                "\nCERTBROKER_UID=33\n",
                "\nCERTBROKER_PID=7\n",
                "\nCERTBROKER_UNIT=a\\x0aCERTBROKER_UID=0\\xff.service\n",
                "\nCERTBROKER_EVENT=Sign\n",
                "\nCERTBROKER_OBJECT=/o\n",
                "\nCERTBROKER_GENERATION=2\n",
                "\nCERTBROKER_ALGORITHM=ecdsa-sha256\n",
                "\nCERTBROKER_GRANT=everything\n",
                "\nCERTBROKER_RESULT=AccessDenied\n",
        };
        char path[96], entry[8192];
        Log *log = *state;
        int fd = listen_as_journal(log, path, sizeof(path));

        open_log(log, 1 << 20, 100000);
        audit_append(log->audit, &record, log_on_done, log);
        receive_entry(fd, entry, sizeof(entry));
        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                assert_non_null(strstr(entry, lines[i]));
        assert_non_null(strstr(entry, audit_head(log->audit)->hash));
        assert_null(strstr(entry, "\nCERTBROKER_UID=0"));

        append(log, "Ping"); /* what there is not has no field */
        receive_entry(fd, entry, sizeof(entry));
        assert_non_null(strstr(entry, "\nPRIORITY=6\n"));
        assert_null(strstr(entry, "CERTBROKER_GRANT"));
        assert_non_null(strstr(entry, "\nCERTBROKER_GENERATION=0\n"));
        close(fd);
}

/* One that does not read takes no time and fails nothing; nor does one that is not there, and that may come later. */
static void test_a_journal_that_does_not_read(void **state)
{
        char path[96], entry[8192];
        Log *log = *state;
        int fd = listen_as_journal(log, path, sizeof(path));

        open_log(log, 1 << 24, 100000);
        append_many(log, 2000);
        assert_int_equal(log->n_done, 2000);
        assert_int_equal(log->n_failed, 0);
        close(fd);
        assert_int_equal(unlink(path), 0);
        append_many(log, 10);
        fd = listen_as_journal(log, path, sizeof(path));
        append(log, "Sign");
        receive_entry(fd, entry, sizeof(entry));
        assert_non_null(strstr(entry, "\nCERTBROKER_SEQ=2011\n"));
        assert_int_equal(log->n_failed, 0);
        assert_string_equal(audit_problem(log->audit), "");
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_the_oldest_is_known),
                CASE(test_oldest_file_that_is_emptied),
                CASE(test_older_files_that_are_gone_at_start),
                CASE(test_older_files_that_go_meanwhile),
                CASE(test_older_files_that_are_put_back),
                CASE(test_the_journal_has_a_copy),
                CASE(test_a_journal_that_does_not_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
