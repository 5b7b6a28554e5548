/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To be preloaded: a disk that is ill, and one that keeps a diary. $ILL_DISK names a file of Rules (illdisk.py writes
 * them, at any time): of the calls of an operation on a path that has a part in it, some fail, write less or hang.
 * $ILL_DISK_DIARY names a file that gets an Entry for each change below $ILL_DISK_FOLDER that was made, in their order. All
 * else is the kernel's.
 *
 * A test tool: it is not installed. It comes before libc, and after a sanitizer.
 */
#undef _FILE_OFFSET_BITS /* open and open64 are two functions here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC  __attribute__((visibility("default")))
#define N_RULES 8

typedef struct Rule {
        char operation[16]; /* "": none */
        char path[96];      /* a part of it; of a rename the part of either */
        uint32_t first;     /* from this call on, the first is 1 */
        uint32_t times;
        int32_t error;   /* 0: none */
        int32_t n_short; /* of a write: so many bytes are written, and that is no error; -1: all */
        uint32_t hangs; /* until the rule is another */
        uint32_t n_seen, n_hit; /* written here, by all processes */
} Rule;

typedef struct Entry {
        char operation[16];
        uint64_t inode;
        int64_t offset; /* of a truncation: the size */
        uint32_t n_path, n_new, n_data; /* what follows: path, new path, data */
} Entry;

