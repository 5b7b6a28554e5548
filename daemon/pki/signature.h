/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures and their forms: verification, DigestInfo, ECDSA raw and DER, TLS 1.3 content. */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "core/algorithm.h"

/* Does the signature over `input` (digest or message, as the algorithm asks) fit this public key? */
int pki_verify(const Bytes *spki, Algorithm algorithm, const Bytes *input, const Bytes *signature);

/* The key's type; CB_NOT_SUPPORTED for what is none of ours, CB_BAD_BUNDLE for what is no key. */
int pki_key_type(const Bytes *spki, KeyType *ret_type, Failure *failure);

/* PKCS#1 v1.5: DER DigestInfo around a digest. */
int pki_digest_info(Digest digest, const Bytes *hash, Bytes *ret_info);
/* EMSA-PSS encoding (RFC 8017, 9.1.1) for a token with raw RSA only: salt as long as the digest. */
int pki_pss_encode(Digest digest, const Bytes *hash, unsigned modulus_bits, Bytes *ret_encoded);

/* r||s of equal halves ↔ ECDSA-Sig-Value (RFC 3279, 2.2.3). */
int pki_ecdsa_to_der(const Bytes *raw, Bytes *ret_der);
int pki_ecdsa_from_der(const Bytes *der, size_t n_half, Bytes *ret_raw);

int pki_hash(Digest digest, const void *data, size_t n, Bytes *ret_hash);
