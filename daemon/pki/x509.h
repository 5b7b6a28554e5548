/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in, facts out: certificates and chains. Stateless; every input is untrusted and bounded. */
#pragma once

#include "base/bytes.h"
#include "base/failure.h"
#include "core/certificate.h"

#define PKI_CERTIFICATE_MAX (64 * 1024)
#define PKI_CHAIN_MAX       16
#define PKI_CHAIN_BYTES_MAX (96 * 1024) /* of all together: a chain has to fit one wire message */
#define PKI_INPUT_MAX       (1024 * 1024)
#define PKI_NAME_MAX        1024

/*
 * The facts of one certificate. CB_BAD_BUNDLE if it is not exactly one DER certificate;
 * CB_NOT_SUPPORTED if its key is of no type of ours.
 */
int pki_certificate_facts(const void *der, size_t n, CertificateFacts *ret_facts, Failure *failure);
/* The same, sooner where the certificate has this key, as the facts had it when it was read before. */
int pki_certificate_facts_of(const void *der, size_t n, const Bytes *spki,
                             CertificateFacts *ret_facts, Failure *failure);

/*
 * Puts the leaf (the one for this SubjectPublicKeyInfo; spki NULL: the one that issued none of the
 * others) first and each issuer after its subject; drops what is no part of the chain, and
 * duplicates. CB_KEY_MISMATCH: no leaf for the key. CB_BAD_BUNDLE: no certificate, one that is
 * none, too many, or no single leaf. *ret_missing is NULL, or the owned name of an issuer that
 * should be there: the leaf is neither self-signed nor has its issuer beside it. (That the issuer
 * of a CA certificate is not there is as it should be: it is taken for the root, which verifiers
 * have.)
 */
int pki_chain_sort(const BytesList *certificates, const Bytes *spki, BytesList *ret_chain,
                   char **ret_missing, Failure *failure);

/*
 * PEM (any number, anything between, PKCS#7 too) or DER (one, or PKCS#7) certificates, in the order in
 * which they come. CB_BAD_BUNDLE: one that cannot be read, or none: then it says what the file is.
 */
int pki_certificates_parse(const void *data, size_t n, BytesList *ret_certificates,
                           Failure *failure);

/* RFC 4514, as properties show it: valid UTF-8, escaped, at most 1 KiB. Owned. */
char *pki_name_of(const void *der, size_t n);
