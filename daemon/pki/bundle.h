/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#12 and PEM bundles: a private key and its certificates. Used by a source's process alone;
 * the broker never sees what is in a bundle.
 */
#pragma once

#include "base/bytes.h"
#include "base/failure.h"
#include "base/secret.h"
#include "core/algorithm.h"
#include "pki/context.h"

/* As <openssl/types.h> has it. */
typedef struct evp_pkey_st EVP_PKEY;

typedef struct PkiBundle {
        EVP_PKEY *key;
        KeyType key_type;
        Bytes spki;      /* of the key */
        BytesList chain; /* sorted, leaf first, the leaf is the key's */
        char *fault;     /* what is wrong with it, as pki_chain_sort() says it; NULL: nothing */
} PkiBundle;

/*
 * The key has signed and its certificate has verified what it signed. passphrase NULL or empty:
 * none; a bundle that needs none is read whatever was given. CB_BAD_PASSPHRASE, CB_BAD_BUNDLE
 * (empty, truncated, no key, no certificate, several keys of which none or more than one has a
 * leaf), CB_KEY_MISMATCH, CB_NOT_SUPPORTED (key of no type of ours), CB_INVALID_ARGUMENT (the
 * passphrase is too long).
 */
int pki_bundle_parse(Secret *data, Secret *passphrase, uint64_t now_sec, PkiBundle *ret_bundle,
                     Failure *failure);
void pki_bundle_deinit(PkiBundle *bundle);

/*
 * The certificates alone, in the order in which they come, of a bundle that may have no key, as a
 * vault gives it for a key that it keeps; keys in it are not handed out. CB_BAD_BUNDLE where there
 * is none.
 */
int pki_bundle_certificates(Secret *data, Secret *passphrase, BytesList *ret_certificates,
                            Failure *failure);
