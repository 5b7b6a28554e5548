/* SPDX-License-Identifier: Apache-2.0 */
/* Files that verbs read and write. What is written appears whole or not at all. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_open(Cli *cli, const char *name, int *ret_fd)
{
        int fd = strcmp(name, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                        : open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

        if (fd < 0)
                return cli_fail(cli, -errno, "%s cannot be opened: %s", name, strerror(errno));
        *ret_fd = fd;
        return 0;
}

static int write_all(int fd, const char *data, size_t n)
{
        while (n > 0) {
                ssize_t written = write(fd, data, n);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return -errno;
                data += written;
                n -= (size_t)written;
        }
        return 0;
}

/* What is no regular file (/dev/stdout, a pipe) is written to as it is. */
static bool is_special(const char *name)
{
        struct stat st;

        return stat(name, &st) == 0 && !S_ISREG(st.st_mode);
}

static int write_special(const char *name, const void *data, size_t n)
{
        int fd = open(name, O_WRONLY | O_CLOEXEC | O_NOCTTY), r;

        if (fd < 0)
                return -errno;
        r = write_all(fd, data, n);
        if (close(fd) < 0 && r == 0)
                r = -errno;
        return r;
}

static int write_new(const char *name, const void *data, size_t n, mode_t mode)
{
        CLEANUP(free_text) char *temporary = NULL;
        int fd, r;

        if (asprintf(&temporary, "%s.XXXXXX", name) < 0) {
                temporary = NULL;
                return -ENOMEM;
        }
        fd = mkostemp(temporary, O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = write_all(fd, data, n);
        if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
                r = -errno;
        if (close(fd) < 0 && r == 0)
                r = -errno;
        if (r == 0 && rename(temporary, name) < 0)
                r = -errno;
        if (r)
                (void)unlink(temporary);
        return r;
}

int file_put(Cli *cli, const void *data, size_t n, mode_t mode)
{
        const char *name = arguments_value(cli->arguments, "--output");
        int r;

        if (!name || strcmp(name, "-") == 0) {
                if (fwrite(data, 1, n, stdout) != n || fflush(stdout))
                        return cli_fail(cli, -EIO, "The answer could not be written.");
                return 0;
        }
        r = is_special(name) ? write_special(name, data, n) : write_new(name, data, n, mode);
        return r ? cli_fail(cli, r, "%s cannot be written: %s", name, strerror(-r)) : 0;
}
