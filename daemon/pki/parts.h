/* SPDX-License-Identifier: Apache-2.0 */
/* Inside pki: what a bundle holds, before anything is chosen from it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/*
 * What one bundle may make us do, over all that is in it: it is summed up before any of it is done, as far
 * as it can be seen, and counted again while it is done. Zero is a new one.
 */
typedef struct Work {
        uint64_t n_iterations; /* or what is worth as much */
} Work;

typedef struct Parts {
        EVP_PKEY *keys[PARTS_KEYS_MAX]; /* each of a type of ours */
        size_t n_keys;
        size_t n_unsupported; /* keys of other types */
        BytesList certificates;
        Work work;
} Parts;

void parts_deinit(Parts *parts);
void parts_begin_again(Parts *parts); /* empty, but for the work that was done */

/* A passphrase as it is tried; `text` NULL is not the same as empty in PKCS#12 (RFC 7292, B.1). */
typedef struct Passphrase {
        const char *text;
        int n;
} Passphrase;

Passphrase passphrase_of(Secret *secret);

/* Takes the key, also on failure. */
int parts_take_key(Parts *parts, EVP_PKEY *key, Failure *failure);
int parts_add_pkcs8(Parts *parts, const PKCS8_PRIV_KEY_INFO *pkcs8, Failure *failure);
/* In its encoding, a private key longer than any of ours. */
bool private_key_is_too_long(size_t n);

/* One derivation of a key. CB_BAD_BUNDLE where it, or the sum, is more than anyone's honest file asks for. */
int work_add(Work *work, const X509_ALGOR *algorithm, Failure *failure);
int work_add_iterations(Work *work, const ASN1_INTEGER *iterations, Failure *failure); /* NULL: 1 */
/* Empties libcrypto's queue: did it say that it lacks an algorithm? */
bool errors_say_unsupported(void);

int parts_read_pkcs12(Parts *parts, Secret *data, Secret *passphrase, Failure *failure);
int parts_read_pem(Parts *parts, Secret *data, Secret *passphrase, Failure *failure);
