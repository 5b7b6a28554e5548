/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the log tells of the time after a record: at start, where the store may be older than the log. Of a
 * log of many GiB it reads what comes after that record alone, found by halving, and all of that, however
 * long it takes: an end that is not known of is a key that signs again. Memory is that of a buffer.
 * Whether the chain holds is not its business: a line that it does not understand is passed over.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/audit/audit.h"
#include "broker/audit/room.h"
#include "broker/audit/older.h"
#include "broker/audit/tail.h"

#define BUFFER    (1024 * 1024)
#define GOES_ON   (16 * BUFFER) /* of reading, even from a slow disk, takes less than a service manager waits */
#define BEGIN_MAX 200 /* time, seq and event are in it */

/* What changes certificates and backends; of uses there are a thousand times more, and they are not even parsed. */
static const char *const changes[] = {
        "ImportCertificate", "GenerateKey", "RegisterCertificate", "InstallCertificate",
        "CreateBackend",     "Retire",      "SetEnabled",          "Delete",
};

typedef struct Since {
        uint64_t seq;
        uint64_t n_read; /* bytes */
        audit_past tell;
        void (*goes_on)(void);
        void *userdata;
        char *buffer;
} Since;

static const char *after(const char *line, size_t n, const char *word)
{
        const char *at = memmem(line, MIN(n, (size_t)BEGIN_MAX), word, strlen(word));

        return at ? at + strlen(word) : NULL;
}

/* 0: it is no record. */
static uint64_t seq_of(const char *line, size_t n)
{
        const char *at = after(line, n, "\"seq\":");
        uint64_t seq = 0;

        for (; at && at < line + n && *at >= '0' && *at <= '9'; at++)
                seq = seq * 10 + (uint64_t)(*at - '0');
        return seq;
}

static bool is_change(const char *line, size_t n)
{
        const char *at = after(line, n, "\"event\":\"");

        for (size_t i = 0; at && i < ELEMENTSOF(changes); i++) {
                size_t length = strlen(changes[i]);

                if ((size_t)(line + n - at) > length && memcmp(at, changes[i], length) == 0 &&
                    at[length] == '"')
                        return true;
        }
        return false;
}

static void tell(const Since *since, const char *line, size_t n)
{
        json_t *record, *enabled;

        if (seq_of(line, n) <= since->seq || !is_change(line, n))
                return;
        record = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
        enabled = json_object_get(record, "enabled");
        if (record && strcmp(json_string_value(json_object_get(record, "result")) ?: "", "ok") == 0)
                since->tell(since->userdata,
                            &(AuditPast){
                                    .seq = seq_of(line, n),
                                    .event = json_string_value(json_object_get(record, "event")),
                                    .object = json_string_value(json_object_get(record, "object"))
                                                      ?: "",
                                    .generation = (uint64_t)json_integer_value(
                                            json_object_get(record, "generation")),
                                    .is_disabled = json_is_false(enabled),
                                    .is_enabled = json_is_true(enabled),
                            });
        json_decref(record);
}

static ssize_t read_at(int fd, char *to, size_t n, off_t at)
{
        ssize_t got;

        do
                got = pread(fd, to, n, at);
        while (got < 0 && errno == EINTR);
        return got < 0 ? -errno : got;
}

/* Of the first whole line after this place; 0: none is near. */
static uint64_t seq_at(const Since *since, int fd, off_t at)
{
        ssize_t n = read_at(fd, since->buffer, BUFFER, at);
        const char *end = since->buffer + MAX(n, 0);
        const char *newline = n > 0 ? memchr(since->buffer, '\n', (size_t)n) : NULL;

        return newline ? seq_of(newline + 1, (size_t)(end - newline - 1)) : 0;
}

/* A place before which there is nothing to be told; most often little before the first that is. */
static off_t find_start(const Since *since, int fd, off_t size)
{
        off_t low = 0, high = size;

        while (high - low > 2 * BUFFER) {
                off_t middle = low + (high - low) / 2;
                uint64_t seq = seq_at(since, fd, middle);

                if (seq != 0 && seq <= since->seq)
                        low = middle;
                else
                        high = middle;
        }
        return low;
}

/* The lines of the buffer; returns how much of its end is not one yet. */
static size_t tell_lines(const Since *since, size_t n)
{
        const char *line = since->buffer, *end = since->buffer + n, *newline;

        while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
                tell(since, line, (size_t)(newline - line));
                line = newline + 1;
        }
        if (line == since->buffer && n == BUFFER)
                return 0; /* no record is that long */
        memmove(since->buffer, line, (size_t)(end - line));
        return (size_t)(end - line);
}

static int read_file(Since *since, int fd)
{
        struct stat status;
        size_t n_kept = 0;
        off_t at;

        if (fstat(fd, &status) < 0)
                return -errno;
        for (at = find_start(since, fd, status.st_size);;) {
                ssize_t n = read_at(fd, since->buffer + n_kept, BUFFER - n_kept, at);

                if (n <= 0)
                        return (int)n;
                at += n;
                since->n_read += (uint64_t)n;
                if (since->n_read / GOES_ON != (since->n_read - (uint64_t)n) / GOES_ON)
                        since->goes_on();
                n_kept = tell_lines(since, n_kept + (size_t)n);
        }
}

/* Where the oldest file begins later than that, those before it were taken away. */
static bool lacks(const Older *older, uint64_t seq)
{
        CLEANUP(closep) int fd = older_open(older, older->n);
        AuditHead first;

        return fd >= 0 && audit_first_read(fd, &first) == 0 && first.seq > seq;
}

int audit_read_since(const Audit *audit, uint64_t seq, audit_past tell_past, void (*goes_on)(void),
                     void *userdata)
{
        CLEANUP(freep) char *buffer = malloc(BUFFER);
        Since since = { seq, 0, tell_past, goes_on, userdata, buffer };
        CLEANUP(older_deinit) Older older = { 0 };
        int r = buffer ? older_find(audit->path, audit->head.hash, &older) : -ENOMEM, first;
        bool is_whole = true;

        if (r < 0)
                return r;
        first = older_find_record(&older, seq + 1);
        if (first < 0) {
                first = (int)older.n;
                is_whole = seq == 0 || !lacks(&older, seq + 1);
        }
        for (int i = first; r == 0 && i >= 0; i--) {
                CLEANUP(closep) int fd = older_open(&older, (size_t)i);

                r = fd < 0 ? fd : read_file(&since, fd);
        }
        return r == 0 && !is_whole ? -ENODATA : r;
}

/* A crash comes soon after: at most one file was begun in between. */
bool audit_has(const Audit *audit, const AuditHead *record)
{
        CLEANUP(older_deinit) Older older = { 0 };

        if (older_find(audit->path, audit->head.hash, &older) < 0)
                return false;
        for (size_t i = 0; i <= MIN(older.n, (size_t)1); i++) {
                CLEANUP(closep) int fd = older_open(&older, i);
                AuditTail tail;

                audit_tail_init(&tail, record);
                if (fd >= 0 && audit_tail_read(fd, record, &tail) == 0 && tail.has_expected)
                        return true;
        }
        return false;
}
