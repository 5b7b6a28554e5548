/* SPDX-License-Identifier: Apache-2.0 */
/* Inside pki: certificates of each form, appended to a list. 0, -ENOMEM, or CB_BAD_BUNDLE. */
#pragma once

#include "base/bytes.h"
#include "pki/pem.h"

#define PKI_CERTIFICATES_MAX 32

/* As <openssl/types.h> has it. */
typedef struct x509_st X509;

int certificates_append_x509(BytesList *list, X509 *x);
int certificates_append_der(BytesList *list, const void *der, size_t n);
int certificates_append_pkcs7(BytesList *list, const void *der, size_t n);
/* Nothing, where the block's label is of no certificates. */
int certificates_append_block(BytesList *list, const PemBlock *block);
