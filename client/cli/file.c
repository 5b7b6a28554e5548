/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that verbs read, and what --output names: a file, made anew (newfile.h); one of our
 * descriptors; /dev/null, or the terminal that one of our descriptors is. No other device.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "believed.h"
#include "handover.h"
#include "newfile.h"

/* The broker takes no more, and says so of what is larger. */
#define FILE_COPY_MAX (1U << 20)

int file_open(Cli *cli, const char *name, int *ret_fd)
{
        int fd = strcmp(name, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                        : open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

        if (fd < 0)
                return cli_fail(cli, -errno, "%s cannot be opened: %s", name, strerror(errno));
        *ret_fd = fd;
        return 0;
}

int file_open_of(Cli *cli, const char *name, uid_t owner, int *ret_fd)
{
        char why[512];
        int r = believed_open(name, owner, ret_fd, why, sizeof(why));

        if (r > 0)
                return cli_fail(cli, CB_FAILED,
                                "Others could have changed what is in %s. %s; or copy it into a "
                                "directory of your own, and look at it there",
                                name, why);
        if (r < 0)
                return cli_fail(cli, r == -ENOENT ? CB_NOT_FOUND : r, "%s cannot be opened: %s",
                                name, strerror(-r));
        return 0;
}

static bool is_own_terminal(dev_t device)
{
        struct stat st;

        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (isatty(fd) && fstat(fd, &st) == 0 && st.st_rdev == device)
                        return true;
        return device == makedev(5, 0); /* /dev/tty: the process's own, whichever that is */
}

static bool is_harmless_device(const struct stat *st)
{
        return S_ISCHR(st->st_mode) &&
               (st->st_rdev == makedev(1, 3) /* /dev/null */ || is_own_terminal(st->st_rdev));
}

int file_copy(Cli *cli, const char *name, int *ret_fd)
{
        CLEANUP(close_fd) int fd = -1;
        int r = file_open(cli, name, &fd);

        if (r)
                return r;
        r = handover_copy(fd, FILE_COPY_MAX, ret_fd);
        return r ? cli_fail(cli, r, "%s cannot be read: %s", name, strerror(-r)) : 0;
}

/* ------------------------------------------------------------------ writing */

/* Opens a harmless device. -ENOENT: it is none; what is there is for newfile_begin() to judge. */
static int open_device(const char *name)
{
        struct stat st;
        int fd;

        if (lstat(name, &st) < 0 || !is_harmless_device(&st))
                return -ENOENT;
        fd = open(name, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0 || !is_harmless_device(&st)) {
                (void)close(fd);
                return -ENOTSUP;
        }
        return fd;
}

/* A descriptor of the caller's to close; -ENOENT: the name is that of a file. */
static int open_output(const char *name)
{
        int fd = name && strcmp(name, "-") != 0 ? newfile_descriptor(name) : STDOUT_FILENO;

        if (fd == -ENOENT)
                return open_device(name);
        if (fd < 0)
                return fd;
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? -errno : fd;
}

static int put_anew(const char *name, const void *data, size_t n, mode_t mode)
{
        CLEANUP(newfile_deinit) NewFile file = { .fd = -1 };
        int r;

        r = newfile_begin(&file, name);
        if (r == 0)
                r = newfile_write(&file, data, n);
        if (r == 0)
                r = newfile_finish(&file, mode);
        return r == 0 ? newfile_place(&file) : r;
}

bool file_is_output(const Cli *cli)
{
        const char *name = arguments_value(cli->arguments, "--output");
        CLEANUP(close_fd) int fd = open_output(name);

        return fd == -ENOENT;
}

int file_put(Cli *cli, const void *data, size_t n, mode_t mode)
{
        const char *name = arguments_value(cli->arguments, "--output");
        CLEANUP(close_fd) int fd = open_output(name);
        int r = fd;

        if (fd == -ENOENT)
                r = put_anew(name, data, n, mode);
        else if (fd >= 0)
                r = fflush(stdout) ? -EIO : newfile_write_fd(fd, data, n);
        if (r == 0)
                return 0;
        return cli_fail(cli, r, "%s cannot be written: %s", name ? name : "The answer",
                        newfile_reason(r));
}
