/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secret: bytes in pages of their own. Invariant: from the first byte on the pages are locked, left out
 * of core dumps and empty in a forked child; every page is wiped before it is given back, also one that
 * a growing read leaves behind. What does not fit RLIMIT_MEMLOCK is refused: nothing secret is ever held
 * in memory that may be swapped out. It never logs.
 */
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define FIRST_ROOM 4095 /* with its NUL one page: most secrets are short */

struct Secret {
        uint8_t *data;
        size_t n;
        size_t n_max;
        size_t n_mapped;
};

static int map_locked(size_t n, uint8_t **ret_data)
{
        void *data = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int r = 0;

        if (data == MAP_FAILED)
                return -errno;
        if (madvise(data, n, MADV_DONTDUMP) < 0 || madvise(data, n, MADV_WIPEONFORK) < 0)
                r = -errno;
        else if (mlock(data, n) < 0) /* EAGAIN and ENOMEM both say: over the limit */
                r = errno == EPERM ? -EPERM : -ENOMEM;
        if (r < 0) {
                munmap(data, n);
                return r;
        }
        *ret_data = data;
        return 0;
}

int secret_new(size_t n_max, Secret **ret_secret)
{
        CLEANUP(secret_freep) Secret *secret = NULL;
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        int r;

        if (n_max > SIZE_MAX / 2)
                return -ENOMEM;
        secret = calloc(1, sizeof(*secret));
        if (!secret)
                return -ENOMEM;

        secret->n_max = n_max;
        secret->n_mapped = (n_max + 1 + page - 1) / page * page;
        r = map_locked(secret->n_mapped, &secret->data);
        if (r < 0)
                return r;

        *ret_secret = TAKE(secret);
        return 0;
}

Secret *secret_free(Secret *secret)
{
        int saved = errno;

        if (!secret)
                return NULL;
        if (secret->data) {
                explicit_bzero(secret->data, secret->n_mapped);
                munmap(secret->data, secret->n_mapped); /* unlocks too */
        }
        free(secret);
        errno = saved;
        return NULL;
}

uint8_t *secret_data(Secret *secret)
{
        return secret->data;
}

size_t secret_length(const Secret *secret)
{
        return secret->n;
}

size_t secret_room(const Secret *secret)
{
        return secret->n_max;
}

void secret_set_length(Secret *secret, size_t n)
{
        assert_always(n <= secret->n_max);
        secret->n = n;
        secret->data[n] = '\0';
}

void secret_chomp(Secret *secret)
{
        size_t n = secret->n;

        if (n == 0 || secret->data[n - 1] != '\n')
                return;
        n--;
        if (n > 0 && secret->data[n - 1] == '\r')
                n--;
        secret_set_length(secret, n);
}

/* Room for twice as much, at most n_max; the old pages are wiped. */
static int grow(Secret **place, size_t n_max)
{
        CLEANUP(secret_freep) Secret *larger = NULL;
        Secret *secret = *place;
        int r;

        r = secret_new(MIN(secret->n_max * 2 + 1, n_max), &larger);
        if (r < 0)
                return r;
        memcpy(larger->data, secret->data, secret->n);
        secret_set_length(larger, secret->n);
        *place = TAKE(larger);
        secret_free(secret);
        return 0;
}

