/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files the log was before: those of its folder whose last record is the one that the first
 * record of the next file holds the hash of. So it does not matter who renamed them, nor to what:
 * we to FILE.1, logrotate to FILE-20270131; only the beginning of the name has to stay. It only
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

typedef struct Candidate {
        char *path;
        AuditHead first; /* with what it holds of the one before it; seq 0: none is near its start */
        AuditHead last;
        bool is_numbered; /* FILE.N: named by us */
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

/*
 * "audit" of ".../audit.jsonl": what rotation puts behind the name, or before its extension, leaves
 * that. Nothing else is opened, least of all the store: SQLite's locks on it go with the first
 * descriptor of ours that is closed.
 */
static bool is_named(const char *entry, const char *file)
{
        static const char store[] = "certbroker.sqlite";
        const char *dot = strrchr(file, '.');
        size_t n = dot && dot > file ? (size_t)(dot - file) : strlen(file);

        return entry[0] != '.' && strncmp(entry, file, n) == 0 &&
               strncmp(entry, store, strlen(store)) != 0;
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
        if (audit_last_find(fd, &candidate->last) < 0)
                return -ENOENT;
        if (audit_first_find(fd, &candidate->first) < 0)
                candidate->first = (AuditHead){ 0 };
        return 0;
}

static bool is_numbered(const char *entry, const char *file)
{
        const char *number = entry + strlen(file) + 1;

        return strlen(entry) > strlen(file) + 1 && strncmp(entry, file, strlen(file)) == 0 &&
               number[-1] == '.' && strspn(number, "0123456789") == strlen(number);
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

        if (!slash)
                return strdup(".");
        return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
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
                Candidate candidate = { .is_numbered = is_numbered(entry->d_name, file) };

                if (is_named(entry->d_name, file) &&
                    look_at(dirfd(dir), entry->d_name, present, &candidate) == 0)
                        r = add(list, folder, entry->d_name, candidate);
        }
        closedir(dir);
        return r;
}

static Candidate *find_end(const Candidates *list, const char *hash)
{
        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].path && strcmp(list->items[i].last.hash, hash) == 0)
                        return &list->items[i];
        return NULL;
}

static Candidate *find_next(const Candidates *list, const Candidate *before)
{
        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].first.seq > before->last.seq &&
                    strcmp(list->items[i].first.hash, before->last.hash) == 0)
                        return &list->items[i];
        return NULL;
}

/*
 * From the one that ends with that record on; where none does, the one that ends with the highest
 * number.
 */
static Candidate *find_youngest(const Candidates *list, const char *hash)
{
        Candidate *found = find_end(list, hash), *next = found;

        for (size_t i = 0; i < list->n && next; i++) {
                found = next;
                next = find_next(list, found);
        }
        for (size_t i = 0; !found && i < list->n; i++)
                if (!next || list->items[i].last.seq > next->last.seq)
                        next = &list->items[i];
        return found ?: next;
}

/*
 * Where none ends with that record, one may have been changed there: what is behind it is still
 * read, for it may tell of a key that must not sign any more. Over what is missing nothing leads.
 */
static Candidate *find_before(const Candidates *list, const AuditHead *first)
{
        Candidate *found = first->seq > 1 ? find_end(list, first->hash) : NULL;

        for (size_t i = 0, n = found ? 0 : list->n; i < n; i++) {
                Candidate *candidate = &list->items[i];

                if (candidate->path && candidate->is_numbered &&
                    candidate->last.seq + 1 == first->seq)
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
                candidate = find_before(list, &candidate->first);
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
                youngest = find_before(&list, &first);
        else
                youngest = find_youngest(&list, hash);
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
