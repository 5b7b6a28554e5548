/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the daemon's store with SQLite, which lets a reader see one state of it while the daemon writes the
 * next. It never changes the store, and replaces it only while no daemon can start; of what is in it, it knows two notes, the end of the audit log and what that has lost,
 * and how to tell that a file is a store.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "file.h"
#include "newfile.h"

#define STORE_FILE     "certbroker.sqlite"
#define APPLICATION_ID "1128428404" /* 0x43427374, as the daemon's database.c has it */
#define BUSY_MSEC      10000
#define PAGES_AT_ONCE  1000
#define COPY_MAX       (1 << 30)
#define LOCK_FILE      "lock"
#define ASIDE_MAX      1000

static int database_fail(Cli *cli, const char *file, sqlite3 *database)
{
        return cli_fail(cli, CB_FAILED, "%s cannot be read: %s", file,
                        database ? sqlite3_errmsg(database) : "no memory");
}

static int open_store(Cli *cli, const char *directory, char **ret_file, sqlite3 **ret_database)
{
        CLEANUP(free_text) char *file = NULL;
        sqlite3 *database = NULL;
        int r;

        if (asprintf(&file, "%s/%s", directory, STORE_FILE) < 0) {
                file = NULL;
                return cli_out_of_memory(cli);
        }
        if (access(file, R_OK) < 0)
                return cli_fail(cli,
                                errno == ENOENT   ? CB_NOT_FOUND
                                : errno == EACCES ? CB_ACCESS_DENIED
                                                  : -errno,
                                "%s cannot be read: %s. It is its daemon's user's and root's.",
                                file, strerror(errno));
        r = sqlite3_open_v2(file, &database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW, NULL);
        if (r == SQLITE_CANTOPEN_SYMLINK) {
                (void)sqlite3_close(database);
                database = NULL;
                r = sqlite3_open_v2(file, &database, SQLITE_OPEN_READONLY, NULL);
        }
        if (r != SQLITE_OK) {
                r = database_fail(cli, file, database);
                (void)sqlite3_close(database);
                return r;
        }
        (void)sqlite3_busy_timeout(database, BUSY_MSEC);
        *ret_file = TAKE(file);
        *ret_database = database;
        return 0;
}

static int read_text(sqlite3 *database, const char *sql, char *ret_text, size_t n)
{
        sqlite3_stmt *statement = NULL;
        int r = -ENOENT;

        if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) == SQLITE_OK &&
            sqlite3_step(statement) == SQLITE_ROW) {
                (void)snprintf(ret_text, n, "%s",
                               (const char *)sqlite3_column_text(statement, 0) ?: "");
                r = 0;
        }
        (void)sqlite3_finalize(statement);
        return r;
}

int store_read_audit_head(Cli *cli, const char *directory, uint64_t *ret_seq, char *ret_hash)
{
        CLEANUP(free_text) char *file = NULL;
        sqlite3 *database = NULL;
        char note[128], hash[65];
        uint64_t seq;
        int r;

        r = open_store(cli, directory, &file, &database);
        if (r)
                return r;
        if (read_text(database, "SELECT value FROM note WHERE key = 'audit/head'", note,
                      sizeof(note)) < 0)
                r = cli_fail(cli, CB_FAILED, "%s knows of no audit log.", file);
        else if (sscanf(note, "%" SCNu64 " %64[0-9a-f]", &seq, hash) != 2 || strlen(hash) != 64)
                r = cli_fail(cli, CB_FAILED, "%s: its note of the audit log is damaged.", file);
        (void)sqlite3_close(database);
        if (r)
                return r;
        *ret_seq = seq;
        memcpy(ret_hash, hash, sizeof(hash));
        return 0;
}

uint64_t store_read_lost(const char *directory)
{
        Cli quiet = { 0 };
        CLEANUP(free_text) char *file = NULL;
        sqlite3 *database = NULL;
        char note[128] = "";
        uint64_t n = 0;

        if (open_store(&quiet, directory, &file, &database))
                return 0;
        if (read_text(database, "SELECT value FROM note WHERE key = 'audit/lost'", note,
                      sizeof(note)) < 0 ||
            sscanf(note, "%" SCNu64, &n) != 1)
                n = 0;
        (void)sqlite3_close(database);
        return n;
}

