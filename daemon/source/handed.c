/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what was handed in. Invariant: it goes straight into locked memory, and the descriptor is closed on every
 * path. It never waits longer than it says, whoever holds the other end.
 */
#include "source/handed.h"

#include <errno.h>

#define READ_USEC (5 * USEC_PER_SEC)

int handed_read(int *fd, const char *what, Secret **ret_secret, Failure *failure)
{
        CLEANUP(closep) int taken = *fd;
        int r;

        *fd = -1;
        if (taken < 0)
                return fail(failure, CB_INVALID_ARGUMENT, "there is no descriptor for the %s",
                            what);
        r = secret_read_fd(taken, HANDED_MAX, READ_USEC, ret_secret);
        switch (r) {
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
                break;
        }
        if (r < 0)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the %s cannot be read: it must be a regular file, a memfd or a pipe",
                            what);
        return 0;
}
