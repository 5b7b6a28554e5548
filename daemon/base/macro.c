/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions behind the macros of macro.h: cleanup helpers, and the end of the program at a broken
 * assertion. An assertion is about our own code: nothing that a client, file, token or network sends
 * may reach one. errno survives every cleanup.
 */
#include "base/macro.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void assert_failed(const char *condition, const char *file, int line)
{
        fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
        abort();
}

void freep(void *place)
{
        int saved = errno;
        void **pointer = place;

        free(*pointer);
        *pointer = NULL;
        errno = saved;
}

void closep(int *fd)
{
        *fd = close_fd(*fd);
}

int close_fd(int fd)
{
        int saved = errno;

        /* Linux has released the number even where close() fails (EINTR, EIO): never twice. */
        if (fd >= 0)
                (void)close(fd);
        errno = saved;
        return -1;
}
