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
 * A chain for this SubjectPublicKeyInfo out of what is there: the leaf (the one of several is that
 * of pki_leaf_goes_before()) first, and each issuer after its subject, as a verifier would go whose
 * clock has now_sec. Strangers, duplicates and what has a better twin are left out; the order of
 * `certificates` decides nothing. CB_KEY_MISMATCH: no leaf for the key. CB_BAD_BUNDLE: no
 * certificate, one that is none, too many, or too much to try. *ret_fault is NULL, or owned: what
 * is wrong with the chain, for its user. The leaf is neither self-signed nor has its issuer beside
 * it; something is missing in the middle, as what lies unused shows; a member beside the leaf is
 * not valid at that time. (That the root is not there is as it should be: verifiers have it.)
 */
int pki_chain_sort(const BytesList *certificates, const Bytes *spki, uint64_t now_sec,
                   BytesList *ret_chain, char **ret_fault, Failure *failure);

/*
 * The facts of a chain that was sorted once: those of its leaf (spki as above, or NULL), and which member
 * beside that expires first. A root at its end is a member like any other, here as above.
 */
int pki_chain_facts(const BytesList *chain, const Bytes *spki, CertificateFacts *ret_facts,
                    Failure *failure);

/*
 * That fault as a warning, with what to do about it; remedy NULL: what helps where files are given.
 * *ret_warning is NULL where nothing is wrong. 0 or -ENOMEM.
 */
int pki_chain_warning(const char *fault, const char *remedy, char **ret_warning);

/*
 * Of two certificates for one key, which is taken? A valid one, the one issued last; then one that
 * is not yet valid, the one that will be first; then one that has expired, the one that did last.
 */
bool pki_leaf_goes_before(const CertificateFacts *one, const CertificateFacts *other,
                          uint64_t now_sec);

/*
 * PEM (any number, anything between, PKCS#7 too) or DER (one, or PKCS#7) certificates, in the order in
 * which they come. CB_BAD_BUNDLE: one that cannot be read, or none: then it says what the file is.
 */
int pki_certificates_parse(const void *data, size_t n, BytesList *ret_certificates,
                           Failure *failure);

/* RFC 4514, as properties show it: valid UTF-8, escaped, at most 1 KiB. Owned. */
char *pki_name_of(const void *der, size_t n);
