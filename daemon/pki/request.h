/* SPDX-License-Identifier: Apache-2.0 */
/* Certification requests (PKCS#10, RFC 2986) for keys that are somewhere else: built here, signed there. */
#pragma once

#include "base/bytes.h"
#include "base/failure.h"
#include "base/macro.h"
#include "core/algorithm.h"

typedef struct PkiRequest PkiRequest;

/*
 * subject: RFC 4514 ("CN=orders,O=Example"), may be empty if there are names. alt_names: `DNS:…`, `IP:…`, `URI:…`,
 * `email:…`. CB_INVALID_ARGUMENT says which part is wrong.
 */
int pki_request_new(const char *subject, char *const *alt_names, const Bytes *spki,
                    PkiRequest **ret_request, Failure *failure);
PkiRequest *pki_request_free(PkiRequest *request);
DEFINE_CLEANUP(PkiRequest, pki_request_free)

/* The algorithm to sign it with, of those that the key can do (bits); ALGORITHM_NONE: none that fits. */
Algorithm pki_request_algorithm(uint32_t algorithms);
/* What is to be signed (CertificationRequestInfo, DER). */
int pki_request_info(PkiRequest *request, Bytes *ret_info);
int pki_request_finish(PkiRequest *request, Algorithm algorithm, const Bytes *signature,
                       Bytes *ret_der);

/* The key of a request that somebody else has made, in our one form; its signature is verified. */
int pki_request_public_key(const Bytes *der, Bytes *ret_spki, Failure *failure);
