/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads an audit log, and asks where it has to end. All files are opened before the first line is read, so that
 * a rotation meanwhile neither hides nor doubles one; what is written after that is not read. Its memory does
 * not grow with the log.
 */
#include "log.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "local.h"
#include "log-files.h"
#include "store.h"

#define ATTEMPTS       10
#define PAUSE_USEC     1000
#define BUFFER         (1024 * 1024)
#define LINE_MAX_BYTES (64 * 1024) /* a record has a few hundred */

struct Log {
        LogFiles files;
        LogEnd end;

        unsigned file; /* being read */
        uint64_t offset, number, n_read;
        char *buffer;
        size_t start, n;  /* what is not yet read of the buffer */
        bool is_skipping; /* the rest of a line that is longer than the buffer */
};

Log *log_free(Log *log)
{
        if (!log)
                return NULL;
        log_files_deinit(&log->files);
        free(log->buffer);
        free(log);
        return NULL;
}

/* ------------------------------------------------------------------ whose log it is */

static int ask_end(Cli *cli, cb_value **ret_reply)
{
        return cb_call(cli->client, &(cb_method){ .member = "OpenAudit", .repeatable = true },
                       ret_reply, &cli->error, "");
}

/* It may have become FILE.1 since; and FILE is not there for a moment, while another is begun. */
static void cut_rotation(char *path)
{
        char *dot = strrchr(path, '.');

        if (!dot || dot[1] < '1' || dot[1] > '9' ||
            strspn(dot + 1, "0123456789") != strlen(dot + 1))
                return;
        *dot = '\0';
        for (unsigned i = 0; i < ATTEMPTS; i++) {
                if (access(path, F_OK) == 0)
                        return;
                (void)usleep(PAUSE_USEC);
        }
        *dot = '.'; /* it is its own name */
}

/* The path of what the daemon has open, if it is that from here too. */
static int path_of(int fd, char **ret_path)
{
        char link[64], path[PATH_MAX];
        struct stat a, b;
        ssize_t n;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n < 0)
                return -errno;
        path[n] = '\0';
        if (fstat(fd, &a) < 0 || stat(path, &b) < 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
                return -ENOENT;
        cut_rotation(path);
        *ret_path = strdup(path);
        return *ret_path ? 0 : -ENOMEM;
}

static void take_head(const cb_value *reply, uint64_t *ret_seq, char ret_hash[65])
{
        *ret_seq = cb_value_number(cb_value_at(reply, 1), 0);
        (void)snprintf(ret_hash, 65, "%s", cb_value_string(cb_value_at(reply, 2), ""));
}

/* The first answer is what must be in the files, whose size was taken after it; the second what may be. */
static int take_end(Cli *cli, Log *log, const cb_value *first)
{
        const cb_value *fd = cb_value_at(first, 0);
        CLEANUP(cb_value_freep) cb_value *second = NULL;

        if (!fd || fd->type != CB_TYPE_FD)
                return 0;
        if (!log_files_has(&log->files, fd->as.fd))
                return arguments_has(cli->arguments, "--file")
                               ? 0
                               : cli_fail(
                                         cli, CB_FAILED,
                                         "%s is not the file that certbrokerd writes: that one was "
                                         "replaced or moved.",
                                         log->files.items[log->files.n - 1].name);
        log->end.is_live = true;
        log->end.who = "certbrokerd";
        take_head(first, &log->end.seq, log->end.hash);
        if (ask_end(cli, &second) == 0)
                take_head(second, &log->end.seq_max, log->end.hash_max);
        return 0;
}

/* Which state directory that is: beside the log, or where it is configured. */
static void take_lost(Cli *cli, Log *log, const char *beside, const char *configured)
{
        const char *given = arguments_value(cli->arguments, "--state-directory");

        log->end.n_lost = store_read_lost(given ? given : beside);
        if (log->end.n_lost == 0 && !given && configured)
                log->end.n_lost = store_read_lost(configured);
}

/* Where no daemon runs, its store knows how far the log went: beside the log, or where it is configured. */
static int take_end_of_store(Cli *cli, Log *log, const char *beside, const char *configured)
{
        const char *given = arguments_value(cli->arguments, "--state-directory");
        int r;

        r = store_read_audit_head(cli, given ? given : beside, &log->end.seq, log->end.hash);
        if (r && !given && configured)
                r = store_read_audit_head(cli, configured, &log->end.seq, log->end.hash);
        if (r && given)
                return r;
        if (r == 0)
                log->end.who = "certbrokerd's store";
        cli->error.text[0] = '\0';
        return 0;
}

static int find_path(Cli *cli, const cb_value *reply, char **ret_path, char **ret_state)
{
        const char *file = arguments_value(cli->arguments, "--file");
        const cb_value *fd = cb_value_at(reply, 0);
        json_t *config = NULL;
        int r;

        if (file) {
                *ret_path = strdup(file);
                return *ret_path ? 0 : cli_out_of_memory(cli);
        }
        if (fd && fd->type == CB_TYPE_FD && path_of(fd->as.fd, ret_path) == 0)
                return 0;
        r = local_config(cli, &config);
        if (r)
                return r;
        *ret_path = strdup(json_string_value(json_object_get(config, "audit-log")) ?: "");
        *ret_state = strdup(json_string_value(json_object_get(config, "state-directory")) ?: "");
        json_decref(config);
        return *ret_path && *ret_state ? 0 : cli_out_of_memory(cli);
}

