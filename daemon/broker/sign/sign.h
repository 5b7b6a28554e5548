/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of one signature, after the caller has been allowed: generation, algorithm, length, source, and the
 * check with the public key before it leaves.
 */
#pragma once

#include "base/bytes.h"
#include "base/failure.h"
#include "broker/config/config.h"
#include "broker/sources/sources.h"
#include "core/catalog.h"

typedef struct Signer Signer;

int signer_new(Catalog *catalog, Sources *sources, Signer **ret_signer);
Signer *signer_free(Signer *signer);
/* Who is told; all on the loop, before the use is answered. */
typedef struct SignerEvents {
        /* What a source made of a use of a key: 0, or the status of its failure. CB_NOT_FOUND: it has this key no more. */
        void (*used)(void *userdata, const char *id, uint64_t generation, int status);
        /* Its signature was wrong, and did not leave. */
        void (*held_back)(void *userdata, const char *id, uint64_t generation, Algorithm algorithm);
} SignerEvents;
void signer_observe(Signer *signer, const SignerEvents *events, void *userdata);
void signer_configure(Signer *signer, const Config *config);
DEFINE_CLEANUP(Signer, signer_free)

typedef struct SignRequest {
        const char *id;
        uint64_t generation; /* 0: the current one */
        Algorithm algorithm;
        Bytes input; /* borrowed */
} SignRequest;

/* failure->status 0: the signature; generation: the one that signed. Called exactly once, maybe from within. */
typedef void (*sign_done)(void *userdata, const Failure *failure, uint64_t generation,
                          const Bytes *signature);
void signer_sign(Signer *signer, const SignRequest *request, sign_done done, void *userdata);

/*
 * A TLS 1.3 CertificateVerify (RFC 8446, 4.4.3) and nothing else: what is signed is built here from the transcript's
 * hash, so that a key which is granted for TLS signs no token, document or certificate. No PKCS#1 v1.5, no SHA-1; ECDSA
 * with the curve's own hash.
 */
typedef struct SignTlsRequest {
        const char *id;
        uint64_t generation;
        Algorithm algorithm;
        const char *role;      /* "client" or "server" */
        Bytes transcript_hash; /* 32 or 48 bytes; borrowed */
} SignTlsRequest;
void signer_sign_tls(Signer *signer, const SignTlsRequest *request, sign_done done, void *userdata);

/* RSA-OAEP; never PKCS#1 v1.5. output: the plaintext, wiped after `done` returns. */
typedef struct DecryptRequest {
        const char *id;
        uint64_t generation;
        const char *algorithm; /* "rsa-oaep-sha1", "rsa-oaep-sha256" */
        Bytes ciphertext;      /* borrowed */
} DecryptRequest;
void signer_decrypt(Signer *signer, const DecryptRequest *request, sign_done done, void *userdata);