static Rule *rules;
static int diary = -1;
static const char *folder;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int open_file(const char *path, int flags)
{
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

__attribute__((constructor)) static void begin(void)
{
        const char *file = getenv("ILL_DISK"), *of_diary = getenv("ILL_DISK_DIARY");
        int fd = file ? open_file(file, O_RDWR) : -1;
        void *map = fd < 0 ? MAP_FAILED
                           : mmap(NULL, N_RULES * sizeof(Rule), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        rules = map == MAP_FAILED ? NULL : map;
        if (fd >= 0)
                syscall(SYS_close, fd);
        folder = getenv("ILL_DISK_FOLDER");
        if (folder && of_diary)
                diary = open_file(of_diary, O_WRONLY | O_APPEND);
}

/* What is done to it: an error, or fewer bytes. */
typedef struct Fate {
        int error;
        int n_short;
} Fate;

static void hang(const Rule *rule)
{
        const struct timespec moment = { 0, 5000000 };

        while (__atomic_load_n(&rule->hangs, __ATOMIC_SEQ_CST))
                (void)nanosleep(&moment, NULL);
}

static Fate fate_of(const char *operation, const char *path)
{
        Fate fate = { 0, -1 };

        for (size_t i = 0; rules && i < N_RULES; i++) {
                Rule *rule = &rules[i];
                uint32_t n;

                if (strcmp(rule->operation, operation) != 0 || !strstr(path, rule->path))
                        continue;
                n = __atomic_add_fetch(&rule->n_seen, 1, __ATOMIC_SEQ_CST);
                if (n < rule->first || n - rule->first >= rule->times)
                        continue;
                __atomic_add_fetch(&rule->n_hit, 1, __ATOMIC_SEQ_CST);
                fate = (Fate){ rule->error, rule->n_short };
                hang(rule);
        }
        return fate;
}

static void path_of(int fd, char ret_path[PATH_MAX])
{
        char link[64];
        long n;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = syscall(SYS_readlink, link, ret_path, PATH_MAX - 1);
        ret_path[n < 0 ? 0 : n] = '\0';
}

/* --- the diary --- */

static void note(const char *operation, const char *path, const char *new, const struct stat *st,
                 int64_t offset, const void *data, size_t n)
{
        Entry entry = { .inode = st ? st->st_ino : 0,
                        .offset = offset,
                        .n_path = (uint32_t)strlen(path),
                        .n_new = (uint32_t)strlen(new),
                        .n_data = (uint32_t)n };
        struct iovec parts[] = { { &entry, sizeof(entry) },
                                 { (void *)(uintptr_t)path, entry.n_path },
                                 { (void *)(uintptr_t)new, entry.n_new },
                                 { (void *)(uintptr_t)data, n } };

        snprintf(entry.operation, sizeof(entry.operation), "%s", operation);
        if (syscall(SYS_writev, diary, parts, 4) < 0)
                abort();
}

static bool is_kept(const char *path)
{
        return diary >= 0 && strncmp(path, folder, strlen(folder)) == 0;
}

static void note_fd(const char *operation, int fd, const char *path, int64_t offset, const void *data,
                    size_t n)
{
        struct stat st = { 0 };

        if (is_kept(path) && fstat(fd, &st) == 0)
                note(operation, path, "", &st, offset, data, n);
}

static long fail(int error)
{
        errno = error;
        return -1;
}

/* --- files --- */

static int do_open(int directory, const char *path, int flags, mode_t mode)
{
        Fate fate = fate_of("open", path);
        bool is_there = true;
        char real[PATH_MAX];
        int fd;

        if (fate.error)
                return (int)fail(fate.error);
        if (!(flags & O_CREAT) || diary < 0)
                return (int)syscall(SYS_openat, directory, path, flags, mode);
        pthread_mutex_lock(&lock);
        is_there = faccessat(directory, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        fd = (int)syscall(SYS_openat, directory, path, flags, mode);
        if (fd >= 0 && !is_there) {
                path_of(fd, real);
                note_fd("create", fd, real, 0, NULL, 0);
        }
        pthread_mutex_unlock(&lock);
        return fd;
}

static mode_t mode_of(int flags, va_list arguments)
{
        return flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
        PUBLIC int name(const char *path, int flags, ...)                                          \
        {                                                                                          \
                va_list arguments;                                                                 \
                mode_t mode;                                                                       \
                                                                                                   \
                va_start(arguments, flags);                                                        \
                mode = mode_of(flags, arguments);                                                  \
                va_end(arguments);                                                                 \
                return do_open(AT_FDCWD, path, flags, mode);                                       \
        }

#define OPENAT(name)                                                                               \
        PUBLIC int name(int directory, const char *path, int flags, ...)                           \
        {                                                                                          \
                va_list arguments;                                                                 \
                mode_t mode;                                                                       \
                                                                                                   \
                va_start(arguments, flags);                                                        \
                mode = mode_of(flags, arguments);                                                  \
                va_end(arguments);                                                                 \
                return do_open(directory, path, flags, mode);                                      \
        }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* It makes its name itself. */
PUBLIC int mkostemp64(char *name, int flags)
{
        int (*next)(char *, int);
        Fate fate = fate_of("open", name);

        if (fate.error)
                return (int)fail(fate.error);
        *(void **)&next = dlsym(RTLD_NEXT, "mkostemp64");
        return next(name, flags);
}

PUBLIC int mkostemp(char *name, int flags)
{
        return mkostemp64(name, flags);
}

/* --- writing --- */

static int64_t place_of(int fd, int64_t offset)
{
        struct stat st;

        if (syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND)
                return fstat(fd, &st) == 0 ? st.st_size : 0;
        return offset >= 0 ? offset : syscall(SYS_lseek, fd, 0, SEEK_CUR);
}

/* offset < 0: where it stands. */
static ssize_t do_write(int fd, const void *data, size_t n, int64_t offset)
{
        char path[PATH_MAX];
        int64_t place;
        ssize_t written;
        Fate fate;

        path_of(fd, path);
        fate = fate_of("write", path);
        if (fate.error)
                return fail(fate.error);
        if (fate.n_short >= 0 && (size_t)fate.n_short < n)
                n = (size_t)fate.n_short;
        if (!is_kept(path))
                return offset < 0 ? syscall(SYS_write, fd, data, n)
                                  : syscall(SYS_pwrite64, fd, data, n, offset);
        pthread_mutex_lock(&lock);
        place = place_of(fd, offset);
        written = offset < 0 ? syscall(SYS_write, fd, data, n)
                             : syscall(SYS_pwrite64, fd, data, n, offset);
        if (written > 0)
                note_fd("write", fd, path, place, data, (size_t)written);
        pthread_mutex_unlock(&lock);
        return written;
}

PUBLIC ssize_t write(int fd, const void *data, size_t n)
{
        return do_write(fd, data, n, -1);
}

PUBLIC ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
        return do_write(fd, data, n, offset);
}

PUBLIC ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset)
{
        return do_write(fd, data, n, offset);
}

/* What is noted as synced was written before; a sync that fails says nothing of it. */
static int do_sync(int fd, long call)
{
        char path[PATH_MAX];
        Fate fate;
        int r;

        path_of(fd, path);
        fate = fate_of("sync", path);
        if (fate.error)
                return (int)fail(fate.error);
        if (!is_kept(path))
                return (int)syscall(call, fd);
        pthread_mutex_lock(&lock);
        r = (int)syscall(call, fd);
        if (r == 0)
                note_fd("sync", fd, path, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
        return r;
}

PUBLIC int fsync(int fd)
{
        return do_sync(fd, SYS_fsync);
}

PUBLIC int fdatasync(int fd)
{
        return do_sync(fd, SYS_fdatasync);
}

static int do_truncate(int fd, int64_t size)
{
        char path[PATH_MAX];
        Fate fate;
        int r;

        path_of(fd, path);
        fate = fate_of("truncate", path);
        if (fate.error)
                return (int)fail(fate.error);
        pthread_mutex_lock(&lock);
        r = (int)syscall(SYS_ftruncate, fd, size);
        if (r == 0)
                note_fd("truncate", fd, path, size, NULL, 0);
        pthread_mutex_unlock(&lock);
        return r;
}

PUBLIC int ftruncate(int fd, off_t size)
{
        return do_truncate(fd, size);
}

PUBLIC int ftruncate64(int fd, off64_t size)
{
        return do_truncate(fd, size);
}

/* --- names --- */

static int do_rename(int from_directory, const char *from, int to_directory, const char *to)
{
        char both[2 * PATH_MAX];
        Fate fate;
        int r;

        snprintf(both, sizeof(both), "%s %s", from, to);
        fate = fate_of("rename", both);
        if (fate.error)
                return (int)fail(fate.error);
        pthread_mutex_lock(&lock);
        r = (int)syscall(SYS_renameat, from_directory, from, to_directory, to);
        if (r == 0 && is_kept(to))
                note("rename", from, to, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
        return r;
}

PUBLIC int rename(const char *from, const char *to)
{
        return do_rename(AT_FDCWD, from, AT_FDCWD, to);
}

PUBLIC int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
        return do_rename(from_directory, from, to_directory, to);
}

static int do_unlink(int directory, const char *path, int flags)
{
        Fate fate = fate_of("unlink", path);
        int r;

        if (fate.error)
                return (int)fail(fate.error);
        pthread_mutex_lock(&lock);
        r = (int)syscall(SYS_unlinkat, directory, path, flags);
        if (r == 0 && is_kept(path))
                note("unlink", path, "", NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
        return r;
}

PUBLIC int unlink(const char *path)
{
        return do_unlink(AT_FDCWD, path, 0);
}

PUBLIC int unlinkat(int directory, const char *path, int flags)
{
        return do_unlink(directory, path, flags);
}

/* A sanitizer calls it for its log, before anything else can be called. */
PUBLIC int mkdir(const char *path, mode_t mode)
{
        Fate fate;
        int r;

        if (!rules)
                return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
        fate = fate_of("mkdir", path);
        if (fate.error)
                return (int)fail(fate.error);
        pthread_mutex_lock(&lock);
        r = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
        if (r == 0 && is_kept(path))
                note("mkdir", path, "", NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
        return r;
}
