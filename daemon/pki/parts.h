/* SPDX-License-Identifier: Apache-2.0 */
/* Inside pki: what a bundle holds, before anything is chosen from it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "base/secret.h"
#include "pki/key.h"

#define PARTS_KEYS_MAX 8

/* As <openssl/types.h> has them. */
typedef struct pkcs8_priv_key_info_st PKCS8_PRIV_KEY_INFO;
typedef struct asn1_string_st ASN1_INTEGER;
typedef struct X509_algor_st X509_ALGOR;
typedef struct X509_sig_st X509_SIG;

typedef struct Parts {
        EVP_PKEY *keys[PARTS_KEYS_MAX]; /* each of a type of ours */
        size_t n_keys;
        size_t n_unsupported; /* keys of other types */
        BytesList certificates;
} Parts;

void parts_deinit(Parts *parts);

/* A passphrase as it is tried; `text` NULL is not the same as empty in PKCS#12 (RFC 7292, B.1). */
typedef struct Passphrase {
        const char *text;
        int n;
} Passphrase;

Passphrase passphrase_of(Secret *secret);

/* Takes the key, also on failure. */
int parts_take_key(Parts *parts, EVP_PKEY *key, Failure *failure);
int parts_add_pkcs8(Parts *parts, const PKCS8_PRIV_KEY_INFO *pkcs8, Failure *failure);

/* CB_BAD_BUNDLE where a file asks for more work than anyone's honest one does. */
int pbe_check(const X509_ALGOR *algorithm, Failure *failure);
int pbe_check_iterations(const ASN1_INTEGER *iterations, Failure *failure); /* NULL: 1 */
/* Empties libcrypto's queue: did it say that it lacks an algorithm? */
bool errors_say_unsupported(void);

int parts_read_pkcs12(Parts *parts, Secret *data, Secret *passphrase, Failure *failure);
int parts_read_pem(Parts *parts, Secret *data, Secret *passphrase, Failure *failure);
