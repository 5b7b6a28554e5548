/* SPDX-License-Identifier: Apache-2.0 */
/* Owned byte strings and lists of them (a certificate chain is a list of DER). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

typedef struct Bytes {
        uint8_t *data; /* NULL where n is 0 */
        size_t n;
} Bytes;

typedef struct BytesList {
        Bytes *items;
        size_t n;
} BytesList;

int bytes_set(Bytes *bytes, const void *data, size_t n); /* copies; replaces what was there */
void bytes_deinit(Bytes *bytes);
bool bytes_equal(const Bytes *a, const Bytes *b);

int bytes_list_append(BytesList *list, const void *data, size_t n); /* copies */
int bytes_list_copy(const BytesList *list, BytesList *ret_copy);
void bytes_list_deinit(BytesList *list);
bool bytes_list_equal(const BytesList *a, const BytesList *b);
