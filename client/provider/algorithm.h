/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's signature algorithms, and how OpenSSL speaks of each. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "key.h"

typedef enum Padding {
        PADDING_NONE, /* not an RSA key */
        PADDING_PKCS1,
        PADDING_PSS,
} Padding;

typedef struct Algorithm {
        const char *name; /* the contract's */
        KeyType type;
        Padding padding;
        DigestId digest;    /* _DIGEST_ID_N: takes the message */
        const uint8_t *der; /* AlgorithmIdentifier, for certificates, requests and CMS */
        size_t n_der;
} Algorithm;

/* NULL: the broker has none such. digest: NULL for a message. */
const Algorithm *algorithm_find(KeyType type, Padding padding, const Digest *digest);
