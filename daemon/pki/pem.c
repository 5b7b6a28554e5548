/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded reader of PEM. Own, because libcrypto's keeps copies of lines and of decoded bytes in
 * memory that it does not wipe, and asks on the terminal for what it lacks. It takes what libcrypto's
 * takes: text around blocks is ignored whatever it says, lines end with LF or CRLF and with any blanks or
 * bytes that are not ASCII before that. And what people's tools do beside: CR alone, blanks or a
 * byte order mark before a block, files put together without a line end between them, and blocks
 * that have lost all of theirs. Invariant: no byte outside the given ones is read, and none is kept. It knows no label.
 */
#include "pki/pem.h"

#include <errno.h>
#include <string.h>

#include "base/macro.h"

static const char begin_mark[] = "-----BEGIN ", end_mark[] = "-----END ", dashes[] = "-----";

static const char *find(const char *from, const char *end, const char *mark)
{
        return from && from < end ? memmem(from, (size_t)(end - from), mark, strlen(mark)) : NULL;
}

static bool starts_with(const char *p, const char *end, const char *mark)
{
        return (size_t)(end - p) >= strlen(mark) && memcmp(p, mark, strlen(mark)) == 0;
}

static bool ends_line(char c)
{
        return c == '\n' || c == '\r';
}

static const char *line_end(const char *p, const char *end)
{
        while (p < end && !ends_line(*p))
                p++;
        return p;
}

/* The next line's beginning. */
static const char *next_line(const char *p, const char *end)
{
        p = line_end(p, end);
        if (p < end && *p == '\r' && p + 1 < end && p[1] == '\n')
                p++;
        return p < end ? p + 1 : end;
}

/* Blanks, control characters, and what is not ASCII: a no-break space, a byte order mark. */
static bool is_margin(char c)
{
        return (uint8_t)c <= ' ' || (uint8_t)c >= 0x7f;
}

/* Within the line. */
static const char *skip_margin(const char *p, const char *end)
{
        while (p < end && is_margin(*p) && !ends_line(*p))
                p++;
        return p;
}

static bool rest_is_margin(const char *p, const char *end)
{
        p = skip_margin(p, end);
        return p == end || ends_line(*p);
}

/* The mark on the rest of this line. A file may be one line with thousands of blocks: no further is looked than needed. */
static const char *find_on_line(const char *p, const char *end, const char *mark)
{
        for (; p < end && !ends_line(*p); p++)
                if (starts_with(p, end, mark))
                        return p;
        return NULL;
}

/* The label between `from` and the dashes on its line; what is after those is the caller's to judge. */
static bool read_label(const char *from, const char *end, char ret_label[PEM_LABEL_MAX],
                       const char **ret_after)
{
        size_t n_most = MIN((size_t)(end - from), PEM_LABEL_MAX + strlen(dashes));
        const char *stop = find_on_line(from, from + n_most, dashes);
        size_t n = stop ? (size_t)(stop - from) : 0;

        if (n == 0 || n >= PEM_LABEL_MAX || memchr(from, '\0', n))
                return false;
        memcpy(ret_label, from, n);
        ret_label[n] = '\0';
        *ret_after = stop + strlen(dashes);
        return true;
}

/* A whole block may have lost its line ends: not those that are written in some other way. */
static bool ends_on_line(const char *p, const char *end, const char *label)
{
        char other[PEM_LABEL_MAX];
        const char *after, *stop = find_on_line(p, end, end_mark);

        return stop && !memchr(p, '\\', (size_t)(stop - p)) &&
               read_label(stop + strlen(end_mark), end, other, &after) && strcmp(other, label) == 0;
}

/* Is this line where a block begins? Of text that only speaks of one, no. */
static bool read_begin(const char *line, const char *end, char ret_label[PEM_LABEL_MAX],
                       const char **ret_body)
{
        const char *p = skip_margin(line, end), *after;

        if (!starts_with(p, end, begin_mark) ||
            !read_label(p + strlen(begin_mark), end, ret_label, &after))
                return false;
        if (!rest_is_margin(after, end) && !ends_on_line(after, end, ret_label))
                return false;
        *ret_body = after;
        return true;
}

