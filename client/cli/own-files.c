/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells places that are certbrokerd's own: there a running daemon would go on with a file that has no name any more, and
 * all that it stores after that be lost. Which folder is a state directory is told by the lock that certbrokerd keeps in
 * it, for this program knows no configuration where it only writes a file. It changes nothing, and opens nothing but
 * regular files.
 */
#include "own-files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "macro.h"

#define LOCK_FILE "broker.lock" /* directories_prepare() has it */
#define BEGIN_MAX 100

/* Of the name itself, not of what a link there leads to. NULL: no memory. */
static char *folder_of(const char *path)
{
        const char *slash = strrchr(path, '/');

        if (!slash)
                return strdup(".");
        return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* It is its owner's alone: elsewhere, as in /tmp, a lock may be anybody's. */
static bool is_in_state_directory(const char *path)
{
        CLEANUP(free_text) char *folder = folder_of(path);
        CLEANUP(free_text) char *lock = NULL;
        struct stat st;

        if (!folder || stat(folder, &st) < 0 || (st.st_mode & 0077))
                return false;
        if (asprintf(&lock, "%s/%s", folder, LOCK_FILE) < 0) {
                lock = NULL;
                return false;
        }
        return lstat(lock, &st) == 0 && S_ISREG(st.st_mode);
}

static bool has_log_form(const char *begin)
{
        return strncmp(begin, "{\"time\":\"", 9) == 0 && strstr(begin, "\",\"seq\":");
}

/* A log may be anywhere; of the store there are copies, which the next backup replaces. */
static bool is_log(const char *path)
{
        CLEANUP(close_fd) int fd = -1;
        char begin[BEGIN_MAX + 1];
        struct stat st;
        ssize_t n;

        if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
                return false;
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        n = fd >= 0 ? pread(fd, begin, BEGIN_MAX, 0) : -1;
        if (n <= 0)
                return false;
        begin[n] = '\0';
        return has_log_form(begin);
}

bool own_files_have(const char *path)
{
        CLEANUP(free_text) char *real = realpath(path, NULL);

        return is_in_state_directory(path) || (real && is_in_state_directory(real)) ||
               is_log(path);
}

static bool is_same(const char *a, const char *b)
{
        struct stat x, y;

        return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool own_files_are_beside(const char *path, const char *file)
{
        CLEANUP(free_text) char *folder = folder_of(path);
        CLEANUP(free_text) char *own = folder_of(file);

        return is_same(path, file) || (folder && own && is_same(folder, own));
}
