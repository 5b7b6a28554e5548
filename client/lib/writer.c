/* SPDX-License-Identifier: Apache-2.0 */
/* D-Bus marshalling ("Marshaling (Wire Format)" in the specification), as far as calls need it. */
#include "writer.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 256

void writer_deinit(Writer *writer)
{
        free(writer->data);
        *writer = (Writer){ 0 };
}

static bool reserve(Writer *writer, size_t n)
{
        size_t room = writer->n_room;
        uint8_t *data;

        if (writer->failed)
                return false;
        if (n <= room - writer->n)
                return true;
        while (room - writer->n < n)
                room = room < ROOM_MIN ? ROOM_MIN : 2 * room;
        data = realloc(writer->data, room);
        if (!data) {
                writer->failed = true;
                return false;
        }
        writer->data = data;
        writer->n_room = room;
        return true;
}

void writer_bytes(Writer *writer, const void *data, size_t n)
{
        if (n == 0 || !reserve(writer, n))
                return;
        memcpy(writer->data + writer->n, data, n);
        writer->n += n;
}

void writer_align(Writer *writer, size_t alignment)
{
        static const uint8_t zeros[8] = { 0 };

        writer_bytes(writer, zeros, (alignment - writer->n % alignment) % alignment);
}

void writer_u8(Writer *writer, uint8_t value)
{
        writer_bytes(writer, &value, sizeof(value));
}

void writer_u32(Writer *writer, uint32_t value)
{
        writer_align(writer, sizeof(value));
        writer_bytes(writer, &value, sizeof(value));
}

void writer_u64(Writer *writer, uint64_t value)
{
        writer_align(writer, sizeof(value));
        writer_bytes(writer, &value, sizeof(value));
}

void writer_string(Writer *writer, const char *text)
{
        size_t n = strlen(text);

        writer_u32(writer, (uint32_t)n);
        writer_bytes(writer, text, n + 1);
}

void writer_signature(Writer *writer, const char *text)
{
        size_t n = strlen(text);

        writer_u8(writer, (uint8_t)n);
        writer_bytes(writer, text, n + 1);
}

size_t writer_open_array(Writer *writer, size_t alignment)
{
        size_t opened;

        writer_u32(writer, 0);
        opened = writer->n - sizeof(uint32_t);
        writer_align(writer, alignment);
        return opened;
}

void writer_close_array(Writer *writer, size_t opened, size_t alignment)
{
        /* The length does not count the padding between it and the first element. */
        size_t first = (opened + sizeof(uint32_t) + alignment - 1) / alignment * alignment;
        uint32_t n;

        if (writer->failed)
                return;
        n = (uint32_t)(writer->n - first);
        memcpy(writer->data + opened, &n, sizeof(n));
}
