/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded reader of PEM. Own, because libcrypto's keeps copies of lines and of decoded bytes in
 * memory that it does not wipe, and asks on the terminal for what it lacks. Invariant: no byte
 * outside the given ones is read, and none is kept. It knows no label.
 */
#include "pki/pem.h"

#include <errno.h>
#include <string.h>

static const char begin_mark[] = "-----BEGIN ", end_mark[] = "-----END ", dashes[] = "-----";

bool pem_is(const void *data, size_t n)
{
        const uint8_t *d = data;

        /* A SEQUENCE longer than 127 bytes has a length byte that no text has there. */
        if (n >= 2 && d[0] == 0x30 && d[1] >= 0x80)
                return false;
        return n > 0 && memmem(data, n, begin_mark, sizeof(begin_mark) - 1) != NULL;
}

void pem_reader_init(PemReader *reader, const void *data, size_t n)
{
        reader->p = data;
        reader->end = reader->p + n;
}

static const char *find(const char *from, const char *end, const char *mark)
{
        return from < end ? memmem(from, (size_t)(end - from), mark, strlen(mark)) : NULL;
}

/* Past the end of the line, or NULL where the line has anything left but blanks. */
static const char *end_of_line(const char *p, const char *end)
{
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
                p++;
        if (p == end)
                return p;
        return *p == '\n' ? p + 1 : NULL;
}

/* The label between `from` and the dashes, which end the line. */
static int read_label(const char *from, const char *end, char *ret_label, const char **ret_next)
{
        const char *stop = find(from, end, dashes);
        size_t n = stop ? (size_t)(stop - from) : 0;

        if (n == 0 || n >= PEM_LABEL_MAX || memchr(from, '\n', n))
                return -EBADMSG;
        *ret_next = end_of_line(stop + sizeof(dashes) - 1, end);
        if (!*ret_next)
                return -EBADMSG;
        memcpy(ret_label, from, n);
        ret_label[n] = '\0';
        return 0;
}

/* Headers are there if the first line has a colon; an empty line ends them. */
static int split_headers(PemBlock *block)
{
        const char *p = block->body, *end = block->body + block->n_body;
        const char *newline = memchr(p, '\n', block->n_body);

        if (!newline || !memchr(p, ':', (size_t)(newline - p)))
                return 0;
        while (p < end) {
                const char *next = end_of_line(p, end);

                if (next) {
                        block->headers = block->body;
                        block->n_headers = (size_t)(p - block->body);
                        block->body = next;
                        block->n_body = (size_t)(end - next);
                        return 0;
                }
                newline = memchr(p, '\n', (size_t)(end - p));
                p = newline ? newline + 1 : end;
        }
        return -EBADMSG;
}

int pem_next(PemReader *reader, PemBlock *ret_block)
{
        PemBlock block = { 0 };
        char label[PEM_LABEL_MAX];
        const char *p = find(reader->p, reader->end, begin_mark), *stop;
        int r;

        if (!p) {
                reader->p = reader->end;
                return 0;
        }
        r = read_label(p + sizeof(begin_mark) - 1, reader->end, block.label, &block.body);
        if (r < 0)
                return r;
        stop = find(block.body, reader->end, end_mark);
        if (!stop)
                return -EBADMSG;
        block.n_body = (size_t)(stop - block.body);
        r = read_label(stop + sizeof(end_mark) - 1, reader->end, label, &reader->p);
        if (r == 0 && strcmp(label, block.label) != 0)
                r = -EBADMSG;
        if (r == 0)
                r = split_headers(&block);
        if (r < 0)
                return r;
        *ret_block = block;
        return 1;
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
