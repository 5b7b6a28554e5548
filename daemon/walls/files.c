/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules for the kernel. Invariant: a folder on the way to a kept one gets no rule itself, for a rule is for all
 * that is below: each thing in it gets one of its own.
 *
 * The numbers are the kernel's (include/uapi/linux/landlock.h); the headers that we build with may be older than the
 * kernel that we run on.
 */
#include "walls/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/strings.h"

#define ASK_VERSION 1U
#define PATH_BENEATH 1

#define ACCESS_EXECUTE   (UINT64_C(1) << 0)
#define ACCESS_WRITE     (UINT64_C(1) << 1)
#define ACCESS_READ      (UINT64_C(1) << 2)
#define ACCESS_MAKE_CHAR (UINT64_C(1) << 6)
#define ACCESS_MAKE_BLOCK (UINT64_C(1) << 11)
#define ACCESS_TRUNCATE  (UINT64_C(1) << 14)
#define ACCESS_IOCTL     (UINT64_C(1) << 15)

/* What is to be ruled, by the version that the kernel tells. */
#define ACCESS_1 ((UINT64_C(1) << 13) - 1)
#define ACCESS_2 ((UINT64_C(1) << 14) - 1) /* and REFER */
#define ACCESS_3 ((UINT64_C(1) << 15) - 1) /* and TRUNCATE */
#define ACCESS_5 ((UINT64_C(1) << 16) - 1) /* and IOCTL_DEV */

/* Programs are not started, and devices not made. */
#define NEVER (ACCESS_EXECUTE | ACCESS_MAKE_CHAR | ACCESS_MAKE_BLOCK)
/* What a rule for a file, which is no folder, may have in it. */
#define OF_FILES (ACCESS_WRITE | ACCESS_READ | ACCESS_TRUNCATE | ACCESS_IOCTL)

#define NET_BIND_TCP    (UINT64_C(1) << 0)
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT  (UINT64_C(1) << 0)
#define SCOPE_SIGNAL    (UINT64_C(1) << 1)

typedef struct Attributes {
        uint64_t files, network, scoped;
} Attributes;

typedef struct PathRule {
        uint64_t access;
        int32_t fd;
} __attribute__((packed)) PathRule;

typedef struct Rules {
        const KeptFolder *folders;
        char **paths; /* of the folders, as they really are; in their order, "" where one is not there */
        char **way;   /* each folder from "/" to each of them, and these */
        size_t n;
        uint64_t access; /* what is ruled */
        int fd;
} Rules;

static void rules_deinit(Rules *rules)
{
        strv_free(rules->paths);
        strv_free(rules->way);
        close_fd(rules->fd);
}

/* --- the ruleset --- */

static int rules_open(Rules *rules, bool network)
{
        Attributes attributes = { 0 };
        int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);
        size_t size = sizeof(uint64_t); /* older kernels take no more than they know */

        if (version < 0)
                return -errno;
        attributes.files = version >= 5   ? ACCESS_5
                           : version >= 3 ? ACCESS_3
                           : version == 2 ? ACCESS_2
                                          : ACCESS_1;
        if (version >= 4) {
                attributes.network = NET_BIND_TCP | (network ? 0 : NET_CONNECT_TCP);
                size = 2 * sizeof(uint64_t);
        }
        if (version >= 6) {
                attributes.scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
                size = sizeof(attributes);
        }
        rules->access = attributes.files;
        rules->fd = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
        return rules->fd < 0 ? -errno : 0;
}

static int rules_enforce(const Rules *rules)
{
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            syscall(SYS_landlock_restrict_self, rules->fd, 0) < 0)
                return -errno;
        return 0;
}

/* --- the way to what is kept --- */

static bool is_below(const char *path, const char *folder)
{
        size_t n = strlen(folder);

        if (n == 1) /* "/" */
                return path[1] != '\0';
        return strncmp(path, folder, n) == 0 && path[n] == '/';
}

