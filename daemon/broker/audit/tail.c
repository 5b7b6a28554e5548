/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the log, as it is found at start. It only reads; what to do about a log that does not fit is its
 * caller's decision.
 */
#include "broker/audit/tail.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"

#define TAIL_MAX  (16 * 1024 * 1024)
#define FIRST_MAX 8192
#define END_MAX   65536 /* a record has a few hundred bytes */

int audit_hash_line(const char *line, size_t n, char *ret_hash)
{
        uint8_t digest[SHA256_LENGTH];

        if (EVP_Digest(line, n, digest, NULL, EVP_sha256(), NULL) != 1)
                return -ENOMEM; /* there is nothing else that it could miss */
        hex_encode_lower(digest, sizeof(digest), ret_hash);
        return 0;
}

static int read_tail(int fd, char **ret_data, size_t *ret_n, bool *ret_whole)
{
        CLEANUP(freep) char *data = NULL;
        struct stat status;
        off_t start;
        size_t n = 0;

        if (fstat(fd, &status) < 0)
                return -errno;

        start = status.st_size > TAIL_MAX ? status.st_size - TAIL_MAX : 0;
        data = malloc((size_t)(status.st_size - start) + 1);
        if (!data)
                return -ENOMEM;

        while ((off_t)n < status.st_size - start) {
                ssize_t r =
                        pread(fd, data + n, (size_t)(status.st_size - start) - n, start + (off_t)n);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -errno;
                if (r == 0)
                        break;
                n += (size_t)r;
        }
        *ret_data = TAKE(data);
        *ret_n = n;
        *ret_whole = start == 0;
        return 0;
}

static bool read_line(const char *line, size_t n, uint64_t *ret_seq, char *ret_prev)
{
        json_t *record = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
        const char *prev = json_string_value(json_object_get(record, "prev"));
        json_int_t seq = json_integer_value(json_object_get(record, "seq"));
        bool is_record = seq > 0 && prev && strlen(prev) == 2 * SHA256_LENGTH;

        if (is_record) {
                *ret_seq = (uint64_t)seq;
                memcpy(ret_prev, prev, 2 * SHA256_LENGTH + 1);
        }
        json_decref(record);
        return is_record;
}

static ssize_t read_at(int fd, char *to, size_t n, off_t at)
{
        ssize_t got;

        do
                got = pread(fd, to, n, at);
        while (got < 0 && errno == EINTR);
        return got < 0 ? -errno : got;
}

int audit_first_read(int fd, AuditHead *ret_first)
{
        char line[FIRST_MAX];
        const char *newline;
        AuditHead first;
        ssize_t n = read_at(fd, line, sizeof(line), 0);

        if (n < 0)
                return (int)n;
        newline = memchr(line, '\n', (size_t)n);
        if (!newline || !read_line(line, (size_t)(newline - line), &first.seq, first.hash))
                return -EBADMSG;
        *ret_first = first;
        return 0;
}

int audit_first_find(int fd, AuditHead *ret_first)
{
        CLEANUP(freep) char *data = malloc(END_MAX);
        ssize_t n = data ? read_at(fd, data, END_MAX, 0) : -ENOMEM;
        const char *newline;
        AuditHead first;

        if (n < 0)
                return (int)n;
        for (const char *line = data, *end = data + n;
             (newline = memchr(line, '\n', (size_t)(end - line))); line = newline + 1) {
                if (!read_line(line, (size_t)(newline - line), &first.seq, first.hash))
                        continue;
                *ret_first = first;
                return 0;
        }
        return -EBADMSG;
}

int audit_last_find(int fd, AuditHead *ret_last)
{
        CLEANUP(freep) char *data = malloc(END_MAX);
        char prev[2 * SHA256_LENGTH + 1];
        const char *newline, *line;
        struct stat status;
        ssize_t n;

        if (!data)
                return -ENOMEM;
        if (fstat(fd, &status) < 0)
                return -errno;
        n = read_at(fd, data, END_MAX, MAX(status.st_size - END_MAX, (off_t)0));
        if (n < 0)
                return (int)n;
        for (newline = memrchr(data, '\n', (size_t)n); newline; newline = line) {
                AuditHead last;

                line = memrchr(data, '\n', (size_t)(newline - data));
                if (!line && status.st_size > END_MAX)
                        break; /* it begins before what was read */
                last.seq = 0;
                if (!read_line(line ? line + 1 : data, (size_t)(newline - (line ? line + 1 : data)),
                               &last.seq, prev))
                        continue;
                if (audit_hash_line(line ? line + 1 : data,
                                    (size_t)(newline - (line ? line + 1 : data)), last.hash) < 0)
                        return -EIO;
                *ret_last = last;
                return 0;
        }
        return -EBADMSG;
}

static int take_line(AuditTail *tail, const AuditHead *expected, const char *line, size_t n)
{
        char prev[2 * SHA256_LENGTH + 1];
        uint64_t seq;
        int r;

        if (!read_line(line, n, &seq, prev)) {
                tail->has_expected = false;
                return 0;
        }

        /* The chain after the expected head must not break. */
        if (tail->has_expected && (seq != tail->head.seq + 1 || strcmp(prev, tail->head.hash) != 0))
                tail->has_expected = false;

        tail->head.seq = seq;
        r = audit_hash_line(line, n, tail->head.hash);
        if (r < 0)
                return r;

        if (seq == expected->seq && strcmp(tail->head.hash, expected->hash) == 0)
                tail->has_expected = true;
        return 0;
}

void audit_tail_init(AuditTail *tail, const AuditHead *expected)
{
        *tail = (AuditTail){ .has_expected = expected->seq == 0 };
        memset(tail->head.hash, '0', sizeof(tail->head.hash) - 1);
}

int audit_tail_read(int fd, const AuditHead *expected, AuditTail *tail)
{
        CLEANUP(freep) char *data = NULL;
        const char *line, *end;
        bool whole = false;
        size_t n = 0;
        int r;

        r = read_tail(fd, &data, &n, &whole);
        if (r < 0)
                return r;

        if (tail->torn)
                tail->has_expected = false; /* an older file that ends within a line */
        tail->torn = false;
        line = data;
        end = data + n;
        if (!whole) { /* most likely it begins within a line */
                line = memchr(data, '\n', n);
                line = line ? line + 1 : end;
                tail->has_expected = false;
        }

        while (line < end) {
                const char *newline = memchr(line, '\n', (size_t)(end - line));

                if (!newline) {
                        tail->torn = true;
                        break;
                }
                r = take_line(tail, expected, line, (size_t)(newline - line));
                if (r < 0)
                        return r;
                line = newline + 1;
        }
        return 0;
}
