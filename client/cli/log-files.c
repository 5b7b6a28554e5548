/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens an audit log with its older files. Which these are is told by the chain, for logrotate
 * names them by the date: a file of the same folder belongs to the log when it ends where another
 * one begins, or begins where it ends. FILE.N belongs to it by its name, whatever is in it, and
 * stands at the place that its number tells: that is how certbrokerd names them. certbrokerd may
 * rename all of them at any moment; so they are opened again until every name has meant the same
 * file for a while. Of what is in them it reads the two ends.
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
#define LOG_BEGIN   "{\"time\":"

static void file_deinit(LogFile *file)
{
        close_fd(&file->fd);
        free(file->name);
}

void log_files_deinit(LogFiles *files)
{
        for (size_t i = 0; i < files->n; i++)
                file_deinit(&files->items[i]);
        free(files->items);
        free(files->packed);
        *files = (LogFiles){ 0 };
}

/* ------------------------------------------------------------------ names */

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

/* "audit" of "audit.jsonl": what rotation adds, behind the name or before its end, leaves that. */
static bool has_stem(const char *entry, const char *file)
{
        const char *dot = strrchr(file, '.');
        size_t n = dot && dot > file ? (size_t)(dot - file) : strlen(file);

        return strncmp(entry, file, n) == 0;
}

static bool is_packed_name(const char *entry)
{
        static const char *const extensions[] = { ".gz", ".xz", ".zst", ".bz2", ".lz4", ".Z" };
        const char *dot = strrchr(entry, '.');

        for (size_t i = 0; dot && i < ELEMENTSOF(extensions); i++)
                if (strcmp(dot, extensions[i]) == 0)
                        return true;
        return false;
}

/* ------------------------------------------------------------------ opening */

static bool begins_as_log(int fd)
{
        char begin[sizeof(LOG_BEGIN) - 1];

        return pread(fd, begin, sizeof(begin), 0) == (ssize_t)sizeof(begin) &&
               memcmp(begin, LOG_BEGIN, sizeof(begin)) == 0;
}

/* Takes what is in file, also when it fails. */
static int add_file(Cli *cli, LogFiles *files, LogFile file)
{
        LogFile *items = reallocarray(files->items, files->n + 1, sizeof(*items));

        if (!items) {
                file_deinit(&file);
                return cli_out_of_memory(cli);
        }
        files->items = items;
        for (size_t i = 0; i < files->n; i++)
                if (files->items[i].dev == file.dev && files->items[i].ino == file.ino) {
                        file_deinit(&file); /* renamed while we looked: it is there already */
                        return 0;
                }
        log_ends_read(file.fd, file.size, &file.ends);
        files->items[files->n++] = file;
        return 0;
}

