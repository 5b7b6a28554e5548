/* SPDX-License-Identifier: Apache-2.0 */
/* Writer: D-Bus marshalling, in the machine's byte order, into a buffer that grows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Once memory is short nothing more is written, and failed stays set: one look at the end is
 * enough.
 */
typedef struct Writer {
        uint8_t *data;
        size_t n, n_room;
        bool failed;
} Writer;

void writer_deinit(Writer *writer);
void writer_align(Writer *writer, size_t alignment);
void writer_bytes(Writer *writer, const void *data, size_t n);
void writer_u8(Writer *writer, uint8_t value);
void writer_u32(Writer *writer, uint32_t value);
void writer_u64(Writer *writer, uint64_t value);
void writer_string(Writer *writer, const char *text);    /* s, o */
void writer_signature(Writer *writer, const char *text); /* g */
/* An array: what `open` gave goes to `close`, which fills in its length. */
size_t writer_open_array(Writer *writer, size_t alignment);
void writer_close_array(Writer *writer, size_t opened, size_t alignment);
