/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded reader and growing writer of little-endian fields: all that encodes or decodes bytes of
 * our own (wire messages, blobs in the store) goes through these. The first failure sticks: later
 * calls do nothing, and the error is asked for once, at the end.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

typedef struct Reader {
        const uint8_t *data;
        size_t n;
        size_t position;
        int error; /* 0 or -EBADMSG, -ENOMEM */
} Reader;

typedef struct Writer {
        uint8_t *data;
        size_t n;
        size_t n_allocated;
        size_t n_max; /* more is -EMSGSIZE */
        int error;
} Writer;

void reader_init(Reader *reader, const void *data, size_t n);
uint8_t reader_u8(Reader *reader);
uint32_t reader_u32(Reader *reader);
uint64_t reader_u64(Reader *reader);
/* Owned; NULL where absent; refuses a NUL inside. */
char *reader_string(Reader *reader, size_t n_max);
void reader_bytes(Reader *reader, size_t n_max, Bytes *bytes); /* owned copy */
void reader_list(Reader *reader, size_t n_items_max, size_t n_max, BytesList *list);
int reader_end(Reader *reader); /* the sticky error; -EBADMSG too if bytes are left over */

void writer_init(Writer *writer, size_t n_max);
void writer_deinit(Writer *writer);
void writer_u8(Writer *writer, uint8_t value);
void writer_u32(Writer *writer, uint32_t value);
void writer_u64(Writer *writer, uint64_t value);
void writer_string(Writer *writer, const char *string); /* NULL is kept as absent */
void writer_bytes(Writer *writer, const void *data, size_t n);
void writer_list(Writer *writer, const BytesList *list);
