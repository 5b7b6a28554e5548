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
        uint64_t n_verifications;
} Work;

typedef struct Parts {
        /* Each of a type of ours, and another than those before it. */
        EVP_PKEY *keys[PARTS_KEYS_MAX];
        size_t n_keys;
        size_t n_found; /* keys of any type, each as often as it is there */
        /* What a key of another type is, and the remedy; "": there is none. */
        char unsupported[KEY_DESCRIPTION_MAX];
        const char *remedy;
        BytesList certificates;
        Work work;
} Parts;

void parts_deinit(Parts *parts);

/* CB_BAD_BUNDLE: there are more keys than a bundle may have. Before each one is read. */
int parts_count_key(Parts *parts, Failure *failure);
/* Takes the key, also on failure. */
int parts_take_key(Parts *parts, EVP_PKEY *key, Failure *failure);
int parts_add_pkcs8(Parts *parts, const PKCS8_PRIV_KEY_INFO *pkcs8, Failure *failure);
/* Of a key that is passed over. remedy NULL: to take one of another type. */
void parts_note_unsupported(Parts *parts, const char *what, const char *remedy);
/* In its encoding, a private key longer than any of ours. */
bool private_key_is_too_long(size_t n);
int fail_damaged_key(Failure *failure);
/* Of one of our kinds that libcrypto did not read: passed over where it does not know its curve, else damaged. */
int parts_note_unread(Parts *parts, Failure *failure);

/* What one derivation of a key takes, in iterations; UINT64_MAX: more than can be held. */
uint64_t work_of(const X509_ALGOR *algorithm);
uint64_t work_of_iterations(const ASN1_INTEGER *iterations); /* NULL: 1 */
/* CB_BAD_BUNDLE where it, or the sum, is more than anyone's honest file asks for. */
int work_add(Work *work, uint64_t cost, Failure *failure);

/* A passphrase as it is tried; `text` NULL is not the same as empty in PKCS#12 (RFC 7292, B.1). */
typedef struct Passphrase {
        const char *text;
        int n;
} Passphrase;

/*
 * What is tried of what was given, the likeliest first: it; as OpenSSL before 1.1 wrote PKCS#12 with it where
 * it is not ASCII, each byte for a character; none; the empty one.
 */
typedef struct Passphrases {
        Passphrase items[4];
        size_t n;
        Secret *given; /* NULL or empty: none */
        Secret *widened;
} Passphrases;

/* needless: whatever was given, the file may be one that has none. CB_INVALID_ARGUMENT: it is too long. */
int passphrases_init(Passphrases *p, Secret *given, bool needless, Failure *failure);
void passphrases_deinit(Passphrases *p);
/*
 * Try i, from 0, of one that takes so much work. CB_BAD_PASSPHRASE, without a sentence: there is no other, or
 * no work left for one; CB_BAD_BUNDLE: not even for the first.
 */
int passphrases_try(const Passphrases *p, size_t i, Work *work, uint64_t cost,
                    Passphrase *ret_passphrase, Failure *failure);
void passphrases_found(Passphrases *p, size_t i); /* it is tried first from now on */
/* CB_BAD_PASSPHRASE: `what` is not opened by any of them. */
int fail_passphrase(const Passphrases *p, const char *what, Failure *failure);

/* PKCS#8 (RFC 5958: also version 2, with the public key) in DER, and what is in an encrypted one. */
int pkcs8_read(Parts *parts, const uint8_t *der, size_t n, Failure *failure);
/* CB_BAD_PASSPHRASE without a sentence: not by any of them, see libcrypto's queue. */
int pkcs8_decrypt(Parts *parts, const X509_SIG *sig, Passphrases *passphrases, Failure *failure);

/* One signature of a certificate, with any key. */
int work_add_verification(Work *work, Failure *failure);
/* Empties libcrypto's queue: did it say that it lacks an algorithm? */
bool errors_say_unsupported(void);

int parts_read_pkcs12(Parts *parts, Secret *data, Secret *passphrase, Failure *failure);
/* Where a block holds PKCS#12, as GnuTLS writes it, that is what is read. */
int parts_read_pem(Parts *parts, Secret *data, Secret *passphrase, Failure *failure);