/* ------------------------------------------------------------------ backup */

/* A page may be rewritten while we copy: SQLite begins anew then, by itself. */
static int copy_pages(sqlite3 *from, sqlite3 *to)
{
        sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
        int r;

        if (!backup)
                return sqlite3_errcode(to);
        do {
                r = sqlite3_backup_step(backup, PAGES_AT_ONCE);
                if (r == SQLITE_BUSY || r == SQLITE_LOCKED)
                        (void)sqlite3_sleep(50);
        } while (r == SQLITE_OK || r == SQLITE_BUSY || r == SQLITE_LOCKED);
        (void)sqlite3_backup_finish(backup);
        return r == SQLITE_DONE ? SQLITE_OK : r;
}

/* Whole, and ours. */
static int check_copy(Cli *cli, sqlite3 *copy)
{
        char text[256] = "";

        if (read_text(copy, "PRAGMA application_id", text, sizeof(text)) < 0 ||
            strcmp(text, APPLICATION_ID) != 0)
                return cli_fail(cli, CB_FAILED, "It is no store of certbrokerd's.");
        if (read_text(copy, "PRAGMA integrity_check(1)", text, sizeof(text)) < 0 ||
            strcmp(text, "ok") != 0)
                return cli_fail(cli, CB_FAILED, "The store is damaged: %s", text);
        return 0;
}

/* One file, without a write-ahead log beside it: as sqlite3_deserialize() says how. */
static void set_file_format(unsigned char *data, size_t n)
{
        if (n >= 20)
                data[18] = data[19] = 1;
}

static int write_copy(Cli *cli, sqlite3 *copy, NewFile *file)
{
        sqlite3_int64 n = 0;
        unsigned char *data = sqlite3_serialize(copy, "main", &n, 0);
        int r;

        if (!data)
                return cli_out_of_memory(cli);
        set_file_format(data, (size_t)n);
        r = newfile_begin(file, file->path);
        if (r == 0)
                r = newfile_write(file, data, (size_t)n);
        sqlite3_free(data);
        return r ? cli_fail(cli, r, "%s cannot be written: %s", file->path, newfile_reason(r)) : 0;
}

/*
 * In memory first: SQLite opens files by their names, and beside the place of the copy others may have put a link, or
 * a log to be replayed, under any name that can be seen there.
 */
static int copy_to(Cli *cli, sqlite3 *from, NewFile *file)
{
        sqlite3 *copy = NULL;
        int r;

        if (sqlite3_open(":memory:", &copy) != SQLITE_OK || copy_pages(from, copy) != SQLITE_OK)
                r = cli_fail(cli, CB_FAILED, "The store cannot be copied: %s",
                             copy ? sqlite3_errmsg(copy) : "no memory");
        else
                r = check_copy(cli, copy);
        if (r == 0)
                r = write_copy(cli, copy, file);
        (void)sqlite3_close(copy);
        return r;
}

static int publish(Cli *cli, NewFile *file, uint64_t *ret_n_bytes)
{
        struct stat st;
        int r = newfile_finish(file, 0600);

        if (r == 0 && fstat(file->fd, &st) < 0)
                r = -errno;
        if (r == 0)
                r = newfile_place(file);
        if (r)
                return cli_fail(cli, r, "%s cannot be written: %s", file->path, newfile_reason(r));
        *ret_n_bytes = (uint64_t)st.st_size;
        return 0;
}

int store_copy(Cli *cli, const char *directory, const char *file, uint64_t *ret_n_bytes)
{
        CLEANUP(newfile_deinit) NewFile copy = { .path = file, .fd = -1 };
        CLEANUP(free_text) char *store = NULL;
        sqlite3 *from = NULL;
        int r;

        r = open_store(cli, directory, &store, &from);
        if (r)
                return r;
        r = copy_to(cli, from, &copy);
        (void)sqlite3_close(from);
        return r ? r : publish(cli, &copy, ret_n_bytes);
}

/* ------------------------------------------------------------------ restore */

struct StoreCopy {
        unsigned char *data; /* the database's, too */
        size_t n;
        sqlite3 *database;
};

