/* SPDX-License-Identifier: Apache-2.0 */
/* Goes on after a signal and after a part. A write that takes nothing is an error, lest it be tried for ever. */
#include "base/write.h"

#include <errno.h>
#include <unistd.h>

int write_all(int fd, const void *data, size_t n, size_t *ret_n_written)
{
        const char *from = data;
        size_t at = 0;
        int r = 0;

        while (r == 0 && at < n) {
                ssize_t written = write(fd, from + at, n - at);

                if (written > 0)
                        at += (size_t)written;
                else if (written == 0)
                        r = -EIO;
                else if (errno != EINTR)
                        r = -errno;
        }
        if (ret_n_written)
                *ret_n_written = at;
        return r;
}
