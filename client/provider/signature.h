/* SPDX-License-Identifier: Apache-2.0 */
/* What the three files that make OSSL_OP_SIGNATURE share: the context of one operation. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "algorithm.h"
#include "digest.h"
#include "key.h"

struct ossl_param_st;

typedef struct Provider Provider;

typedef struct Signature {
        Provider *provider;
        KeyType type;
        Key *key;
        int operation; /* EVP_PKEY_OP_… of the last init, 0: none */
        bool hashes;   /* it is given messages, and hashes them */
        const Digest *digest;
        const Digest *mgf1; /* NULL: as digest */
        Padding padding;
        int salt; /* bytes, or one of RSA_PSS_SALTLEN_… */
        struct evp_md_ctx_st *hash;
} Signature;

/* RSA_PSS_SALTLEN_AUTO_DIGEST_MAX of OpenSSL 3.1, and the last of these values. */
#define SALT_AUTO_DIGEST_MAX (-4)
#define SALT_LOWEST          SALT_AUTO_DIGEST_MAX

/* signature.c; each 1, or 0 with an error raised. key: NULL keeps the present one. */
int signature_init(Signature *signature, int operation, bool hashes, Key *key,
                   const struct ossl_param_st *params);
int signature_digest_init(Signature *signature, int operation, const char *name, Key *key,
                          const struct ossl_param_st *params);
bool signature_is_ready(const Signature *signature, int operation, bool hashes);
/* Ends the hash of what was given; ret_digest has room for EVP_MAX_MD_SIZE. */
int signature_hash_end(Signature *signature, uint8_t *ret_digest);

/* parameters.c */
void signature_reset_params(Signature *signature);
int signature_set_digest(Signature *signature, const char *name);
/* The algorithm for what was asked, or NULL with an error raised. */
const Algorithm *signature_algorithm(const Signature *signature, const Digest *digest);
int signature_set_params(void *context, const struct ossl_param_st *params);
int signature_get_params(void *context, struct ossl_param_st *params);
const struct ossl_param_st *signature_settable_params(void *context, void *provider);
const struct ossl_param_st *signature_gettable_params(void *context, void *provider);

/* verify.c: with the native public key, so nobody is asked. */
int signature_verify_init(void *context, void *key, const struct ossl_param_st *params);
int signature_verify(void *context, const uint8_t *given, size_t n_given, const uint8_t *input,
                     size_t n_input);
int signature_digest_verify_init(void *context, const char *name, void *key,
                                 const struct ossl_param_st *params);
int signature_digest_verify_final(void *context, const uint8_t *given, size_t n_given);
/* Ed25519 alone: it has no digest, so the message must be there as a whole. */
int signature_verify_message(void *context, const uint8_t *given, size_t n_given,
                             const uint8_t *message, size_t n_message);
