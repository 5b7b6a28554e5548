/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk along a path, one name after the other. Invariant: each step is opened without following a link,
 * and judged by its descriptor before the next one is taken from it; a link's text takes its place in what is
 * still to be walked. A folder that is sticky (/tmp) is walked through, for what it holds cannot be renamed by
 * others, and the next step is judged too; but the folder that holds the file itself, or that would hold what is
 * not there, must not be one, unless the file is read only once.
 *
 * Group and others count alike, whatever the group: an access list (ACL) shows as the group's bits.
 */
#include "base/trusted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strings.h"

#define LINKS_MAX 40 /* as the kernel has it */

typedef struct Walk {
        TrustedKind kind;
        TrustedUser daemon;
        Failure *failure;
        int fd;               /* of the folder that was reached, O_PATH */
        struct stat st;       /* of it */
        char where[PATH_MAX]; /* its name: for messages */
        char rest[PATH_MAX];  /* what is still to be walked */
        unsigned n_links;
} Walk;

static int refuse(Walk *walk, const char *what, const char *remedy)
{
        CLEANUP(freep) char *name = text_escape(walk->where, strlen(walk->where), PATH_MAX);

        return fail(walk->failure, CB_INVALID_ARGUMENT, "%s: %s; %s %s", string_or_empty(name),
                    what, remedy, string_or_empty(name));
}

static int check_owner(Walk *walk, const struct stat *st)
{
        char what[96];

        if (st->st_uid == 0 || st->st_uid == geteuid() || st->st_uid == walk->daemon.uid)
                return 0;
        snprintf(what, sizeof(what), "belongs to user %u, who could change it",
                 (unsigned)st->st_uid);
        return refuse(walk, what, S_ISLNK(st->st_mode) ? "chown -h root" : "chown root");
}

static int check_writers(Walk *walk, const struct stat *st)
{
        char what[96];

        if (!(st->st_mode & (S_IWGRP | S_IWOTH)))
                return 0;
        snprintf(what, sizeof(what), "may be written by %s (mode %04o)",
                 st->st_mode & S_IWOTH ? "everyone" : "its group", (unsigned)st->st_mode & 07777);
        return refuse(walk, what, "chmod go-w");
}

static int check_folder(Walk *walk, const struct stat *st)
{
        int r;

        r = check_owner(walk, st);
        if (r == 0 && !(st->st_mode & S_ISVTX))
                r = check_writers(walk, st);
        return r;
}

/* The folder that a file is in, or that is asked for: others must not put anything beside what is in it. */
static int check_last_folder(Walk *walk)
{
        char what[96];

        if (!(walk->st.st_mode & (S_IWGRP | S_IWOTH)))
                return 0;
        if (walk->kind == TRUSTED_ONCE && (walk->st.st_mode & S_ISVTX))
                return 0;
        snprintf(what, sizeof(what), "is a folder in which others may make files (mode %04o)",
                 (unsigned)walk->st.st_mode & 07777);
        return refuse(walk, what,
                      walk->st.st_mode & S_ISVTX ? "use another folder than" : "chmod go-w");
}

static int check_readers(Walk *walk, const struct stat *st)
{
        char what[96];
        bool group = (st->st_mode & S_IRGRP) && st->st_gid != 0 && st->st_gid != getegid() &&
                     st->st_gid != walk->daemon.gid;

        if (!(st->st_mode & S_IROTH) && !group)
                return 0;
        snprintf(what, sizeof(what), "is a secret and may be read by %s (mode %04o)",
                 st->st_mode & S_IROTH ? "everyone" : "its group", (unsigned)st->st_mode & 07777);
        return refuse(walk, what, st->st_mode & S_IROTH ? "chmod o-rwx" : "chmod g-rwx");
}

static int check_file(Walk *walk, const struct stat *st)
{
        int r;

        if (!S_ISREG(st->st_mode))
                return refuse(walk, "is not a regular file", "look at");
        r = check_owner(walk, st);
        if (r == 0)
                r = check_writers(walk, st);
        if (r == 0 && walk->kind == TRUSTED_SECRET)
                r = check_readers(walk, st);
        return r;
}

/* Into the folder `fd`, whose name is in `where` already. Takes fd. */
static int enter(Walk *walk, int fd, const struct stat *st)
{
        close_fd(walk->fd);
        walk->fd = fd;
        walk->st = *st;
        return check_folder(walk, st);
}

static int enter_root(Walk *walk)
{
        struct stat st;
        int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0) {
                close_fd(fd);
                return -errno;
        }
        snprintf(walk->where, sizeof(walk->where), "/");
        return enter(walk, fd, &st);
}

static int name_append(Walk *walk, const char *name)
{
        size_t n = strlen(walk->where);
        char *slash;

        if (strcmp(name, "..") == 0) {
                slash = strrchr(walk->where, '/');
                slash[slash == walk->where] = '\0';
                return 0;
        }
        if (n + 1 + strlen(name) >= sizeof(walk->where))
                return -ENAMETOOLONG;
        snprintf(walk->where + n, sizeof(walk->where) - n, "%s%s", n > 1 ? "/" : "", name);
        return 0;
}

