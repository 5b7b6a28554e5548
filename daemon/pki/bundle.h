/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#12 and PEM bundles: a private key and its certificates. Used by a source's process alone; the
 * broker never sees what is in a bundle.
 */
#pragma once

#include <openssl/types.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "base/secret.h"
#include "core/algorithm.h"

typedef struct PkiBundle {
        EVP_PKEY *key;
        KeyType key_type;
        Bytes spki;      /* of the key */
        BytesList chain; /* sorted, leaf first, the leaf is the key's */
        char *missing;   /* subject of an issuer that is not in it; NULL: complete */
} PkiBundle;

/*
 * CB_BAD_PASSPHRASE, CB_BAD_BUNDLE (empty, truncated, no key, no certificate, several keys of which none
 * or more than one has a leaf), CB_KEY_MISMATCH, CB_NOT_SUPPORTED (key of no type of ours).
 */
int pki_bundle_parse(const Secret *data, const Secret *passphrase, PkiBundle *ret_bundle,
                     Failure *failure);
void pki_bundle_deinit(PkiBundle *bundle);

/* The library context of the daemon's own crypto: default provider, no openssl.cnf. Never fails late. */
OSSL_LIB_CTX *pki_context(void);
int pki_init(void);