static char *folder_of(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
}

int log_open(Cli *cli, Log **ret_log)
{
        CLEANUP(log_freep) Log *log = calloc(1, sizeof(*log));
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        CLEANUP(free_text) char *path = NULL;
        CLEANUP(free_text) char *state = NULL;
        CLEANUP(free_text) char *beside = NULL;
        int r;

        if (!log)
                return cli_out_of_memory(cli);
        log->buffer = malloc(BUFFER);
        if (!log->buffer)
                return cli_out_of_memory(cli);
        /* A daemon that is away, or that does not let us, does not keep anyone from reading a file. */
        r = ask_end(cli, &reply);
        if (r == CB_ACCESS_DENIED && !arguments_value(cli->arguments, "--file"))
                return r;
        cli->error.text[0] = '\0';
        r = find_path(cli, reply, &path, &state);
        if (r == 0)
                r = log_files_open(cli, path, &log->files);
        if (r == 0)
                r = take_end(cli, log, reply);
        if (r)
                return r;
        beside = folder_of(path);
        if (!beside)
                return cli_out_of_memory(cli);
        if (!log->end.is_live)
                r = take_end_of_store(cli, log, beside, state);
        if (r)
                return r;
        take_lost(cli, log, beside, state);
        *ret_log = TAKE(log);
        return 0;
}

/* ------------------------------------------------------------------ reading */

static ssize_t read_at(const LogFile *file, char *to, size_t n, uint64_t offset)
{
        ssize_t got;

        if (n > file->size - offset)
                n = (size_t)(file->size - offset);
        do
                got = n ? pread(file->fd, to, n, (off_t)offset) : 0;
        while (got < 0 && errno == EINTR);
        return got;
}

/* More bytes behind those that are there: how many, 0 at the end of the file. */
static int fill(Cli *cli, Log *log, size_t *ret_n)
{
        const LogFile *file = &log->files.items[log->file];
        ssize_t got;

        if (log->start > 0) {
                memmove(log->buffer, log->buffer + log->start, log->n);
                log->start = 0;
        }
        got = read_at(file, log->buffer + log->n, BUFFER - log->n, log->offset);
        if (got < 0)
                return cli_fail(cli, -errno, "%s cannot be read: %s", file->name, strerror(errno));
        log->n += (size_t)got;
        log->offset += (uint64_t)got;
        log->n_read += (uint64_t)got;
        *ret_n = (size_t)got;
        return 0;
}

static void take_line(Log *log, size_t n, size_t n_skip, LogLine *ret_line)
{
        *ret_line = (LogLine){ .text = log->buffer + log->start,
                               .n = n,
                               .file = log->file,
                               .number = ++log->number,
                               .is_cut = n_skip == 0,
                               .is_long = n > LINE_MAX_BYTES };
        if (ret_line->is_long)
                ret_line->n = LINE_MAX_BYTES;
        log->start += n + n_skip;
        log->n -= n + n_skip;
}

/* The rest of what was too long. */
static void skip_to_newline(Log *log, const char *newline)
{
        size_t n = newline ? (size_t)(newline - log->buffer) - log->start + 1 : log->n;

        log->start += n;
        log->n -= n;
        log->is_skipping = !newline;
}

static bool next_file(Log *log)
{
        if (log->file + 1 >= log->files.n)
                return false;
        log->file++;
        log->offset = log->number = 0;
        log->start = log->n = 0;
        log->is_skipping = false;
        return true;
}

int log_next(Cli *cli, Log *log, LogLine *ret_line)
{
        size_t searched = 0;

        for (;;) {
                const char *newline =
                        memchr(log->buffer + log->start + searched, '\n', log->n - searched);
                size_t more = 0;
                int r;

                if (log->is_skipping) {
                        skip_to_newline(log, newline);
                        if (newline)
                                continue;
                } else if (newline) {
                        take_line(log, (size_t)(newline - log->buffer) - log->start, 1, ret_line);
                        return 1;
                }
                searched = log->n;
                r = searched < BUFFER ? fill(cli, log, &more) : 0;
                if (r)
                        return r;
                if (more > 0)
                        continue;
                if (log->n > 0) { /* the file's end, or a line that fills the buffer */
                        log->is_skipping = log->n == BUFFER;
                        take_line(log, log->n, 0, ret_line);
                        ret_line->is_cut = !log->is_skipping;
                        return 1;
                }
                if (!next_file(log))
                        return 0;
                searched = 0;
        }
}

const char *log_name(const Log *log, unsigned file)
{
        return log->files.items[file].name;
}

size_t log_n_files(const Log *log)
{
        return log->files.n;
}

uint64_t log_size(const Log *log)
{
        uint64_t size = 0;

        for (size_t i = 0; i < log->files.n; i++)
                size += log->files.items[i].size;
        return size;
}

uint64_t log_read(const Log *log)
{
        return log->n_read;
}

const LogEnd *log_end(const Log *log)
{
        return &log->end;
}

const char *log_packed(const Log *log, size_t *ret_n)
{
        *ret_n = log->files.n_packed;
        return log->files.packed;
}