StoreCopy *store_copy_free(StoreCopy *copy)
{
        if (!copy)
                return NULL;
        (void)sqlite3_close(copy->database);
        sqlite3_free(copy->data);
        free(copy);
        return NULL;
}

static int read_all(int fd, unsigned char *data, size_t n)
{
        for (size_t at = 0; at < n;) {
                ssize_t got = pread(fd, data + at, n - at, (off_t)at);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        return got < 0 ? -errno : -EIO;
                at += (size_t)got;
        }
        return 0;
}

/* By its bytes: SQLite would take what others have put beside it for its log. */
static int read_copy(Cli *cli, const char *file, int fd, StoreCopy *copy)
{
        struct stat st;
        int r = fstat(fd, &st) < 0 ? -errno : 0;

        if (r == 0 && st.st_size == 0)
                return cli_fail(cli, CB_FAILED, "%s is no copy of a store.", file);
        if (r == 0 && st.st_size > COPY_MAX)
                return cli_fail(cli, CB_FAILED, "%s is too large to be restored: above %d MiB.", file,
                                COPY_MAX >> 20);
        if (r == 0) {
                copy->n = (size_t)st.st_size;
                copy->data = sqlite3_malloc64(copy->n);
                r = copy->data ? read_all(fd, copy->data, copy->n) : -ENOMEM;
        }
        if (r)
                return cli_fail(cli, r, "%s cannot be read: %s", file, strerror(-r));
        set_file_format(copy->data, copy->n);
        if (sqlite3_open(":memory:", &copy->database) != SQLITE_OK ||
            sqlite3_deserialize(copy->database, "main", copy->data, (sqlite3_int64)copy->n,
                                (sqlite3_int64)copy->n, SQLITE_DESERIALIZE_READONLY) != SQLITE_OK)
                return database_fail(cli, file, copy->database);
        return check_copy(cli, copy->database);
}

int store_load(Cli *cli, const char *file, const char *directory, StoreCopy **ret_copy)
{
        CLEANUP(store_copy_freep) StoreCopy *copy = calloc(1, sizeof(*copy));
        CLEANUP(close_fd) int fd = -1;
        struct stat st;
        int r;

        if (!copy)
                return cli_out_of_memory(cli);
        if (stat(directory, &st) < 0)
                return cli_fail(cli, -errno, "%s cannot be read: %s", directory, strerror(errno));
        r = file_open_of(cli, file, st.st_uid, &fd);
        if (r == 0)
                r = read_copy(cli, file, fd, copy);
        if (r)
                return r;
        *ret_copy = TAKE(copy);
        return 0;
}

uint64_t store_copy_audit_seq(const StoreCopy *copy)
{
        char note[128];
        uint64_t seq;

        return read_text(copy->database, "SELECT value FROM note WHERE key = 'audit/head'", note,
                         sizeof(note)) == 0 &&
                               sscanf(note, "%" SCNu64, &seq) == 1
                       ? seq
                       : 0;
}

