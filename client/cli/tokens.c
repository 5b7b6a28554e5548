/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder of another user, who can put a link in its place, or in that of a folder above it, at any moment: root removes
 * nothing there, but that user does.
 */
#include "tokens.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "macro.h"
#include "written.h"

#define FILE_MAX ((size_t)1 << 20)

static bool is_dot(const char *name)
{
        return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

void tokens_decode(char *text)
{
        char *to = text;

        while (*text) {
                char digits[3] = { text[1], text[1] ? text[2] : '\0', '\0' };
                long byte = *text == '%' && isxdigit((unsigned char)digits[0]) &&
                                            isxdigit((unsigned char)digits[1])
                                    ? strtol(digits, NULL, 16)
                                    : 0;

                *to++ = byte ? (char)byte : *text;
                text += byte ? 3 : 1;
        }
        *to = '\0';
}

/* The folder itself, not what its owner has put in its place. */
static int open_folder(int parent, const char *name, DIR **ret_entries)
{
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;

        if (fd < 0)
                return -errno;
        *ret_entries = fdopendir(fd);
        if (*ret_entries)
                return 0;
        r = -errno;
        (void)close(fd);
        return r;
}

static int write_names(DIR *entries, FILE *to)
{
        const struct dirent *entry;

        while ((errno = 0, entry = readdir(entries)))
                (void)fprintf(to, "%s\n", entry->d_name);
        return -errno;
}

/* All of them, or a failure: what is not in the list may be removed later, with its keys. */
int tokens_list(const char *folder, char **ret_names)
{
        CLEANUP(written_deinit) Written names = { 0 };
        DIR *entries = NULL;
        int r = open_folder(AT_FDCWD, folder, &entries);

        if (r == 0 || r == -ENOENT)
                r = written_init(&names);
        if (r == 0 && entries)
                r = write_names(entries, names.to);
        if (entries)
                (void)closedir(entries);
        return r ? r : written_finish(&names, ret_names);
}

static bool is_listed(const char *names, const char *name)
{
        size_t n = strlen(name);

        for (const char *line = names; *line; line += strcspn(line, "\n"), line += *line == '\n')
                if (strncmp(line, name, n) == 0 && line[n] == '\n')
                        return true;
        return false;
}

/* A folder and the files in it; folders in it are not expected, and stay. */
static int remove_token(int parent, const char *name)
{
        DIR *entries;
        struct dirent *entry;
        int r = open_folder(parent, name, &entries);

        if (r < 0)
                return r;
        while ((entry = readdir(entries)))
                if (!is_dot(entry->d_name))
                        (void)unlinkat(dirfd(entries), entry->d_name, 0);
        (void)closedir(entries);
        return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int remove_others(const char *folder, const char *names)
{
        DIR *entries;
        struct dirent *entry;
        int r = open_folder(AT_FDCWD, folder, &entries);

        if (r < 0)
                return r == -ENOENT ? 0 : r;
        while ((entry = readdir(entries)))
                if (!is_dot(entry->d_name) && !is_listed(names, entry->d_name)) {
                        int removed = remove_token(dirfd(entries), entry->d_name);

                        r = r ? r : removed;
                }
        (void)closedir(entries);
        return r;
}

int tokens_remove_others(const char *folder, const char *names, uid_t uid, gid_t gid)
{
        int status = 0;
        pid_t pid = fork();

        if (pid < 0)
                return -errno;
        if (pid == 0) {
                if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
                        _exit(EPERM);
                _exit(-remove_others(folder, names));
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

/* ------------------------------------------------------------------ the configuration */

static int copy_file(int from_folder, int to_folder, const char *name, gid_t gid)
{
        CLEANUP(close_fd) int from = openat(from_folder, name, O_RDONLY | O_CLOEXEC), to = -1;
        CLEANUP(free_text) char *data = malloc(FILE_MAX);
        ssize_t n = 0, got;

        if (from < 0 || !data)
                return from < 0 ? -errno : -ENOMEM;
        while ((size_t)n < FILE_MAX && (got = read(from, data + n, FILE_MAX - (size_t)n)) > 0)
                n += got;
        to = openat(to_folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
        if (to < 0)
                return -errno;
        if (write(to, data, (size_t)n) != n)
                return errno ? -errno : -ENOSPC;
        return fchown(to, 0, gid) < 0 || fchmod(to, 0640) < 0 ? -errno : 0;
}

static bool is_conf(const char *name)
{
        size_t n = strlen(name);

        return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".conf") == 0;
}

static int copy_drop_ins(int from, int to, gid_t gid)
{
        int fd = openat(from, "conf.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CLEANUP(close_fd) int drop_ins = -1;
        DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
        struct dirent *entry;
        int r = 0;

        if (mkdirat(to, "conf.d", 0755) < 0 ||
            (drop_ins = openat(to, "conf.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
                r = -errno;
        while (r == 0 && entries && (entry = readdir(entries)))
                if (is_conf(entry->d_name))
                        r = copy_file(fd, drop_ins, entry->d_name, gid);
        if (entries)
                (void)closedir(entries);
        return r;
}

int config_copy(const char *folder, const char *from, gid_t gid)
{
        CLEANUP(close_fd) int source = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CLEANUP(close_fd) int to = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (source < 0 || to < 0)
                return -errno;
        r = copy_file(source, to, "certbroker.conf", gid);
        return r == 0 ? copy_drop_ins(source, to, gid) : r;
}
