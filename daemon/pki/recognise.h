/* SPDX-License-Identifier: Apache-2.0 */
/* Inside pki: what a file is that is not what was asked for, and what makes it that. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/failure.h"
#include "pki/pem.h"

typedef enum FilePurpose {
        FILE_OF_BUNDLE,       /* a key with its certificates, for an import */
        FILE_OF_CERTIFICATES, /* for a key that is there */
        _FILE_PURPOSE_N,
} FilePurpose;

/*
 * Names what the file is, if it is known, and the remedy: for a file in which nothing was found that serves
 * the purpose. Always CB_BAD_BUNDLE, or -errno.
 */
int recognise(const void *data, size_t n, FilePurpose purpose, Failure *failure);

/* Zeros and white space, as tools add them after what they write. */
bool is_padding(const void *data, size_t n);
/* There is more than padding after `what`, which ended at byte `at`. CB_BAD_BUNDLE. */
int fail_more(const char *file, const char *what, size_t at, Failure *failure);
/* A block of PEM that pem_next() could not read. CB_BAD_BUNDLE. */
int fail_block(const char *file, const PemBlock *block, Failure *failure);
