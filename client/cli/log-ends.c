/* SPDX-License-Identifier: Apache-2.0 */
#include "log-ends.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "macro.h"

#define END_MAX 65536 /* a record has a few hundred bytes */

static void free_bytes(char **bytes)
{
        free(*bytes);
}

static size_t read_at(int fd, char *to, uint64_t at)
{
        ssize_t n;

        do
                n = pread(fd, to, END_MAX, (off_t)at);
        while (n < 0 && errno == EINTR);
        return n > 0 ? (size_t)n : 0;
}

/* The first record, or the last, of what was read. */
static bool find_record(const char *data, size_t n, bool is_last, ChainLine *ret_line)
{
        const char *end = data + n, *newline;
        bool is_found = false;

        for (const char *line = data; (newline = memchr(line, '\n', (size_t)(end - line)));
             line = newline + 1) {
                ChainLine facts;

                chain_line_parse(line, (size_t)(newline - line), &facts);
                if (!facts.is_record)
                        continue;
                *ret_line = facts;
                is_found = true;
                if (!is_last)
                        break;
        }
        return is_found;
}

void log_ends_read(int fd, uint64_t size, LogEnds *ret_ends)
{
        CLEANUP(free_bytes) char *data = malloc(END_MAX);
        uint64_t tail = size > END_MAX ? size - END_MAX : 0;
        ChainLine first, last;

        *ret_ends = (LogEnds){ 0 };
        if (!data || !find_record(data, read_at(fd, data, 0), false, &first) ||
            !find_record(data, read_at(fd, data, tail), true, &last))
                return;
        ret_ends->has_record = true;
        ret_ends->seq_first = first.seq;
        ret_ends->seq_last = last.seq;
        memcpy(ret_ends->prev, first.prev, HASH_LENGTH);
        memcpy(ret_ends->hash, last.hash, HASH_LENGTH);
}

bool log_ends_follow(const LogEnds *older, const LogEnds *newer)
{
        return older->has_record && newer->has_record &&
               memcmp(older->hash, newer->prev, HASH_LENGTH) == 0;
}
