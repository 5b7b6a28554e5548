/* SPDX-License-Identifier: Apache-2.0 */
/* Inside pki: one certificate as libcrypto sees it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "pki/context.h"
#include "pki/key.h"

/* As <openssl/types.h> has them. */
typedef struct x509_st X509;
typedef struct X509_name_st X509_NAME;

/* NULL unless the bytes are exactly one certificate in DER, at most PKI_CERTIFICATE_MAX. Owned. */
X509 *x509_from_der(const void *der, size_t n);
void x509_freep(X509 **place);

/* RFC 4514, valid UTF-8 on one line, at most PKI_NAME_MAX bytes. NULL: no memory. Owned. */
char *x509_name_text(const X509_NAME *name);

/* Seconds since 1970; where they cannot be read, 0 and 0: never. */
void x509_validity(X509 *x, uint64_t *ret_not_before_sec, uint64_t *ret_not_after_sec);
