/* SPDX-License-Identifier: Apache-2.0 */
/* Reader: D-Bus unmarshalling of bytes that nobody has looked at yet. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Positions count from the message's first byte, as alignment does. Read past the end: -EBADMSG. */
typedef struct Reader {
        const uint8_t *data;
        size_t at, end;
        bool swapped; /* the sender has the other byte order */
} Reader;

int reader_align(Reader *reader, size_t alignment); /* the padding must be zeros */
int reader_u8(Reader *reader, uint8_t *ret_value);
int reader_u16(Reader *reader, uint16_t *ret_value);
int reader_u32(Reader *reader, uint32_t *ret_value);
int reader_u64(Reader *reader, uint64_t *ret_value);
/* Borrowed from the data, with its NUL; valid UTF-8 without any other. */
int reader_string(Reader *reader, const char **ret_text);
int reader_signature(Reader *reader, const char **ret_text);
/* The length of an array, checked; *ret_end is where its last element must end. */
int reader_array(Reader *reader, size_t alignment, size_t *ret_end);

/* The length of the one complete type that signature begins with, 0 where it begins with none. */
size_t signature_length(const char *signature);
size_t signature_alignment(char type); /* 0: no type */
