/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files the log was before: those of its folder whose last record is the one that the first record of the next file
 * holds the hash of. So it does not matter who renamed them, nor to what: we to FILE.1, logrotate to FILE-20270131. It only
 * reads, and of each file only its two ends.
 */
#include "broker/audit/older.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/audit/tail.h"

#define LOG_BEGIN "{\"time\":"

typedef struct Candidate {
        char *path;
        AuditHead first; /* with the hash that it holds of the one before it; seq 0: it has none near its beginning */
        AuditHead last;
        bool is_named; /* as the log is */
} Candidate;

typedef struct Candidates {
        Candidate *items;
        size_t n;
} Candidates;

static void candidates_deinit(Candidates *list)
{
        for (size_t i = 0; i < list->n; i++)
                free(list->items[i].path);
        free(list->items);
}

void older_deinit(Older *older)
{
        for (size_t i = 0; i < older->n; i++)
                free(older->names[i]);
        free(older->names);
        *older = (Older){ 0 };
}

/* "audit" of ".../audit.jsonl": what rotation puts behind the name, or before its extension, leaves that. */
static bool has_stem(const char *entry, const char *file)
{
        const char *dot = strrchr(file, '.');
        size_t n = dot && dot > file ? (size_t)(dot - file) : strlen(file);

        return strncmp(entry, file, n) == 0;
}

static bool begins_as_log(int fd)
{
        char begin[sizeof(LOG_BEGIN) - 1];

        return pread(fd, begin, sizeof(begin), 0) == sizeof(begin) &&
               memcmp(begin, LOG_BEGIN, sizeof(begin)) == 0;
}

/* -ENOENT: it is no file of a log. */
static int look_at(int folder, const char *entry, const struct stat *present, Candidate *candidate)
{
        CLEANUP(closep)
        int fd = openat(folder, entry, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        struct stat status;

        if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
            (status.st_dev == present->st_dev && status.st_ino == present->st_ino))
                return -ENOENT;
        if (!candidate->is_named && !begins_as_log(fd))
                return -ENOENT;
        if (audit_last_find(fd, &candidate->last) < 0)
                return -ENOENT;
        if (audit_first_find(fd, &candidate->first) < 0)
                candidate->first = (AuditHead){ 0 };
        return 0;
}

static int add(Candidates *list, const char *folder, const char *entry, Candidate candidate)
{
        Candidate *items = reallocarray(list->items, list->n + 1, sizeof(*items));

        if (!items)
                return -ENOMEM;
        list->items = items;
        if (asprintf(&candidate.path, "%s/%s", folder, entry) < 0)
                return -ENOMEM;
        list->items[list->n++] = candidate;
        return 0;
}

static char *folder_of(const char *path)
{
        const char *slash = strrchr(path, '/');

        return !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static int collect(const char *path, const struct stat *present, Candidates *list)
{
        const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
        CLEANUP(freep) char *folder = folder_of(path);
        const struct dirent *entry;
        int r = 0;
        DIR *dir;

        if (!folder)
                return -ENOMEM;
        dir = opendir(folder);
        if (!dir)
                return errno == ENOMEM ? -ENOMEM : 0;
        while (r == 0 && (entry = readdir(dir))) {
                Candidate candidate = { .is_named = has_stem(entry->d_name, file) };

                if (entry->d_name[0] != '.' &&
                    look_at(dirfd(dir), entry->d_name, present, &candidate) == 0)
                        r = add(list, folder, entry->d_name, candidate);
        }
        closedir(dir);
        return r;
}

/* Of two that end alike, one that is named as the log is. */
static Candidate *find_end(const Candidates *list, const char *hash)
{
        Candidate *found = NULL;

        for (size_t i = 0; i < list->n; i++) {
                Candidate *candidate = &list->items[i];

                if (candidate->path && strcmp(candidate->last.hash, hash) == 0 &&
                    (!found || (candidate->is_named && !found->is_named)))
                        found = candidate;
        }
        return found;
}

static Candidate *find_youngest(const Candidates *list)
{
        Candidate *found = NULL;

        for (size_t i = 0; i < list->n; i++) {
                Candidate *candidate = &list->items[i];

                if (candidate->is_named && (!found || candidate->last.seq > found->last.seq))
                        found = candidate;
        }
        return found;
}

/* Takes their names in turn; each can be taken once, so it ends. */
static int follow(Candidates *list, Candidate *youngest, Older *older)
{
        older->names = calloc(list->n + 1, sizeof(*older->names));
        if (!older->names)
                return -ENOMEM;
        for (Candidate *candidate = youngest; candidate;) {
                older->names[older->n++] = TAKE(candidate->path);
                candidate = candidate->first.seq > 1 ? find_end(list, candidate->first.hash) : NULL;
        }
        return 0;
}

int older_find(const char *path, const char *hash, Older *ret_older)
{
        CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        CLEANUP(candidates_deinit) Candidates list = { 0 };
        Older older = { .path = path };
        struct stat present = { 0 };
        Candidate *youngest;
        AuditHead first;
        int r;

        if (fd >= 0)
                (void)fstat(fd, &present);
        r = collect(path, &present, &list);
        if (r < 0)
                return r;
        if (fd >= 0 && audit_first_find(fd, &first) == 0)
                youngest = first.seq > 1 ? find_end(&list, first.hash) : NULL;
        else
                youngest = hash ? find_end(&list, hash) : find_youngest(&list);
        r = follow(&list, youngest, &older);
        if (r < 0)
                return r;
        *ret_older = older;
        return 0;
}

int older_open(const Older *older, size_t number)
{
        int fd = open(number == 0 ? older->path : older->names[number - 1],
                      O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

        return fd < 0 ? -errno : fd;
}

int older_find_record(const Older *older, uint64_t seq)
{
        for (size_t i = 0; i <= older->n; i++) {
                CLEANUP(closep) int fd = older_open(older, i);
                AuditHead first;

                if (fd >= 0 && audit_first_find(fd, &first) == 0 && first.seq <= seq)
                        return (int)i;
        }
        return -ENOENT;
}
