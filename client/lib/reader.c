/* SPDX-License-Identifier: Apache-2.0 */
/*
 * D-Bus unmarshalling ("Marshaling (Wire Format)" in the specification). Every read is bounded by
 * the message's end, every length is compared with what is left before it is used, and text is what
 * D-Bus lets text be; so whoever builds on this need not look at the bytes again.
 */
#include "reader.h"

#include <errno.h>
#include <string.h>

#include "text.h"

#define ARRAY_SIZE_MAX (64 * 1024 * 1024)
#define NESTING_MAX    32

static int take(Reader *reader, size_t n, const uint8_t **ret_bytes)
{
        if (n > reader->end - reader->at)
                return -EBADMSG;
        *ret_bytes = reader->data + reader->at;
        reader->at += n;
        return 0;
}

int reader_align(Reader *reader, size_t alignment)
{
        const uint8_t *padding;
        size_t n = (alignment - reader->at % alignment) % alignment;
        int r;

        r = take(reader, n, &padding);
        if (r)
                return r;
        for (size_t i = 0; i < n; i++)
                if (padding[i] != 0)
                        return -EBADMSG;
        return 0;
}

/* A number of n bytes, of which n is also the alignment. */
static int read_number(Reader *reader, void *ret_value, size_t n)
{
        const uint8_t *bytes;
        int r;

        r = reader_align(reader, n);
        if (r == 0)
                r = take(reader, n, &bytes);
        if (r == 0)
                memcpy(ret_value, bytes, n);
        return r;
}

int reader_u8(Reader *reader, uint8_t *ret_value)
{
        return read_number(reader, ret_value, sizeof(*ret_value));
}

int reader_u16(Reader *reader, uint16_t *ret_value)
{
        uint16_t value;
        int r = read_number(reader, &value, sizeof(value));

        if (r == 0)
                *ret_value = reader->swapped ? __builtin_bswap16(value) : value;
        return r;
}

int reader_u32(Reader *reader, uint32_t *ret_value)
{
        uint32_t value;
        int r = read_number(reader, &value, sizeof(value));

        if (r == 0)
                *ret_value = reader->swapped ? __builtin_bswap32(value) : value;
        return r;
}

int reader_u64(Reader *reader, uint64_t *ret_value)
{
        uint64_t value;
        int r = read_number(reader, &value, sizeof(value));

        if (r == 0)
                *ret_value = reader->swapped ? __builtin_bswap64(value) : value;
        return r;
}

static int read_text(Reader *reader, size_t n, const char **ret_text)
{
        const uint8_t *bytes;

        if (n >= reader->end - reader->at || take(reader, n + 1, &bytes))
                return -EBADMSG;
        if (bytes[n] != '\0' || !text_is_utf8((const char *)bytes, n))
                return -EBADMSG;
        *ret_text = (const char *)bytes;
        return 0;
}

int reader_string(Reader *reader, const char **ret_text)
{
        uint32_t n;
        int r = reader_u32(reader, &n);

        return r ? r : read_text(reader, n, ret_text);
}

int reader_signature(Reader *reader, const char **ret_text)
{
        uint8_t n;
        int r = reader_u8(reader, &n);

        return r ? r : read_text(reader, n, ret_text);
}

int reader_array(Reader *reader, size_t alignment, size_t *ret_end)
{
        uint32_t n;
        int r;

        r = reader_u32(reader, &n);
        if (r == 0)
                r = reader_align(reader, alignment);
        if (r)
                return r;
        if (n > ARRAY_SIZE_MAX || n > reader->end - reader->at)
                return -EBADMSG;
        *ret_end = reader->at + n;
        return 0;
}

size_t signature_alignment(char type)
{
        switch (type) {
        case 'y':
        case 'g':
        case 'v':
                return 1;
        case 'n':
        case 'q':
                return 2;
        case 'b':
        case 'i':
        case 'u':
        case 'h':
        case 's':
        case 'o':
        case 'a':
                return 4;
        case 'x':
        case 't':
        case 'd':
        case '(':
        case '{':
                return 8;
        default:
                return 0;
        }
}

/* Brackets are counted, not followed: a signature has at most 255 characters. */
size_t signature_length(const char *signature)
{
        const char *p = signature;
        char open[NESTING_MAX];
        size_t n_open = 0;

        do {
                while (*p == 'a')
                        p++;
                if (*p == '(' || *p == '{') {
                        if (n_open == NESTING_MAX)
                                return 0;
                        open[n_open++] = *p;
                } else if (*p == ')' || *p == '}') {
                        /* nothing in it, or an array of nothing, or the wrong bracket */
                        if (n_open == 0 || open[--n_open] != (*p == ')' ? '(' : '{') ||
                            p[-1] == 'a' || p[-1] == '(' || p[-1] == '{')
                                return 0;
                } else if (signature_alignment(*p) == 0) {
                        return 0;
                }
                p++;
        } while (n_open > 0);
        return (size_t)(p - signature);
}
