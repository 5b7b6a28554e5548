/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys that a source's process has to hold or hand on itself: a vault's exportable ones. The
 * broker never includes this.
 */
#pragma once

#include "base/bytes.h"
#include "base/macro.h"
#include "base/secret.h"
#include "core/algorithm.h"
#include "pki/context.h"

/* As <openssl/types.h> has it. */
typedef struct evp_pkey_st EVP_PKEY;

/*
 * Once, before the first key: from then on libcrypto keeps the numbers of private keys in memory that is
 * locked and left out of dumps. -ENOMEM where so much cannot be locked.
 */
int pki_private_keys_lock(void);

/* Another reference. */
EVP_PKEY *pki_private_key_ref(EVP_PKEY *key);
void pki_private_key_freep(EVP_PKEY **place);

/* Over a digest or, for ed25519, a message. ECDSA in DER. Thread-safe. */
int pki_private_key_sign(EVP_PKEY *key, Algorithm algorithm, const Bytes *input,
                         Bytes *ret_signature);

/* PKCS#8, unencrypted, PEM: for a vault, over TLS. */
int pki_private_key_pem(const EVP_PKEY *key, Secret **ret_pem);
