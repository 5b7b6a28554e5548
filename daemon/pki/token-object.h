/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the objects of a PKCS#11 token are made of: parts of keys as attributes hold them, to and from
 * SubjectPublicKeyInfo, and the names in a certificate. Used by a source's process alone.
 */
#pragma once

#include "base/bytes.h"
#include "base/failure.h"
#include "base/secret.h"
#include "core/algorithm.h"

/* As <openssl/types.h> has it. */
typedef struct evp_pkey_st EVP_PKEY;

typedef struct PkiPublicParts {
        KeyType type;
        Bytes modulus;  /* RSA: big-endian, no leading zero */
        Bytes exponent; /* RSA */
        Bytes params;   /* EC: the curve's OID in DER; Ed25519: PrintableString "edwards25519" */
        Bytes point;    /* EC: 04||x||y; Ed25519: the 32 bytes. Not wrapped */
} PkiPublicParts;

void pki_public_parts_deinit(PkiPublicParts *parts);
/* CB_NOT_SUPPORTED: a key of no type of ours. */
int pki_public_parts(const Bytes *spki, PkiPublicParts *ret_parts, Failure *failure);
/*
 * The other way: RSA from modulus and exponent, EC and Ed25519 from params and point; the point may be
 * wrapped in an OCTET STRING or not, as vendors differ. `type` is found out. CB_NOT_SUPPORTED as above,
 * CB_BAD_BUNDLE where the parts make no key.
 */
int pki_public_key_from_parts(const PkiPublicParts *parts, Bytes *ret_spki, Failure *failure);
/* The type for a curve's CKA_EC_PARAMS (an OID, or a PrintableString as old Ed25519 has it); KEY_TYPE_NONE: none of ours. */
KeyType pki_curve_type(const Bytes *params);
/* The type for an RSA modulus; KEY_TYPE_NONE: a length that is none of ours. */
KeyType pki_modulus_type(const Bytes *modulus);
/* DER OCTET STRING around a point. */
int pki_point_wrap(const Bytes *point, Bytes *ret_der);

typedef struct PkiPart {
        const uint8_t *data; /* in `store` */
        size_t n;
} PkiPart;

typedef struct PkiPrivateParts {
        Secret *store;
        PkiPart value; /* RSA: the private exponent; EC: the scalar, of the order's length; Ed25519: the seed */
        PkiPart prime1, prime2, exponent1, exponent2, coefficient; /* RSA only */
} PkiPrivateParts;

void pki_private_parts_deinit(PkiPrivateParts *parts);
/* CB_NOT_SUPPORTED: an RSA key without its primes. */
int pki_private_parts(const EVP_PKEY *key, KeyType type, PkiPrivateParts *ret_parts,
                      Failure *failure);

typedef struct PkiCertificateNames {
        Bytes subject; /* all three in DER, as the certificate has them */
        Bytes issuer;
        Bytes serial_number;
} PkiCertificateNames;

void pki_certificate_names_deinit(PkiCertificateNames *names);
/* CB_BAD_BUNDLE: no certificate. */
int pki_certificate_names(const Bytes *der, PkiCertificateNames *ret_names, Failure *failure);
