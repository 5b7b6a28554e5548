/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded reader and growing writer of little-endian fields. A string or byte string is its length in
 * 32 bits and its bytes; an absent string has the length ABSENT; a list is its count and its items.
 * Invariant: the reader never looks beyond n, and allocates no more than what lies before it; the first
 * failure sticks, and every later call returns nothing. It knows no message.
 */
#include "base/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ABSENT UINT32_MAX

void reader_init(Reader *reader, const void *data, size_t n)
{
        *reader = (Reader){ .data = data, .n = n };
}

static void reader_fail(Reader *reader, int error)
{
        if (reader->error == 0)
                reader->error = error;
}

/* The next n bytes, or NULL. */
static const uint8_t *reader_take(Reader *reader, size_t n)
{
        const uint8_t *p;

        if (reader->error != 0)
                return NULL;
        if (n > reader->n - reader->position) {
                reader_fail(reader, -EBADMSG);
                return NULL;
        }
        p = reader->data + reader->position;
        reader->position += n;
        return p;
}

static uint64_t reader_integer(Reader *reader, size_t n)
{
        const uint8_t *p = reader_take(reader, n);
        uint64_t value = 0;

        for (size_t i = 0; p && i < n; i++)
                value |= (uint64_t)p[i] << (8 * i);
        return value;
}

uint8_t reader_u8(Reader *reader)
{
        return (uint8_t)reader_integer(reader, 1);
}

uint32_t reader_u32(Reader *reader)
{
        return (uint32_t)reader_integer(reader, 4);
}

uint64_t reader_u64(Reader *reader)
{
        return reader_integer(reader, 8);
}

/* A length and that many bytes, at most n_max of them; NULL after a failure. */
static const uint8_t *reader_block(Reader *reader, size_t n, size_t n_max)
{
        if (n > n_max)
                reader_fail(reader, -EBADMSG);
        return reader_take(reader, n);
}

char *reader_string(Reader *reader, size_t n_max)
{
        uint32_t n = reader_u32(reader);
        const uint8_t *p;
        char *string;

        if (reader->error != 0 || n == ABSENT)
                return NULL;
        p = reader_block(reader, n, n_max);
        if (!p)
                return NULL;
        if (n > 0 && memchr(p, '\0', n)) {
                reader_fail(reader, -EBADMSG);
                return NULL;
        }
        string = malloc((size_t)n + 1);
        if (!string) {
                reader_fail(reader, -ENOMEM);
                return NULL;
        }
        if (n > 0)
                memcpy(string, p, n);
        string[n] = '\0';
        return string;
}

void reader_bytes(Reader *reader, size_t n_max, Bytes *bytes)
{
        uint32_t n = reader_u32(reader);
        const uint8_t *p = reader_block(reader, n, n_max);

        if (p && bytes_set(bytes, p, n) < 0)
                reader_fail(reader, -ENOMEM);
}

void reader_list(Reader *reader, size_t n_items_max, size_t n_max, BytesList *list)
{
        CLEANUP(bytes_list_deinit) BytesList items = { 0 };
        uint32_t n_items = reader_u32(reader);

        if (n_items > n_items_max)
                reader_fail(reader, -EBADMSG);
        for (uint32_t i = 0; i < n_items && reader->error == 0; i++) {
                uint32_t n = reader_u32(reader);
                const uint8_t *p = reader_block(reader, n, n_max);

                if (p && bytes_list_append(&items, p, n) < 0)
                        reader_fail(reader, -ENOMEM);
        }
        if (reader->error != 0)
                return;
        bytes_list_deinit(list);
        *list = items;
        items = (BytesList){ 0 };
}

int reader_end(Reader *reader)
{
        if (reader->position != reader->n)
                reader_fail(reader, -EBADMSG);
        return reader->error;
}

void writer_init(Writer *writer, size_t n_max)
{
        *writer = (Writer){ .n_max = n_max };
}

void writer_deinit(Writer *writer)
{
        free(writer->data);
        writer_init(writer, writer->n_max);
}

static uint8_t *writer_grow(Writer *writer, size_t n)
{
        size_t n_allocated = MAX(writer->n_allocated, (size_t)256);
        uint8_t *data;

        if (writer->error != 0)
                return NULL;
        if (n > writer->n_max - writer->n) {
                writer->error = -EMSGSIZE;
                return NULL;
        }
        while (n_allocated - writer->n < n)
                n_allocated *= 2;
        if (n_allocated > writer->n_allocated) {
                data = realloc(writer->data, n_allocated);
                if (!data) {
                        writer->error = -ENOMEM;
                        return NULL;
                }
                writer->data = data;
                writer->n_allocated = n_allocated;
        }
        writer->n += n;
        return writer->data + writer->n - n;
}

static void writer_integer(Writer *writer, uint64_t value, size_t n)
{
        uint8_t *p = writer_grow(writer, n);

        for (size_t i = 0; p && i < n; i++)
                p[i] = (uint8_t)(value >> (8 * i));
}

void writer_u8(Writer *writer, uint8_t value)
{
        writer_integer(writer, value, 1);
}

void writer_u32(Writer *writer, uint32_t value)
{
        writer_integer(writer, value, 4);
}

void writer_u64(Writer *writer, uint64_t value)
{
        writer_integer(writer, value, 8);
}

void writer_bytes(Writer *writer, const void *data, size_t n)
{
        uint8_t *p;

        if (n >= ABSENT) { /* no length field holds it */
                if (writer->error == 0)
                        writer->error = -EMSGSIZE;
                return;
        }
        writer_u32(writer, (uint32_t)n);
        p = writer_grow(writer, n);
        if (p && n > 0)
                memcpy(p, data, n);
}

void writer_string(Writer *writer, const char *string)
{
        if (string)
                writer_bytes(writer, string, strlen(string));
        else
                writer_u32(writer, ABSENT);
}

void writer_list(Writer *writer, const BytesList *list)
{
        writer_u32(writer, (uint32_t)list->n);
        for (size_t i = 0; i < list->n; i++)
                writer_bytes(writer, list->items[i].data, list->items[i].n);
}