static bool find_begin(const char **p, const char *end, char ret_label[PEM_LABEL_MAX],
                       const char **ret_body)
{
        for (; *p < end; *p = next_line(*p, end))
                if (read_begin(*p, end, ret_label, ret_body))
                        return true;
        return false;
}

bool pem_is(const void *data, size_t n)
{
        const uint8_t *d = data;
        const char *p = data, *body;
        char label[PEM_LABEL_MAX];

        /* A SEQUENCE longer than 127 bytes has a length byte that no text has there. */
        if (n >= 2 && d[0] == 0x30 && d[1] >= 0x80)
                return false;
        return n > 0 && find_begin(&p, p + n, label, &body);
}

void pem_reader_init(PemReader *reader, const void *data, size_t n)
{
        *reader = (PemReader){ .p = data, .end = (const char *)data + n };
}

/* Headers are there if the first line has a colon; an empty line ends them. */
static int split_headers(PemBlock *block)
{
        const char *p = block->body, *end = block->body + block->n_body;

        /* What is left of the line of the label. */
        if (rest_is_margin(p, end))
                p = next_line(p, end);
        if (!memchr(p, ':', (size_t)(line_end(p, end) - p)))
                return 0;
        block->headers = p;
        for (; p < end; p = next_line(p, end)) {
                if (!rest_is_margin(p, end))
                        continue;
                block->n_headers = (size_t)(p - block->headers);
                block->body = p;
                block->n_body = (size_t)(end - p);
                return 0;
        }
        return -EBADMSG;
}

static int read_end(PemReader *reader, PemBlock *block)
{
        const char *stop = find(block->body, reader->end, end_mark), *after;
        char label[PEM_LABEL_MAX];

        if (!stop || !read_label(stop + strlen(end_mark), reader->end, label, &after) ||
            strcmp(label, block->label) != 0)
                return -EBADMSG;
        after = skip_margin(after, reader->end);
        if (!rest_is_margin(after, reader->end) && !starts_with(after, reader->end, begin_mark))
                return -EBADMSG;
        block->n_body = (size_t)(stop - block->body);
        reader->p = after;
        return find(block->body, stop, begin_mark) ? -EBADMSG : 0;
}

int pem_next(PemReader *reader, PemBlock *ret_block)
{
        PemBlock block = { 0 };
        int r;

        if (!find_begin(&reader->p, reader->end, block.label, &block.body))
                return 0;
        block.number = ++reader->n_blocks;
        r = read_end(reader, &block);
        if (r == 0)
                r = split_headers(&block);
        *ret_block = block;
        return r < 0 ? r : 1;
}

size_t pem_decoded_max(const PemBlock *block)
{
        return block->n_body / 4 * 3 + 3;
}

static int digit_value(char c)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *at = c ? strchr(digits, c) : NULL;

        return at ? (int)(at - digits) : -1;
}

int pem_decode(const PemBlock *block, uint8_t *ret_data, size_t *ret_n)
{
        uint32_t bits = 0;
        size_t n = 0, n_digits = 0, n_padding = 0;

        for (size_t i = 0; i < block->n_body; i++) {
                char c = block->body[i];
                int value;

                if (c == '\n' || c == '\r' || c == ' ' || c == '\t')
                        continue;
                if (is_margin(c)) { /* at the end of a line alone */
                        const char *p = block->body + i, *end = block->body + block->n_body;

                        if (!rest_is_margin(p, end))
                                return -EBADMSG;
                        i = (size_t)(skip_margin(p, end) - block->body) - 1;
                        continue;
                }
                if (c == '=') {
                        n_padding++;
                        continue;
                }
                value = digit_value(c);
                if (value < 0 || n_padding > 0)
                        return -EBADMSG;
                bits = bits << 6 | (uint32_t)value;
                if (++n_digits % 4 == 0) {
                        ret_data[n++] = (uint8_t)(bits >> 16);
                        ret_data[n++] = (uint8_t)(bits >> 8);
                        ret_data[n++] = (uint8_t)bits;
                }
        }
        if (n_padding > 2 || (n_digits + n_padding) % 4 != 0)
                return -EBADMSG;
        if (n_padding > 0)
                ret_data[n++] = (uint8_t)(bits >> (n_padding == 1 ? 10 : 4));
        if (n_padding == 1)
                ret_data[n++] = (uint8_t)(bits >> 2);
        *ret_n = n;
        return 0;
}
