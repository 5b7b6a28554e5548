/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside pki: a bounded reader of PEM (RFC 7468, and the older headers of RFC 1421). It copies
 * nothing: the body's bytes go where the caller says, which for a key is locked memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEM_LABEL_MAX 64

typedef struct PemReader {
        const char *p, *end;
        size_t n_blocks;
} PemReader;

typedef struct PemBlock {
        size_t number; /* in its file, from 1 */
        char label[PEM_LABEL_MAX];
        const char *headers; /* "Name: value" lines; NULL: none */
        size_t n_headers;
        const char *body; /* base64 and line ends */
        size_t n_body;
} PemBlock;

/* Is this text with PEM in it, and not DER that happens to hold such words? */
bool pem_is(const void *data, size_t n);

void pem_reader_init(PemReader *reader, const void *data, size_t n);
/* 1: a block; 0: no more; -EBADMSG: one that does not end, of which number and label are told. */
int pem_next(PemReader *reader, PemBlock *ret_block);

/* How much pem_decode() may write. */
size_t pem_decoded_max(const PemBlock *block);
/* -EBADMSG where the body is no base64. */
int pem_decode(const PemBlock *block, uint8_t *ret_data, size_t *ret_n);
