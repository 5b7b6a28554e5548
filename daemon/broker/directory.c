/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories at start. What is opened is what is checked and changed: no name is looked up twice. A link
 * is followed (systemd makes one for DynamicUser=), but what it leads to must be ours.
 */
#include "broker/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/directory.h"
#include "base/strings.h"

/* What is to stay in it is on the disk when the directory itself is. */
static int make(const char *path, mode_t mode)
{
        if (mkdir(path, mode) < 0)
                return errno == EEXIST ? 0 : -errno;
        return directory_sync_of(path);
}

/* 0755 for what is above: only the last one is ours. */
static int make_parents(char *path)
{
        for (char *p = path + 1; *p != '\0'; p++) {
                int r;

                if (*p != '/')
                        continue;
                *p = '\0';
                r = make(path, 0755);
                *p = '/';
                if (r < 0)
                        return r;
        }
        return 0;
}

int directory_prepare(const char *path, mode_t mode, Failure *failure)
{
        CLEANUP(freep) char *copy = NULL;
        CLEANUP(closep) int fd = -1;
        struct stat st;
        int r;

        if (*path != '/')
                return fail(failure, CB_INVALID_ARGUMENT, "directory %s is not an absolute path",
                            path);
        r = string_set(&copy, path);
        if (r == 0)
                r = make_parents(copy);
        if (r == 0)
                r = make(path, mode);
        if (r < 0)
                return fail(failure, r, "directory %s cannot be made: %s", path,
                            strerrordesc_np(-r));

        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return fail(failure, -errno, "directory %s cannot be opened: %s", path,
                            strerrordesc_np(errno));
        if (st.st_uid != geteuid())
                return fail(failure, CB_INVALID_ARGUMENT,
                            "directory %s belongs to uid %u, and certbrokerd runs as %u", path,
                            st.st_uid, geteuid());
        if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
                return fail(failure, -errno, "the mode of directory %s cannot be set: %s", path,
                            strerrordesc_np(errno));
        return 0;
}

int directory_lock(const char *path, const char *name, int *ret_fd, Failure *failure)
{
        CLEANUP(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = fd < 0 ? -errno : aside_lock(fd, name, ret_fd);

        if (r == -EWOULDBLOCK)
                return fail(failure, CB_ALREADY_EXISTS,
                            "another certbrokerd has the directory %s; give each its own", path);
        if (r < 0)
                return fail(failure, r, "directory %s cannot be locked: %s", path,
                            strerrordesc_np(-r));
        return 0;
}

void locks_deinit(DirectoryLocks *locks)
{
        locks->state_fd = close_fd(locks->state_fd);
        locks->runtime_fd = close_fd(locks->runtime_fd);
}

int directories_prepare(const char *state, const char *runtime, DirectoryLocks *ret_locks,
                        Failure *failure)
{
        CLEANUP(locks_deinit) DirectoryLocks locks = NO_LOCKS;
        int r;

        r = directory_prepare(state, 0700, failure);
        /* Before anything else: a second broker must touch neither store nor token of the one that runs. */
        if (r == 0)
                r = directory_lock(state, "broker.lock", &locks.state_fd, failure);
        if (r == 0)
                r = directory_prepare(runtime, 0755, failure);
        if (r == 0)
                r = directory_lock(runtime, "channel.lock", &locks.runtime_fd, failure);
        if (r != 0)
                return r;
        *ret_locks = locks;
        locks = NO_LOCKS;
        return 0;
}