/* Until there is something to read, the other end is closed, or the time is over. */
static int wait_readable(int fd, uint64_t deadline_usec)
{
        struct pollfd pfd = { .fd = fd, .events = POLLIN };

        for (;;) {
                uint64_t now_usec = clock_monotonic_usec(), wait_msec;
                int r;

                if (now_usec >= deadline_usec)
                        return -ETIMEDOUT;
                wait_msec = (deadline_usec - now_usec + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
                r = poll(&pfd, 1, (int)MIN(wait_msec, UINT64_C(60000)));
                if (r > 0)
                        return pfd.revents & POLLNVAL ? -EBADF : 0;
                if (r < 0 && errno != EINTR)
                        return -errno;
        }
}

typedef struct Input {
        int fd;
        int through[2]; /* a pipe of ours, where it is one; else -1 */
        size_t n_max;
        uint64_t deadline_usec;
} Input;

/*
 * poll() says that a pipe has something, but another reader may take it first, and O_NONBLOCK is for whoever
 * shares the pipe's end to change: a read() could wait for ever. What is moved into a pipe of our own is
 * moved without waiting, whatever the flag says. -1 and errno as read().
 */
static ssize_t read_pipe(const Input *input, uint8_t *place, size_t n)
{
        ssize_t n_moved = splice(input->fd, NULL, input->through[1], NULL, n, SPLICE_F_NONBLOCK);

        return n_moved > 0 ? read(input->through[0], place, (size_t)n_moved) : n_moved;
}

/* One piece to the end of the secret: its length, 0 at the end of the input. */
static ssize_t read_piece(const Input *input, Secret *secret)
{
        uint8_t *place = secret->data + secret->n;
        size_t n = secret->n_max - secret->n;
        ssize_t n_read;
        int r;

        for (;;) {
                if (input->through[0] >= 0) {
                        r = wait_readable(input->fd, input->deadline_usec);
                        if (r < 0)
                                return r;
                        n_read = read_pipe(input, place, n);
                } else if (clock_monotonic_usec() >= input->deadline_usec) {
                        return -ETIMEDOUT;
                } else {
                        /* From its start: who has just written a memfd need not rewind it. */
                        n_read = pread(input->fd, place, n, (off_t)secret->n);
                }
                if (n_read >= 0)
                        return n_read;
                if (errno != EINTR && errno != EAGAIN)
                        return -errno;
        }
}

static int read_to_end(const Input *input, size_t n_expected, Secret **ret_secret)
{
        CLEANUP(secret_freep) Secret *secret = NULL;
        size_t n_room = input->n_max + 1; /* one more, to see that it is too much */
        ssize_t n;
        int r;

        r = secret_new(MIN(MAX(n_expected + 1, (size_t)FIRST_ROOM), n_room), &secret);
        if (r < 0)
                return r;
        for (;;) {
                if (secret->n > input->n_max)
                        return -EFBIG;
                if (secret->n == secret->n_max) {
                        r = grow(&secret, n_room);
                        if (r < 0)
                                return r;
                }
                n = read_piece(input, secret);
                if (n < 0)
                        return (int)n;
                if (n == 0)
                        break;
                secret_set_length(secret, secret->n + (size_t)n);
        }
        *ret_secret = TAKE(secret);
        return 0;
}

static void input_deinit(Input *input)
{
        close_fd(input->through[0]);
        close_fd(input->through[1]);
}

int secret_read_fd(int fd, size_t n_max, uint64_t timeout_usec, Secret **ret_secret)
{
        CLEANUP(input_deinit) Input input = { .fd = fd, .through = { -1, -1 }, .n_max = n_max };
        int flags = fcntl(fd, F_GETFL);
        struct stat st;

        assert_always(n_max < SIZE_MAX / 4);
        input.deadline_usec = clock_monotonic_usec() + timeout_usec;
        if (flags < 0 || fstat(fd, &st) < 0)
                return -errno;
        if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
                return -EINVAL;

        if (S_ISFIFO(st.st_mode))
                return pipe2(input.through, O_CLOEXEC | O_NONBLOCK) < 0
                               ? -errno
                               : read_to_end(&input, 0, ret_secret);
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if (st.st_size < 0 || (uintmax_t)st.st_size > n_max)
                return -EFBIG;
        return read_to_end(&input, (size_t)st.st_size, ret_secret);
}

int secret_read_file(const char *path, TrustedKind kind, size_t n_max, Secret **ret_secret,
                     Failure *failure)
{
        CLEANUP(closep) int fd = -1;
        int r;

        r = trusted_open(path, kind, O_RDONLY, NULL, &fd, failure);
        return r == 0 ? secret_read_fd(fd, n_max, 10 * USEC_PER_SEC, ret_secret) : r;
}

int secret_read_foreign_file(const char *path, size_t n_max, Secret **ret_secret)
{
        CLEANUP(closep) int fd = -1;
        struct stat st;

        /* O_NONBLOCK: opening a FIFO without a writer would wait for one. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IWGRP | S_IWOTH)))
                return -EPERM;
        return secret_read_fd(fd, n_max, 10 * USEC_PER_SEC, ret_secret);
}

int secret_harden_process(void)
{
        const struct rlimit none = { 0, 0 };

        if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return 0;
}
