/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to the daemon's judgement of files, so that there is one. Nothing else of this program uses
 * the daemon's rooms, whose macros have the names of ours.
 */
#include "believed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/trusted.h"

int believed_open(const char *path, uid_t owner, int *ret_fd, char *why, size_t n_why)
{
        const TrustedUser daemon = { owner, getegid() };
        Failure failure = { 0 };
        int r = trusted_open(path, TRUSTED_ONCE, O_RDONLY, &daemon, ret_fd, &failure);

        if (r <= 0)
                return r;
        (void)snprintf(why, n_why, "%s", failure.text);
        return 1;
}