/* Nobody but its owner may look into it, as certbrokerd has it: it is no folder that was named by mistake. */
static int make_lock(int directory, int *ret_fd)
{
        struct stat st;
        int fd;

        if (fstat(directory, &st) < 0)
                return -errno;
        if ((st.st_mode & 077) != 0)
                return -ENOENT;
        fd = openat(directory, LOCK_FILE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return st.st_uid != geteuid() && fchown(fd, st.st_uid, st.st_gid) < 0 ? -errno : 0;
}

static int open_lock(const char *name, int *ret_fd)
{
        CLEANUP(close_fd) int directory = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (directory < 0)
                return -errno;
        *ret_fd = openat(directory, LOCK_FILE,
                         O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (*ret_fd >= 0)
                return 0;
        return errno == ENOENT ? make_lock(directory, ret_fd) : -errno;
}

int store_lock(Cli *cli, const char *directory, int *ret_fd)
{
        CLEANUP(close_fd) int fd = -1;
        int r = open_lock(directory, &fd);

        if (r < 0)
                return cli_fail(cli, r == -EACCES ? CB_ACCESS_DENIED : CB_NOT_FOUND,
                                "%s is no state directory of certbrokerd's: %s/%s: %s", directory,
                                directory, LOCK_FILE, strerror(-r));
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return cli_fail(cli, CB_IN_USE,
                                "certbrokerd is using %s: stop it first (systemctl stop certbrokerd).",
                                directory);
        *ret_fd = fd;
        fd = -1;
        return 0;
}

/* A store is up to three files, of which SQLite knows the others by the first one's name. */
static const char *const suffixes[] = { "", "-wal", "-shm" };

static int rename_part(const char *from, const char *to, const char *suffix)
{
        CLEANUP(free_text) char *old = NULL, *new = NULL;

        if (asprintf(&old, "%s%s", from, suffix) < 0) {
                old = NULL;
                return -ENOMEM;
        }
        if (asprintf(&new, "%s%s", to, suffix) < 0) {
                new = NULL;
                return -ENOMEM;
        }
        return rename(old, new) < 0 ? -errno : 0;
}

/* As far as it was moved, the log of it first: without that it would be an older store. */
static void move_back(const char *store, const char *aside)
{
        for (size_t i = ELEMENTSOF(suffixes); i-- > 0;)
                (void)rename_part(aside, store, suffixes[i]);
}

/* The store first: in between there is none, which certbrokerd notices, and never an older one without its log. */
static int move_aside(const char *store, const char *aside)
{
        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                int r = rename_part(store, aside, suffixes[i]);

                if (r < 0 && r != -ENOENT) {
                        move_back(store, aside);
                        return r;
                }
        }
        return 0;
}

static bool is_free(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                CLEANUP(free_text) char *part = NULL;
                struct stat st;

                if (asprintf(&part, "%s%s", name, suffixes[i]) < 0) {
                        part = NULL;
                        return false;
                }
                if (lstat(part, &st) == 0 || errno != ENOENT)
                        return false;
        }
        return true;
}

/* certbroker.sqlite.replaced, and .replaced.1 … where others were put aside before. */
static int choose_aside(const char *store, char **ret_aside)
{
        for (unsigned i = 0; i < ASIDE_MAX; i++) {
                CLEANUP(free_text) char *name = NULL;

                if ((i == 0 ? asprintf(&name, "%s.replaced", store)
                            : asprintf(&name, "%s.replaced.%u", store, i)) < 0) {
                        name = NULL;
                        return -ENOMEM;
                }
                if (is_free(name)) {
                        *ret_aside = TAKE(name);
                        return 0;
                }
        }
        return -EEXIST;
}

/* What is not known to be on the disk is not in its place either. */
static int replace(NewFile *file, const char *store, const char *aside)
{
        int r = move_aside(store, aside);

        if (r == 0)
                r = newfile_place(file);
        if (r < 0 && !file->temporary)
                (void)unlink(store);
        if (r < 0)
                move_back(store, aside);
        return r;
}

/* It is to be the directory's owner's, as what was there. */
static int put_file(const StoreCopy *copy, const char *directory, const char *store,
                    const char *aside, NewFile *file)
{
        struct stat st;
        int r = stat(directory, &st) < 0 ? -errno : newfile_begin_own(file, store);

        if (r == 0)
                r = newfile_write(file, copy->data, copy->n);
        if (r == 0 && st.st_uid != geteuid() && fchown(file->fd, st.st_uid, st.st_gid) < 0)
                r = -errno;
        if (r == 0)
                r = newfile_finish(file, 0600);
        return r == 0 ? replace(file, store, aside) : r;
}

int store_put(Cli *cli, const StoreCopy *copy, const char *directory, char **ret_aside)
{
        CLEANUP(newfile_deinit) NewFile file = { .fd = -1 };
        CLEANUP(free_text) char *store = NULL, *aside = NULL;
        int r;

        if (asprintf(&store, "%s/%s", directory, STORE_FILE) < 0) {
                store = NULL;
                return cli_out_of_memory(cli);
        }
        r = choose_aside(store, &aside);
        if (r == 0)
                r = put_file(copy, directory, store, aside, &file);
        if (r)
                return cli_fail(cli, r, "%s cannot be replaced: %s", store, newfile_reason(r));
        *ret_aside = is_free(aside) ? NULL : TAKE(aside);
        return 0;
}
