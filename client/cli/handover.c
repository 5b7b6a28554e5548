/* SPDX-License-Identifier: Apache-2.0 */
#include "handover.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "macro.h"
#include "newfile.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int create(int *ret_fd)
{
        *ret_fd = memfd_create("certbroker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        return *ret_fd < 0 ? -errno : 0;
}

static int seal(int fd)
{
        return lseek(fd, 0, SEEK_SET) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? -errno : 0;
}

/* What was written is sealed, and given; r: how that went. */
static int give(int r, int *fd, int *ret_fd)
{
        if (r == 0)
                r = seal(*fd);
        if (r)
                return r;
        *ret_fd = *fd;
        *fd = -1;
        return 0;
}

int handover_new(const void *data, size_t n, int *ret_fd)
{
        CLEANUP(close_fd) int fd = -1;
        int r = create(&fd);

        if (r == 0)
                r = newfile_write_fd(fd, data, n);
        return give(r, &fd, ret_fd);
}

static int copy(int from, size_t max, int to)
{
        char buffer[16384]; /* a private key may be in it */
        size_t n = 0;
        ssize_t got = 1;
        int r = 0;

        while (r == 0 && got != 0 && n <= max) {
                got = read(from, buffer, sizeof(buffer));
                if (got > 0)
                        r = newfile_write_fd(to, buffer, (size_t)got);
                else if (got < 0 && errno != EINTR)
                        r = -errno;
                n += got > 0 ? (size_t)got : 0;
        }
        explicit_bzero(buffer, sizeof(buffer));
        return r;
}

int handover_copy(int from, size_t max, int *ret_fd)
{
        CLEANUP(close_fd) int fd = -1;
        int r = create(&fd);

        if (r == 0)
                r = copy(from, max, fd);
        return give(r, &fd, ret_fd);
}
