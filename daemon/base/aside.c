/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies in the way. Another user may have put it there while the directory was open to others (made by hand, or
 * below /tmp), and a program that gave up for it could be kept from starting for ever. Invariant: no link is followed,
 * nothing is opened that could block, and a folder's content is left as it is.
 */
#include "base/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macro.h"

#define LOCK_TRIES 3 /* another broker that starts now may make the file between two steps of ours */

static int rename_beside(int directory_fd, const char *name)
{
        char other[256];
        uint64_t random;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
                return -EAGAIN;
        snprintf(other, sizeof(other), "%.200s.aside-%016llx", name, (unsigned long long)random);
        return renameat(directory_fd, name, directory_fd, other) < 0 ? -errno : 0;
}

int aside_put(int directory_fd, const char *name)
{
        if (unlinkat(directory_fd, name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM) /* EPERM: POSIX's word for a folder */
                return -errno;
        if (unlinkat(directory_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
                return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
                return -errno;
        return rename_beside(directory_fd, name);
}

/* Made by us, and never open to others: then nobody else holds it, or a lock on it. */
static bool is_ours_alone(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
               (st.st_mode & 07777) == 0600 && st.st_nlink == 1;
}

static int lock_open(int directory_fd, const char *name, int *ret_fd)
{
        int fd = -1, r;

        for (unsigned i = 0; i < LOCK_TRIES; i++) {
                fd = openat(directory_fd, name,
                            O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
                if (fd >= 0 && is_ours_alone(fd)) {
                        *ret_fd = fd;
                        return 0;
                }
                fd = close_fd(fd);
                r = aside_put(directory_fd, name);
                if (r < 0)
                        return r;
        }
        return -EBUSY;
}

int aside_lock(int directory_fd, const char *name, int *ret_fd)
{
        CLEANUP(closep) int fd = -1;
        int r;

        r = lock_open(directory_fd, name, &fd);
        if (r < 0)
                return r;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        *ret_fd = fd;
        fd = -1;
        return 0;
}
