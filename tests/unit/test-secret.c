/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets: how their memory is kept (as the kernel tells it), and every kind of descriptor that a caller
 * can send. A pipe that never ends meets a deadline that is over, or soon will be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/secret.h"

#define SOON  (UINT64_C(20) * 1000000)
#define LARGE ((size_t)1024 * 1024)

/* Does the kernel list this flag for the mapping that begins at `place`? */
static bool mapping_has_flag(const void *place, const char *flag)
{
        FILE *smaps = fopen("/proc/self/smaps", "re");
        char line[512], start[32];
        bool found = false, has = false;

        assert_non_null(smaps);
        snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)place);
        while (fgets(line, sizeof(line), smaps)) {
                if (strncmp(line, start, strlen(start)) == 0)
                        found = true;
                if (found && strncmp(line, "VmFlags:", 8) == 0) {
                        has = strstr(line, flag) != NULL;
                        break;
                }
        }
        fclose(smaps);
        assert_true(found);
        return has;
}

static void memory_is_kept_apart(void **state)
{
        Secret *secret = NULL;
        int status;
        pid_t pid;

        assert_int_equal(secret_new(5000, &secret), 0);
        memcpy(secret_data(secret), "hello", 5);
        secret_set_length(secret, 5);
        assert_int_equal(secret_length(secret), 5);
        assert_int_equal(secret_room(secret), 5000);
#if !defined(__SANITIZE_ADDRESS__) /* which makes mlock() do nothing */
        assert_true(mapping_has_flag(secret_data(secret), " lo "));
#endif
        assert_true(mapping_has_flag(secret_data(secret), " dd "));
        assert_true(mapping_has_flag(secret_data(secret), " wf "));

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(memcmp(secret_data(secret), "\0\0\0\0\0", 5) == 0 ? 0 : 1);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_memory_equal(secret_data(secret), "hello", 5);
        assert_null(secret_free(secret));
        assert_null(secret_free(NULL));
}

static void what_cannot_be_locked_is_refused(void **state)
{
#if !defined(__SANITIZE_ADDRESS__)
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                const struct rlimit limit = { 65536, 65536 };
                Secret *secret = NULL;
                int r;

                /* root is not bound by the limit: be nobody */
                if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 || (geteuid() == 0 && setuid(65534) < 0))
                        _exit(2);
                r = secret_new(LARGE, &secret);
                _exit((r == -ENOMEM || r == -EPERM) && !secret ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
#endif
}

static void drops_one_newline(void **state)
{
        static const struct {
                const char *before, *after;
        } rows[] = {
                { "", "" },           { "\n", "" },
                { "1234\n", "1234" }, { "1234\r\n", "1234" },
                { "1234", "1234" },   { "a\n\n", "a\n" },
                { "a\r", "a\r" },     { "\r\n", "" },
                { "a\nb\n", "a\nb" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(secret_freep) Secret *secret = NULL;

                assert_int_equal(secret_new(16, &secret), 0);
                memcpy(secret_data(secret), rows[i].before, strlen(rows[i].before));
                secret_set_length(secret, strlen(rows[i].before));
                secret_chomp(secret);
                assert_int_equal(secret_length(secret), strlen(rows[i].after));
                assert_string_equal((const char *)secret_data(secret), rows[i].after);
        }
}

static int memfd_of(size_t n)
{
        int fd = memfd_create("test", MFD_CLOEXEC);
        char *bytes = malloc(n + 1);

        assert_true(fd >= 0);
        for (size_t i = 0; i < n; i++)
                bytes[i] = (char)(i * 7);
        assert_int_equal(write(fd, bytes, n), (ssize_t)n);
        free(bytes);
        return fd; /* its offset is at the end, as a sender leaves it */
}

static void reads_files_from_their_start(void **state)
{
        static const size_t lengths[] = { 0, 1, 4094, 4095, 4096, 4097, 100000, LARGE };

        for (size_t i = 0; i < ELEMENTSOF(lengths); i++) {
                CLEANUP(secret_freep) Secret *secret = NULL;
                CLEANUP(closep) int fd = memfd_of(lengths[i]);

                assert_int_equal(secret_read_fd(fd, LARGE, SOON, &secret), 0);
                assert_int_equal(secret_length(secret), lengths[i]);
                for (size_t k = 0; k < lengths[i]; k++)
                        if (secret_data(secret)[k] != (uint8_t)(k * 7))
                                assert_false("a byte is not what was written");
                assert_int_equal(secret_data(secret)[lengths[i]], 0);
        }
}

static void refuses_more_than_the_bound(void **state)
{
        Secret *secret = NULL;
        int fd = memfd_of(LARGE + 1), pipe_fds[2];

        assert_int_equal(secret_read_fd(fd, LARGE, SOON, &secret), -EFBIG);
        assert_int_equal(secret_read_fd(fd, 0, SOON, &secret), -EFBIG);
        close(fd);

        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        assert_int_equal(write(pipe_fds[1], "12345", 5), 5);
        close(pipe_fds[1]);
        assert_int_equal(secret_read_fd(pipe_fds[0], 4, SOON, &secret), -EFBIG);
        close(pipe_fds[0]);
        assert_null(secret);
}

static void *write_large(void *userdata)
{
        int fd = *(int *)userdata;
        char block[5000];

        for (size_t i = 0, n; i < LARGE; i += n) {
                n = MIN(sizeof(block), LARGE - i);
                for (size_t k = 0; k < n; k++)
                        block[k] = (char)((i + k) * 7);
                if (write(fd, block, n) != (ssize_t)n)
                        break;
        }
        close(fd);
        return NULL;
}

/* Blocking, larger than the pipe, written in pieces that fit nothing. */
static void reads_pipes_to_their_end(void **state)
{
        CLEANUP(secret_freep) Secret *secret = NULL;
        int fds[2];
        pthread_t thread;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(pthread_create(&thread, NULL, write_large, &fds[1]), 0);
        assert_int_equal(secret_read_fd(fds[0], LARGE, SOON, &secret), 0);
        pthread_join(thread, NULL);
        assert_int_equal(secret_length(secret), LARGE);
        for (size_t k = 0; k < LARGE; k++)
                if (secret_data(secret)[k] != (uint8_t)(k * 7))
                        assert_false("a byte is not what was written");
        assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0); /* as it was */
        close(fds[0]);
}