/* A device does something when it is opened; so it is looked at first. -1, and errno: 0 where it is no regular file. */
static int open_regular(const char *name)
{
        CLEANUP(close_fd) int place = open(name, O_PATH | O_CLOEXEC);
        char path[64];
        struct stat st;

        if (place < 0 || fstat(place, &st) < 0)
                return -1;
        errno = 0;
        if (!S_ISREG(st.st_mode))
                return -1;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", place);
        return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* What is ours by its name must be readable; of others what cannot be read is none of the log. */
static int open_file(Cli *cli, LogFiles *files, const char *name, LogFile file)
{
        struct stat st;

        file.fd = open_regular(name);
        if (file.fd < 0 && errno == 0)
                return file.is_ours ? cli_fail(cli, CB_FAILED, "%s is no regular file.", name) : 0;
        if (file.fd < 0)
                return !file.is_ours ? 0
                                     : cli_fail(cli, errno == ENOENT ? CB_NOT_FOUND : -errno,
                                                "%s cannot be opened: %s", name, strerror(errno));
        if (fstat(file.fd, &st) < 0) {
                int r = -errno;

                (void)close(file.fd);
                return file.is_ours ? cli_fail(cli, r, "%s: %s", name, strerror(-r)) : 0;
        }
        if (!file.is_ours && !begins_as_log(file.fd)) {
                (void)close(file.fd);
                return 0;
        }
        file.name = strdup(name);
        file.size = (uint64_t)st.st_size;
        file.dev = st.st_dev;
        file.ino = st.st_ino;
        if (!file.name) {
                file_deinit(&file);
                return cli_out_of_memory(cli);
        }
        return add_file(cli, files, file);
}

static int note_packed(Cli *cli, LogFiles *files, char **name)
{
        if (files->n_packed++ == 0 || strcmp(*name, files->packed) > 0) {
                free(files->packed);
                files->packed = TAKE(*name);
        }
        return files->packed ? 0 : cli_out_of_memory(cli);
}

static bool may_be_file(const struct dirent *entry)
{
        return entry->d_type == DT_REG || entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN;
}

static int add_entry(Cli *cli, LogFiles *files, const struct dirent *entry, const char *file,
                     const char *folder)
{
        unsigned long long rotation = rotation_of(entry->d_name, file);
        CLEANUP(free_text) char *name = NULL;

        if (entry->d_name[0] == '.' || strcmp(entry->d_name, file) == 0 ||
            (rotation == 0 && !may_be_file(entry)))
                return 0;
        if (asprintf(&name, "%s%s", folder, entry->d_name) < 0) {
                name = NULL;
                return cli_out_of_memory(cli);
        }
        if (has_stem(entry->d_name, file) && is_packed_name(entry->d_name))
                return note_packed(cli, files, &name);
        return open_file(cli, files, name,
                         (LogFile){ .rotation = rotation, .is_ours = rotation > 0 });
}

static int add_folder(Cli *cli, LogFiles *files, const char *path)
{
        const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
        CLEANUP(free_text) char *folder = slash ? strndup(path, (size_t)(file - path)) : strdup("");
        const struct dirent *entry;
        int r = 0;
        DIR *dir;

        if (!folder)
                return cli_out_of_memory(cli);
        dir = opendir(*folder ? folder : ".");
        if (!dir)
                return cli_fail(cli, -errno, "%s cannot be read for older files: %s",
                                *folder ? folder : ".", strerror(errno));
        while (r == 0 && (entry = readdir(dir)))
                r = add_entry(cli, files, entry, file, folder);
        (void)closedir(dir);
        return r;
}

/* ------------------------------------------------------------------ which are ours, in order */

static bool fits(const LogFiles *files, const LogFile *file)
{
        for (size_t i = 0; i < files->n; i++) {
                const LogFile *other = &files->items[i];

                if (other->is_ours && (log_ends_follow(&file->ends, &other->ends) ||
                                       log_ends_follow(&other->ends, &file->ends)))
                        return true;
        }
        return false;
}

/* A copy's records are there already. */
static bool is_copy(const LogFiles *files, const LogFile *file)
{
        for (size_t i = 0; i < files->n; i++) {
                const LogFile *other = &files->items[i];

                if (other->is_ours && other->ends.has_record &&
                    other->ends.seq_first <= file->ends.seq_last &&
                    file->ends.seq_first <= other->ends.seq_last)
                        return true;
        }
        return false;
}

static bool has_name_of(const LogFile *item, const char *path)
{
        const char *slash = strrchr(path, '/'), *name = strrchr(item->name, '/');

        return has_stem(name ? name + 1 : item->name, slash ? slash + 1 : path);
}

/* Returns whether one was found, which the next one may fit. */
static bool find_one(LogFiles *files, const char *path, bool by_name)
{
        for (size_t i = 0; i < files->n; i++) {
                LogFile *item = &files->items[i];

                if (item->is_ours || !item->ends.has_record || is_copy(files, item))
                        continue;
                if (by_name ? has_name_of(item, path) : fits(files, item)) {
                        item->is_ours = true;
                        return true;
                }
        }
        return false;
}

/*
 * By the chain first; one that fits nowhere and has the log's name was changed at an end, which has
 * to show.
 */
static void find_ours(LogFiles *files, const char *path)
{
        do
                while (find_one(files, path, false))
                        ;
        while (find_one(files, path, true));
}

static void drop_others(LogFiles *files)
{
        size_t n = 0;

        for (size_t i = 0; i < files->n; i++) {
                if (files->items[i].is_ours)
                        files->items[n++] = files->items[i];
                else
                        file_deinit(&files->items[i]);
        }
        files->n = n;
}

static int by_place(const void *a, const void *b)
{
        const LogFile *x = a, *y = b;

        if (x->place != y->place)
                return x->place < y->place ? -1 : 1;
        return x->rotation == y->rotation ? 0 : x->rotation > y->rotation ? -1 : 1;
}

static int by_number(const void *a, const void *b)
{
        const LogFile *x = a, *y = b;

        return x->rotation == y->rotation ? 0 : x->rotation > y->rotation ? -1 : 1;
}

/* FILE is the last of those with a number. What has no record comes after the one before it. */
static void order(LogFiles *files)
{
        LogFile *numbered = calloc(files->n + 1, sizeof(*numbered));
        uint64_t place = 0;
        size_t n = 0;

        qsort(files->items, files->n, sizeof(*files->items), by_number);
        for (size_t i = 0; i < files->n; i++) {
                LogFile *file = &files->items[i];

                if (file->ends.has_record)
                        place = file->ends.seq_first;
                file->place = file->is_asked && !file->ends.has_record ? UINT64_MAX : place;
        }
        qsort(files->items, files->n, sizeof(*files->items), by_place);
        for (size_t i = 0; numbered && i < files->n; i++)
                if (files->items[i].rotation > 0)
                        numbered[n++] = files->items[i];
        if (n > 0)
                qsort(numbered, n, sizeof(*numbered), by_number);
        for (size_t i = files->n; numbered && i > 0; i--)
                if (files->items[i - 1].rotation > 0)
                        files->items[i - 1] = numbered[--n];
        free(numbered);
}

/* ------------------------------------------------------------------ at one moment */

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
        int r = open_file(cli, files, path, (LogFile){ .is_asked = true, .is_ours = true });

        if (r == 0)
                r = add_folder(cli, files, path);
        if (r)
                return r;
        find_ours(files, path);
        drop_others(files);
        order(files);
        return 0;
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