static int add_way(Rules *rules, const char *path)
{
        for (const char *end = path + 1;; end++) {
                CLEANUP(freep) char *folder = NULL;
                int r;

                if (*end != '/' && *end != '\0')
                        continue;
                folder = strndup(path, (size_t)(end - path));
                r = folder ? 0 : -ENOMEM;
                if (r == 0 && !strv_contains(rules->way, folder))
                        r = strv_append(&rules->way, folder);
                if (r < 0 || *end == '\0')
                        return r;
        }
}

static int find_way(Rules *rules)
{
        int r;

        r = strv_append(&rules->way, "/");
        for (size_t i = 0; r == 0 && i < rules->n; i++) {
                CLEANUP(freep) char *path = realpath(rules->folders[i].path, NULL);

                if (!path && errno == ENOMEM)
                        return -ENOMEM;
                r = strv_append(&rules->paths, string_or_empty(path));
                if (r == 0 && path && path[1] != '\0')
                        r = add_way(rules, path);
        }
        return r;
}

/* Is `name` in `folder` kept away by one of the kept folders, which this one is or is below of? */
static bool is_kept(const Rules *rules, const char *folder, const char *name, bool is_folder)
{
        for (size_t i = 0; i < rules->n; i++) {
                const KeptFolder *kept = &rules->folders[i];
                const char *path = rules->paths[i];
                char first[NAME_MAX + 1];

                if (strcmp(path, folder) == 0) {
                        if (!kept->may_have(kept->userdata, name, is_folder))
                                return true;
                } else if (*path && is_below(folder, path)) {
                        const char *start = folder + strlen(path);

                        start += *start == '/';
                        snprintf(first, sizeof(first), "%.*s", (int)strcspn(start, "/"), start);
                        if (!kept->may_have(kept->userdata, first, true))
                                return true;
                }
        }
        return false;
}

/* --- the rules --- */

static bool entry_is_folder(DIR *directory, const struct dirent *entry)
{
        struct stat st;

        if (entry->d_type != DT_UNKNOWN)
                return entry->d_type == DT_DIR;
        return fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               S_ISDIR(st.st_mode);
}

/* What is gone meanwhile, or was something else, gets none. */
static int allow(const Rules *rules, DIR *directory, const char *name, bool is_folder)
{
        CLEANUP(closep) int fd =
                openat(dirfd(directory), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        const PathRule rule = {
                .access = rules->access & ~NEVER & (is_folder ? UINT64_MAX : OF_FILES),
                .fd = fd,
        };

        if (fd < 0)
                return errno == ENFILE || errno == EMFILE ? -errno : 0;
        if (syscall(SYS_landlock_add_rule, rules->fd, PATH_BENEATH, &rule, 0) < 0 &&
            errno != EINVAL && errno != EBADFD)
                return -errno;
        return 0;
}

static int allow_entry(const Rules *rules, const char *folder, DIR *directory,
                       const struct dirent *entry)
{
        CLEANUP(freep) char *path = NULL;
        bool is_folder;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            entry->d_type == DT_LNK) /* what it leads to is asked for by its own name */
                return 0;
        is_folder = entry_is_folder(directory, entry);
        if (asprintf(&path, "%s/%s", folder[1] ? folder : "", entry->d_name) < 0)
                return -ENOMEM;
        if (strv_contains(rules->way, path) || is_kept(rules, folder, entry->d_name, is_folder))
                return 0;
        return allow(rules, directory, entry->d_name, is_folder);
}

/* A folder on the way that we cannot read ourselves: nothing in it is allowed. */
static int allow_folder(const Rules *rules, const char *folder)
{
        const struct dirent *entry;
        DIR *directory = opendir(folder);
        int r = 0;

        if (!directory)
                return errno == EACCES || errno == ENOENT ? 0 : -errno;
        while (r == 0 && (entry = readdir(directory)))
                r = allow_entry(rules, folder, directory, entry);
        closedir(directory);
        return r;
}

int files_keep(const KeptFolder *folders, size_t n, bool network)
{
        CLEANUP(rules_deinit) Rules rules = { .folders = folders, .n = n, .fd = -1 };
        int r;

        r = rules_open(&rules, network);
        if (r == 0)
                r = find_way(&rules);
        for (char **folder = rules.way; r == 0 && folder && *folder; folder++)
                r = allow_folder(&rules, *folder);
        return r == 0 ? rules_enforce(&rules) : r;
}