static void gives_up_on_a_pipe_without_end(void **state)
{
        Secret *secret = NULL;
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(secret_read_fd(fds[0], 16, 0, &secret), -ETIMEDOUT);
        assert_int_equal(secret_read_fd(fds[0], 16, 1000, &secret), -ETIMEDOUT);
        assert_int_equal(write(fds[1], "abc", 3), 3);
        assert_int_equal(secret_read_fd(fds[0], 16, 1000, &secret), -ETIMEDOUT);
        assert_null(secret);
        close(fds[0]);
        close(fds[1]);
}

typedef struct Trickster {
        int fds[2]; /* a pipe, or a file and nothing */
        atomic_bool ended;
} Trickster;

/* Flags belong to all who share the end. */
static void *block_always(void *userdata)
{
        Trickster *trickster = userdata;

        while (!trickster->ended)
                (void)fcntl(trickster->fds[0], F_SETFL, 0);
        return NULL;
}

/*
 * In the place of libc's. What it tells is old when it has been told: others that read the pipe may have been
 * faster, always.
 */
static bool poll_lies;

int poll(struct pollfd *fds, nfds_t n, int timeout_msec)
{
        if (!poll_lies)
                return (int)syscall(SYS_poll, fds, n, timeout_msec);
        fds[0].revents = POLLIN;
        return 1;
}

/* Where it waits after all, the alarm ends the test. */
static void never_waits_for_a_pipe_of_tricksters(void **state)
{
        Trickster trickster = { 0 };
        Secret *secret = NULL;
        pthread_t thread;

        assert_int_equal(pipe2(trickster.fds, O_CLOEXEC), 0);
        assert_int_equal(pthread_create(&thread, NULL, block_always, &trickster), 0);
        poll_lies = true;
        alarm(10);
        assert_int_equal(secret_read_fd(trickster.fds[0], LARGE, 200000, &secret), -ETIMEDOUT);
        alarm(0);
        poll_lies = false;
        trickster.ended = true;
        pthread_join(thread, NULL);
        assert_null(secret);
        close(trickster.fds[0]);
        close(trickster.fds[1]);
}

static void *resize_always(void *userdata)
{
        Trickster *trickster = userdata;

        while (!trickster->ended)
                if (ftruncate(trickster->fds[0], 0) < 0 ||
                    ftruncate(trickster->fds[0], LARGE) < 0 ||
                    ftruncate(trickster->fds[0], 2 * LARGE) < 0)
                        break;
        return NULL;
}