/* The link's text takes its place before the rest. */
static int follow(Walk *walk, int link_fd)
{
        char target[PATH_MAX], rest[PATH_MAX];
        ssize_t n = readlinkat(link_fd, "", target, sizeof(target));
        int length;

        if (n < 0)
                return -errno;
        if ((size_t)n >= sizeof(target))
                return -ENAMETOOLONG;
        if (++walk->n_links > LINKS_MAX)
                return -ELOOP;
        target[n] = '\0';
        length = snprintf(rest, sizeof(rest), "%s/%s", target, walk->rest);
        if (length < 0 || (size_t)length >= sizeof(rest))
                return -ENAMETOOLONG;
        memcpy(walk->rest, rest, (size_t)length + 1);
        return target[0] == '/' ? enter_root(walk) : name_append(walk, "..");
}

/* The next name out of the rest, without slashes; empty: there is none. */
static int take_name(Walk *walk, char ret_name[NAME_MAX + 1])
{
        const char *start = walk->rest + strspn(walk->rest, "/");
        size_t n = strcspn(start, "/");

        if (n > NAME_MAX)
                return -ENAMETOOLONG;
        memcpy(ret_name, start, n);
        ret_name[n] = '\0';
        start += n;
        start += strspn(start, "/");
        memmove(walk->rest, start, strlen(start) + 1);
        return 0;
}

/* A file ends the walk. It is opened anew from its folder, and judged again by what was opened. */
static int open_file(Walk *walk, const char *name, int flags, int *ret_fd)
{
        CLEANUP(closep) int fd = -1;
        struct stat st;
        int r;

        fd = openat(walk->fd, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        r = check_file(walk, &st);
        if (r != 0)
                return r;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

static int end_at_file(Walk *walk, const char *name, const struct stat *st, int flags, int *ret_fd)
{
        int r;

        if (*walk->rest != '\0')
                return -ENOTDIR;
        if (walk->kind == TRUSTED_DIRECTORY)
                return refuse(walk, "is not a folder", "look at");
        r = check_file(walk, st); /* before it is opened: it may be a device */
        if (r != 0)
                return r;
        (void)name_append(walk, "..");
        r = check_last_folder(walk);
        if (r == 0)
                r = name_append(walk, name);
        return r == 0 ? open_file(walk, name, flags, ret_fd) : r;
}

static int end_at_folder(Walk *walk, int flags, int *ret_fd)
{
        int r, fd;

        if (walk->kind != TRUSTED_DIRECTORY)
                return refuse(walk, "is not a regular file", "look at");
        r = check_last_folder(walk);
        if (r != 0)
                return r;
        fd = openat(walk->fd, ".", flags | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

/* Who asks may go on without the file: then nobody else may make it later. */
static int not_there(Walk *walk)
{
        int r = check_last_folder(walk);

        return r == 0 ? -ENOENT : r;
}

/* One name of the rest. *ret_fd: the file, where it is one. */
static int step(Walk *walk, int flags, int *ret_fd)
{
        CLEANUP(closep) int fd = -1;
        char name[NAME_MAX + 1];
        struct stat st;
        int r;

        r = take_name(walk, name);
        if (r < 0 || *name == '\0' || strcmp(name, ".") == 0)
                return r;
        fd = openat(walk->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return not_there(walk);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        r = name_append(walk, name);
        if (r < 0)
                return r;
        if (S_ISDIR(st.st_mode)) {
                r = enter(walk, fd, &st);
                fd = -1;
                return r;
        }
        if (!S_ISLNK(st.st_mode))
                return end_at_file(walk, name, &st, flags, ret_fd);
        r = check_owner(walk, &st);
        return r == 0 ? follow(walk, fd) : r;
}

static int walk_begin(Walk *walk, const char *path)
{
        char here[PATH_MAX] = "";
        int n;

        if (*path != '/' && !getcwd(here, sizeof(here)))
                return -errno;
        n = snprintf(walk->rest, sizeof(walk->rest), "%s/%s", here, path);
        if (n < 0 || (size_t)n >= sizeof(walk->rest))
                return -ENAMETOOLONG;
        return enter_root(walk);
}

int trusted_open(const char *path, TrustedKind kind, int flags, const TrustedUser *daemon,
                 int *ret_fd, Failure *failure)
{
        const TrustedUser ourselves = { geteuid(), getegid() };
        Walk walk = { .kind = kind,
                      .daemon = daemon ? *daemon : ourselves,
                      .failure = failure,
                      .fd = -1 };
        int fd = -1, r;

        r = walk_begin(&walk, path);
        while (r == 0 && fd < 0 && *walk.rest != '\0')
                r = step(&walk, flags, &fd);
        if (r == 0 && fd < 0)
                r = end_at_folder(&walk, flags, &fd);
        close_fd(walk.fd);
        if (r == 0)
                *ret_fd = fd;
        return r;
}

int trusted_check(const char *path, TrustedKind kind, const TrustedUser *daemon, Failure *failure)
{
        CLEANUP(closep) int fd = -1;

        return trusted_open(path, kind, O_PATH, daemon, &fd, failure);
}
