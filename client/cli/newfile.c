/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every file that this program writes is made anew beside its place, under a name that nobody could
 * foresee (O_EXCL, which follows no link), and renamed into it when it is whole and durable. So what
 * others have put there, a link, a FIFO, a socket, is replaced and never written to: root writes
 * into folders that others write into as well. What is not replaced is a device, a file of certbrokerd's
 * own (own-files.c), and a name of one of our descriptors: to that one is written, without opening anything.
 */
#include "newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "macro.h"
#include "own-files.h"

#define OWN_DESCRIPTORS "/proc/self/fd" /* also of /dev/fd, a link to it */
#define BASE_MAX        200             /* of the place's name in the temporary one's */
#define OWN_FILE        (-ETXTBSY)      /* which neither open() of a new file nor rename() says */

static const char *base_of(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* NULL: no memory. */
static char *directory_of(const char *path)
{
        const char *base = base_of(path);

        return base == path ? strdup(".") : strndup(path, (size_t)(base - path));
}

/* ------------------------------------------------------------------ descriptors */

static int read_number(const char *text)
{
        char *end;
        long n = *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : -1;

        return n < 0 || *end != '\0' || n > INT_MAX ? -ENOENT : (int)n;
}

static int find_descriptor(const char *directory, const char *base)
{
        CLEANUP(free_text) char *real = realpath(directory, NULL);
        CLEANUP(free_text) char *own = realpath(OWN_DESCRIPTORS, NULL);

        if (real && strcmp(real, "/dev") == 0 && strcmp(base, "stdin") == 0)
                return STDIN_FILENO;
        if (real && strcmp(real, "/dev") == 0 && strcmp(base, "stdout") == 0)
                return STDOUT_FILENO;
        if (real && strcmp(real, "/dev") == 0 && strcmp(base, "stderr") == 0)
                return STDERR_FILENO;
        return real && own && strcmp(real, own) == 0 ? read_number(base) : -ENOENT;
}

int newfile_descriptor(const char *path)
{
        CLEANUP(free_text) char *directory = directory_of(path);
        int fd = directory ? find_descriptor(directory, base_of(path)) : -ENOMEM, flags;

        if (fd < 0)
                return fd;
        /* Ours all close on exec; what we were started with cannot. */
        flags = fcntl(fd, F_GETFD);
        return flags < 0 || flags & FD_CLOEXEC ? -EBADF : fd;
}

int newfile_write_fd(int fd, const void *data, size_t n)
{
        const char *p = data;

        while (n > 0) {
                ssize_t written = write(fd, p, n);

                if (written < 0 && errno == EAGAIN)
                        (void)poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
                else if (written < 0 && errno != EINTR)
                        return -errno;
                if (written > 0) {
                        p += written;
                        n -= (size_t)written;
                }
        }
        return 0;
}

/* ------------------------------------------------------------------ files */

static int check_place(const char *path)
{
        struct stat st;
        int r = newfile_descriptor(path);

        if (r != -ENOENT)
                return r >= 0 || r == -EBADF ? -ENOTSUP : r;
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        return S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? -ENOTSUP : 0;
}

int newfile_begin(NewFile *file, const char *path)
{
        *file = (NewFile){ .path = path, .fd = -1 };
        return own_files_have(path) ? OWN_FILE : newfile_begin_own(file, path);
}

int newfile_begin_own(NewFile *file, const char *path)
{
        const char *base = base_of(path);
        char *temporary;
        int fd, r;

        *file = (NewFile){ .path = path, .fd = -1 };
        if (*base == '\0')
                return -EISDIR;
        r = check_place(path);
        if (r)
                return r;
        if (asprintf(&temporary, "%.*s.%.*s.XXXXXX", (int)(base - path), path, BASE_MAX, base) < 0)
                return -ENOMEM;
        fd = mkostemp(temporary, O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                free(temporary);
                return r;
        }
        file->fd = fd;
        file->temporary = temporary;
        return 0;
}

int newfile_write(NewFile *file, const void *data, size_t n)
{
        return newfile_write_fd(file->fd, data, n);
}

int newfile_finish(NewFile *file, mode_t mode)
{
        return fchmod(file->fd, mode) < 0 || fsync(file->fd) < 0 ? -errno : 0;
}

int newfile_place(NewFile *file)
{
        CLEANUP(free_text) char *directory = directory_of(file->path);
        CLEANUP(close_fd) int fd = -1;

        if (!directory)
                return -ENOMEM;
        if (rename(file->temporary, file->path) < 0)
                return -errno;
        free(TAKE(file->temporary));
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && errno == EACCES) /* a folder that one may write to and not list */
                return 0;
        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

void newfile_deinit(NewFile *file)
{
        if (file->temporary)
                (void)unlink(file->temporary);
        free(TAKE(file->temporary));
        if (file->fd >= 0)
                (void)close(file->fd);
        file->fd = -1;
}

const char *newfile_reason(int r)
{
        if (r == OWN_FILE)
                return "it is one of certbrokerd's own files, or in their directory, where only "
                       "certbrokerd writes; name a file in another directory";
        return r == -ENOTSUP ? "it is a device or a descriptor, which no file takes the place of"
                             : strerror(-r);
}