static void survives_a_file_that_is_resized(void **state)
{
        Trickster trickster = { .fds = { memfd_of(LARGE), -1 } };
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, resize_always, &trickster), 0);
        for (unsigned i = 0; i < 100; i++) {
                CLEANUP(secret_freep) Secret *secret = NULL;
                int r = secret_read_fd(trickster.fds[0], LARGE, SOON, &secret);

                assert_true(r == -EFBIG || (r == 0 && secret_length(secret) <= LARGE));
        }
        trickster.ended = true;
        pthread_join(thread, NULL);
        close(trickster.fds[0]);
}

static void refuses_other_descriptors(void **state)
{
        int fds[8], n = 0, sockets[2], pipes[2];
        Secret *secret = NULL;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
        assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
        fds[n++] = sockets[0];
        fds[n++] = sockets[1];
        fds[n++] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fds[n++] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        fds[n++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        fds[n++] = open("/proc/self/exe", O_PATH | O_CLOEXEC);
        fds[n++] = pipes[1];
        for (int i = 0; i < n; i++) {
                assert_true(fds[i] >= 0);
                assert_int_equal(secret_read_fd(fds[i], 256 * LARGE, 1000000, &secret), -EINVAL);
                close(fds[i]);
        }
        close(pipes[0]);
        assert_int_equal(secret_read_fd(-1, LARGE, 1000000, &secret), -EBADF);
        assert_null(secret);
}

static void write_file(const char *path, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, "1234\n", 5), 5);
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

static int read_secret(const char *path, size_t n_max, Secret **ret_secret)
{
        Failure failure = { 0 };
        int r = secret_read_file(path, TRUSTED_SECRET, n_max, ret_secret, &failure);

        assert_int_equal(failure.status, MAX(r, 0));
        return r;
}

static void reads_only_secrets_that_others_can_neither_read_nor_write(void **state)
{
        static const struct {
                mode_t mode;
                int result;
        } rows[] = {
                { 0600, 0 },
                { 0400, 0 },
                { 0440, 0 },
                { 0640, 0 },
                { 0644, CB_INVALID_ARGUMENT },
                { 0604, CB_INVALID_ARGUMENT },
                { 0620, CB_INVALID_ARGUMENT },
                { 0602, CB_INVALID_ARGUMENT },
                { 0666, CB_INVALID_ARGUMENT },
        };
        char directory[] = "/tmp/test-secret-XXXXXX", path[64], link_path[64], fifo_path[64];
        Secret *secret = NULL;

        assert_non_null(mkdtemp(directory));
        snprintf(path, sizeof(path), "%s/pin", directory);
        snprintf(link_path, sizeof(link_path), "%s/link", directory);
        snprintf(fifo_path, sizeof(fifo_path), "%s/fifo", directory);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                write_file(path, rows[i].mode);
                assert_int_equal(read_secret(path, 16, &secret), rows[i].result);
                if (rows[i].result == 0)
                        assert_memory_equal(secret_data(secret), "1234\n", 6);
                secret = secret_free(secret);
        }
        write_file(path, 0600);
        assert_int_equal(read_secret(path, 4, &secret), -EFBIG);
        assert_int_equal(symlink(path, link_path), 0);
        assert_int_equal(read_secret(link_path, 16, &secret), 0);
        secret = secret_free(secret);
        assert_int_equal(mkfifo(fifo_path, 0600), 0);
        assert_int_equal(read_secret(fifo_path, 16, &secret), CB_INVALID_ARGUMENT);
        assert_int_equal(read_secret(directory, 16, &secret), CB_INVALID_ARGUMENT);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(read_secret(path, 16, &secret), -ENOENT);
        assert_null(secret);
        unlink(link_path);
        unlink(fifo_path);
        assert_int_equal(rmdir(directory), 0);
}

static void hardens_the_process(void **state)
{
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                struct rlimit limit;

                if (secret_harden_process() != 0 || getrlimit(RLIMIT_CORE, &limit) < 0)
                        _exit(1);
                _exit(limit.rlim_max == 0 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 &&
                                      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
                              ? 0
                              : 2);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(memory_is_kept_apart),
                cmocka_unit_test(what_cannot_be_locked_is_refused),
                cmocka_unit_test(drops_one_newline),
                cmocka_unit_test(reads_files_from_their_start),
                cmocka_unit_test(refuses_more_than_the_bound),
                cmocka_unit_test(reads_pipes_to_their_end),
                cmocka_unit_test(gives_up_on_a_pipe_without_end),
                cmocka_unit_test(never_waits_for_a_pipe_of_tricksters),
                cmocka_unit_test(survives_a_file_that_is_resized),
                cmocka_unit_test(refuses_other_descriptors),
                cmocka_unit_test(reads_only_secrets_that_others_can_neither_read_nor_write),
                cmocka_unit_test(hardens_the_process),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
