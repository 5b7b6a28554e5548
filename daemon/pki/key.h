/* SPDX-License-Identifier: Apache-2.0 */
/* Inside pki: OpenSSL's keys as our types, and public keys in one canonical form. */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "core/algorithm.h"
#include "pki/context.h"

/* As <openssl/types.h> has them. */
typedef struct evp_pkey_st EVP_PKEY;
typedef struct asn1_object_st ASN1_OBJECT;
typedef struct X509_pubkey_st X509_PUBKEY;

#define PKI_KEY_TYPES                                                                              \
        "RSA with 2048, 3072 or 4096 bits, EC on the named curves P-256, P-384 or P-521, or "      \
        "Ed25519"

/*
 * KEY_TYPE_NONE for what is none of ours: RSA of another size than exactly 2048, 3072 or 4096 bits,
 * or bound to PSS by its identifier; EC on another curve, or with explicit parameters.
 */
KeyType key_type_of(const EVP_PKEY *key);

#define KEY_DESCRIPTION_MAX 96
/* Of one that is none of ours, what it is: "RSA with 1024 bits", "EC on secp256k1". */
void key_describe(const EVP_PKEY *key, char ret_text[KEY_DESCRIPTION_MAX]);
/* By its identifier, whether libcrypto can do anything with it or not. */
void key_kind_describe(const ASN1_OBJECT *kind, char ret_text[KEY_DESCRIPTION_MAX]);
/* CB_NOT_SUPPORTED, of `what`, which is such a key; key NULL: libcrypto knows no more of it than `encoded`. */
int fail_key_type(const EVP_PKEY *key, const X509_PUBKEY *encoded, const char *what,
                  Failure *failure);

/*
 * SubjectPublicKeyInfo, DER, in the one form that we compare by bytes: rsaEncryption with NULL
 * parameters, EC points uncompressed. 0, -ENOMEM, or CB_FAILED.
 */
int key_spki(EVP_PKEY *key, Bytes *ret_spki);

/* NULL for what is no public key. Owned. */
EVP_PKEY *key_from_spki(const Bytes *spki);
void key_freep(EVP_PKEY **place);
