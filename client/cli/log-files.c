/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens an audit log with its rotated files. certbrokerd may rename all of them at any moment; so they are
 * opened again until every name has meant the same file for a while. It reads nothing.
 */
#include "log-files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define ATTEMPTS    50
#define ABSENT_MAX  10   /* so often in a row: it is not there */
#define SETTLE_USEC 3000 /* a rotation renames file after file, and is over within that */

void log_files_deinit(LogFiles *files)
{
        for (size_t i = 0; i < files->n; i++) {
                close_fd(&files->items[i].fd);
                free(files->items[i].name);
        }
        free(files->items);
        *files = (LogFiles){ 0 };
}

/* Takes fd, also when it fails. */
static int add_file(Cli *cli, LogFiles *files, const char *name, unsigned long long rotation,
                    int fd)
{
        LogFile *items = reallocarray(files->items, files->n + 1, sizeof(*items));
        LogFile file = { NULL, fd, rotation, 0, 0, 0 };
        struct stat st;

        if (items)
                files->items = items;
        file.name = strdup(name);
        if (!items || !file.name || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                bool is_memory = !items || !file.name;

                (void)close(fd);
                free(file.name);
                return is_memory ? cli_out_of_memory(cli)
                                 : cli_fail(cli, CB_FAILED, "%s is no regular file.", name);
        }
        file.size = (uint64_t)st.st_size;
        file.dev = st.st_dev;
        file.ino = st.st_ino;
        for (size_t i = 0; i < files->n; i++)
                if (files->items[i].dev == file.dev && files->items[i].ino == file.ino) {
                        (void)close(fd); /* renamed while we looked: it is there already */
                        free(file.name);
                        return 0;
                }
        files->items[files->n++] = file;
        return 0;
}

static int open_file(Cli *cli, LogFiles *files, const char *name, unsigned long long rotation)
{
        int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

        if (fd < 0)
                return cli_fail(cli, errno == ENOENT ? CB_NOT_FOUND : -errno,
                                "%s cannot be opened: %s", name, strerror(errno));
        return add_file(cli, files, name, rotation, fd);
}

/* N of "FILE.N", or 0. */
static unsigned long long rotation_of(const char *entry, const char *file)
{
        size_t n = strlen(file);
        unsigned long long rotation;
        char *end;

        if (strncmp(entry, file, n) != 0 || entry[n] != '.' || entry[n + 1] < '1' ||
            entry[n + 1] > '9' || strlen(entry + n + 1) > 9)
                return 0;
        rotation = strtoull(entry + n + 1, &end, 10);
        return *end ? 0 : rotation;
}

static int add_rotated(Cli *cli, LogFiles *files, const char *path)
{
        const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
        CLEANUP(free_text)
        char *directory = slash ? strndup(path, (size_t)(file - path)) : strdup("./");
        const struct dirent *entry;
        int r = 0;
        DIR *dir;

        if (!directory)
                return cli_out_of_memory(cli);
        dir = opendir(directory);
        if (!dir)
                return cli_fail(cli, -errno, "%s cannot be read for rotated files: %s", directory,
                                strerror(errno));
        while (r == 0 && (entry = readdir(dir))) {
                unsigned long long rotation = rotation_of(entry->d_name, file);
                char *name;

                if (rotation == 0)
                        continue;
                if (asprintf(&name, "%s%s", slash ? directory : "", entry->d_name) < 0) {
                        r = cli_out_of_memory(cli);
                        break;
                }
                r = open_file(cli, files, name, rotation);
                free(name);
        }
        (void)closedir(dir);
        return r;
}

static int older_first(const void *a, const void *b)
{
        const LogFile *x = a, *y = b;

        return x->rotation == y->rotation ? 0 : x->rotation > y->rotation ? -1 : 1;
}

bool log_files_has(const LogFiles *files, int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return false;
        for (size_t i = 0; i < files->n; i++)
                if (st.st_dev == files->items[i].dev && st.st_ino == files->items[i].ino)
                        return true;
        return false;
}

static void allow_many_files(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static bool has_rotation(const LogFiles *files, unsigned long long rotation)
{
        for (size_t i = 0; i < files->n; i++)
                if (files->items[i].rotation == rotation)
                        return true;
        return false;
}

/* Has no name come to mean another file since, and did the directory tell of all? */
static bool is_settled(const LogFiles *files, const char *path)
{
        struct stat st;

        for (size_t i = 0; i < files->n; i++) {
                char name[PATH_MAX];

                if (stat(files->items[i].name, &st) < 0 || st.st_dev != files->items[i].dev ||
                    st.st_ino != files->items[i].ino)
                        return false;
                (void)snprintf(name, sizeof(name), "%s.%zu", path, i + 1);
                if (!has_rotation(files, i + 1) && access(name, F_OK) == 0)
                        return false;
        }
        return true;
}

static int open_once(Cli *cli, LogFiles *files, const char *path)
{
        int r = open_file(cli, files, path, 0);

        if (r == 0)
                r = add_rotated(cli, files, path);
        if (files->n > 0)
                qsort(files->items, files->n, sizeof(*files->items), older_first);
        return r;
}

/* A rotation renames every file: what was opened in the midst of one is opened again. */
int log_files_open(Cli *cli, const char *path, LogFiles *files)
{
        unsigned n_absent = 0;
        int r = 0;

        allow_many_files();
        for (size_t i = 0; i < ATTEMPTS; i++) {
                log_files_deinit(files);
                r = open_once(cli, files, path);
                (void)usleep(SETTLE_USEC);
                if (r == 0 && is_settled(files, path))
                        return 0;
                if (r && r != CB_NOT_FOUND)
                        return r;
                n_absent = access(path, F_OK) < 0 ? n_absent + 1 : 0;
                if (n_absent > ABSENT_MAX)
                        break;
        }
        return r ? r
                 : cli_fail(cli, CB_FAILED, "%s is being rotated all the time; try again.", path);
}
