/* SPDX-License-Identifier: Apache-2.0 */
/* Signature algorithms and key types: one table each. A new one is a row. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum KeyFamily { KEY_RSA, KEY_EC, KEY_ED25519, _KEY_FAMILY_N } KeyFamily;

typedef enum KeyType {
        KEY_TYPE_NONE,
        KEY_TYPE_RSA_2048,
        KEY_TYPE_RSA_3072,
        KEY_TYPE_RSA_4096,
        KEY_TYPE_EC_P256,
        KEY_TYPE_EC_P384,
        KEY_TYPE_EC_P521,
        KEY_TYPE_ED25519,
        _KEY_TYPE_N
} KeyType;

typedef enum Digest {
        DIGEST_NONE,
        DIGEST_SHA1,
        DIGEST_SHA256,
        DIGEST_SHA384,
        DIGEST_SHA512,
        _DIGEST_N
} Digest;

typedef enum Padding { PADDING_NONE, PADDING_PKCS1, PADDING_PSS, _PADDING_N } Padding;

typedef enum Algorithm {
        ALGORITHM_NONE,
        ALGORITHM_RSA_PKCS1_SHA256,
        ALGORITHM_RSA_PKCS1_SHA384,
        ALGORITHM_RSA_PKCS1_SHA512,
        ALGORITHM_RSA_PSS_SHA256,
        ALGORITHM_RSA_PSS_SHA384,
        ALGORITHM_RSA_PSS_SHA512,
        ALGORITHM_ECDSA_SHA256,
        ALGORITHM_ECDSA_SHA384,
        ALGORITHM_ECDSA_SHA512,
        ALGORITHM_ED25519,
        ALGORITHM_RSA_PKCS1_SHA1, /* only where a grant's `algorithm` names it */
        ALGORITHM_ECDSA_SHA1,     /* likewise */
        ALGORITHM_RSA_OAEP_SHA1,  /* these two decrypt, and sign nothing */
        ALGORITHM_RSA_OAEP_SHA256,
        _ALGORITHM_N
} Algorithm;

typedef struct AlgorithmRow {
        const char *name; /* the contract's word */
        KeyFamily family;
        Padding padding;
        Digest digest;
        bool legacy; /* signs with SHA-1 */
        bool decrypts;
} AlgorithmRow;

typedef struct KeyTypeRow {
        const char *name;
        KeyFamily family;
        unsigned bits;
        size_t n_signature_max; /* RSA: exact; ECDSA: of the DER form */
        Digest curve_digest;    /* EC: the curve's own hash */
} KeyTypeRow;

#define ALGORITHM_MESSAGE_MAX    (64 * 1024) /* ed25519 signs messages */
#define ALGORITHM_BIT(algorithm) (UINT32_C(1) << (algorithm))

const AlgorithmRow *algorithm_row(Algorithm algorithm);
const char *algorithm_name(Algorithm algorithm);
Algorithm algorithm_from_name(const char *name);            /* ALGORITHM_NONE: unknown */
bool algorithm_fits_key(Algorithm algorithm, KeyType type); /* to sign with it */
/* n is the digest's length, or within a message's bound. */
bool algorithm_takes_input(Algorithm algorithm, size_t n);
uint32_t algorithms_of_key(KeyType type); /* bits of all that fit */

const KeyTypeRow *key_type_row(KeyType type);
const char *key_type_name(KeyType type);
KeyType key_type_from_name(const char *name);

size_t digest_length(Digest digest);
const char *digest_name(Digest digest); /* "SHA256", as OpenSSL spells it */
