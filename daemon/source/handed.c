/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what was handed in. Invariant: it goes straight into locked memory, and the descriptors are
 * closed on every path. Whoever holds the other end, or the file system, decides how long that takes, so it
 * is no matter for a thread that anybody else waits for: lanes.c reads first, and a driver is called with
 * what was read.
 */
#include "source/handed.h"

#include <errno.h>

void handed_init(Handed *handed)
{
        for (size_t i = 0; i < WIRE_FDS_MAX; i++) {
                handed->secrets[i] = NULL;
                handed->status[i] = -ENOENT;
        }
}

void handed_read_worker(int fds[WIRE_FDS_MAX], Handed *handed)
{
        uint64_t end_usec = clock_monotonic_usec() + HANDED_USEC;

        for (size_t i = 0; i < WIRE_FDS_MAX; i++) {
                CLEANUP(closep) int fd = fds[i];
                uint64_t now_usec = clock_monotonic_usec();

                fds[i] = -1;
                if (fd >= 0)
                        handed->status[i] = secret_read_fd(
                                fd, HANDED_MAX, now_usec < end_usec ? end_usec - now_usec : 0,
                                &handed->secrets[i]);
        }
}

void handed_close_worker(int fds[WIRE_FDS_MAX])
{
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                fds[i] = close_fd(fds[i]);
}

void handed_deinit(Handed *handed)
{
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                handed->secrets[i] = secret_free(handed->secrets[i]);
}

int handed_take(Handed *handed, size_t index, const char *what, Secret **ret_secret,
                Failure *failure)
{
        switch (handed->status[index]) {
        case 0:
                *ret_secret = TAKE(handed->secrets[index]);
                return 0;
        case -ENOENT:
                return fail(failure, CB_INVALID_ARGUMENT, "there is no descriptor for the %s",
                            what);
        case -EFBIG:
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the %s is larger than 1 MiB: give a smaller one", what);
        case -ETIMEDOUT:
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the %s did not end within 5 s; close the pipe's other end", what);
        case -ENOMEM:
        case -EPERM:
                return fail(failure, CB_FAILED,
                            "no locked memory for the %s; raise the service's LimitMEMLOCK", what);
        default:
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the %s cannot be read: it must be a regular file, a memfd or a pipe",
                            what);
        }
}
