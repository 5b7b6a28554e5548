/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside pki: certificates of each form, appended to a list. 0, -errno, or CB_BAD_BUNDLE, with a sentence
 * that names the file as `file` says ("the bundle") and the certificate by its number in it.
 */
#pragma once

#include "base/bytes.h"
#include "base/failure.h"
#include "pki/pem.h"

/*
 * In one file, those that belong to no chain included: a key store with all of the public authorities
 * beside the key has some 150. It bounds the work; only a sorted chain leaves this room.
 */
#define PKI_CERTIFICATES_MAX 1024

/* As <openssl/types.h> has it. */
typedef struct x509_st X509;

/* The next one of the list. */
int certificates_fail_unreadable(const BytesList *list, const char *file, Failure *failure);
int certificates_append_x509(BytesList *list, X509 *x, const char *file, Failure *failure);
/* Nothing, where the block's label is of no certificates. */
int certificates_append_block(BytesList *list, const PemBlock *block, const char *file,
                              Failure *failure);
