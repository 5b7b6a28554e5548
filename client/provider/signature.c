/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures: OpenSSL's calls, turned into an algorithm of the contract and an input for it.
 *
 * Every init, every parameter and the probe for the size are local and cheap: libssl makes dozens of
 * them to find out what a key can do. The broker is asked in sign_input() and sign_tls13() alone. Messages are hashed
 * here; they come through sign_message() or a final.
 *
 * A message that is known as a whole passes through sign_message(), in one piece. There it is told whether it
 * is a TLS 1.3 CertificateVerify, for which the broker asks for less than for an ordinary signature.
 */
#include "operations.h"

#include <openssl/core_dispatch.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "provider.h"
#include "signature.h"

/* The most that the broker takes for Ed25519, whose input is the message. */
#define MESSAGE_MAX 65536

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

/* ------------------------------------------------------------------ the context */

static void signature_free(void *context)
{
        Signature *signature = context;

        if (!signature)
                return;
        EVP_MD_CTX_free(signature->hash);
        key_unref(signature->key);
        free(signature);
}

static inline void signature_freep(Signature **signature)
{
        signature_free(*signature);
}

static void *signature_new(Provider *provider, KeyType type)
{
        Signature *signature = calloc(1, sizeof(*signature));

        if (!signature) {
                RAISE(provider, REASON_SYSTEM, "no memory for a signature");
                return NULL;
        }
        signature->provider = provider;
        signature->type = type;
        signature_reset_params(signature);
        return signature;
}

static void *signature_new_rsa(void *provider, const char *properties)
{
        return signature_new(provider, KEY_RSA);
}

static void *signature_new_ecdsa(void *provider, const char *properties)
{
        return signature_new(provider, KEY_EC);
}

static void *signature_new_ed25519(void *provider, const char *properties)
{
        return signature_new(provider, KEY_ED25519);
}

static void *signature_dup(void *context)
{
        const Signature *from = context;
        CLEANUP(signature_freep) Signature *to = malloc(sizeof(*to));

        if (!to) {
                RAISE(from->provider, REASON_SYSTEM, "no memory for a signature");
                return NULL;
        }

        *to = *from;
        to->hash = NULL;
        if (to->key)
                key_ref(to->key);
        if (from->hash) {
                to->hash = EVP_MD_CTX_new();
                if (!to->hash || !EVP_MD_CTX_copy_ex(to->hash, from->hash)) {
                        RAISE(from->provider, REASON_SYSTEM, "no memory for a digest");
                        return NULL;
                }
        }

        return TAKE(to);
}

/* ------------------------------------------------------------------ signing */

static int sign_input(const Signature *signature, const Digest *digest, const uint8_t *input,
                      size_t n_input, uint8_t *out, size_t *ret_n)
{
        const Algorithm *algorithm = signature_algorithm(signature, digest);

        *ret_n = key_max_size(signature->key);
        return algorithm && key_sign(signature->key, algorithm->name, input, n_input, out, ret_n);
}

bool signature_is_ready(const Signature *signature, int operation, bool hashes)
{
        if (signature->key && signature->operation == operation && signature->hashes == hashes)
                return true;

        RAISE(signature->provider, REASON_STATE, "the operation was not begun");
        return false;
}

/* 1: it was the probe for the size, and is answered; 0: go on; -1: not begun, or there is too little room. */
static int signature_begin(const Signature *signature, int operation, bool hashes,
                           const uint8_t *out, size_t *ret_n, size_t n_room)
{
        size_t max;

        if (!signature_is_ready(signature, operation, hashes))
                return -1;

        max = key_max_size(signature->key);
        if (!out) {
                *ret_n = max;
                return 1;
        }
        if (n_room < max) {
                RAISE(signature->provider, REASON_ROOM, "a signature takes %zu bytes", max);
                return -1;
        }
        return 0;
}

int signature_init(Signature *signature, int operation, bool hashes, Key *key,
                   const OSSL_PARAM params[])
{
        if (key && key_type(key) != signature->type)
                return 0;
        if (key) {
                key_unref(signature->key);
                signature->key = key_ref(key);
        }
        if (!signature->key || !key_public(signature->key)) {
                RAISE(signature->provider, REASON_STATE, "no key is set");
                return 0;
        }

        EVP_MD_CTX_free(signature->hash);
        signature->hash = NULL;
        signature->operation = operation;
        signature->hashes = hashes;
        signature_reset_params(signature);
        return signature_set_params(signature, params);
}

static int signature_sign_init(void *context, void *key, const OSSL_PARAM params[])
{
        return signature_init(context, EVP_PKEY_OP_SIGN, false, key, params);
}

/*
 * EVP_PKEY_sign() without a digest: PKCS #1 v1.5 is then given a DigestInfo that the caller made, and the
 * others a bare digest that is told by its length. A set digest demands its own length.
 */
static const Digest *signature_told_digest(const Signature *signature, const uint8_t **input,
                                           size_t *n_input)
{
        const Digest *digest = signature->digest;

        if (!digest && signature->padding == PADDING_PKCS1) {
                digest = digest_find_by_info(*input, *n_input);
                if (digest) {
                        *input += digest->n_info;
                        *n_input = digest->size;
                }
        } else if (!digest) {
                digest = digest_find_by_size(*n_input);
        }

        if (!digest || *n_input != digest->size) {
                RAISE(signature->provider, REASON_INPUT, "%zu bytes are not %s%s%s", *n_input,
                      digest ? "a digest of " : "the digest of a known algorithm",
                      digest ? digest->name : "",
                      signature->padding == PADDING_PKCS1 && !digest ? " in a DigestInfo" : "");
                return NULL;
        }
        return digest;
}

static int signature_sign(void *context, uint8_t *out, size_t *ret_n, size_t n_room,
                          const uint8_t *input, size_t n_input)
{
        Signature *signature = context;
        const Digest *digest;
        int r;

        r = signature_begin(signature, EVP_PKEY_OP_SIGN, false, out, ret_n, n_room);
        if (r != 0)
                return r > 0;

        digest = signature_told_digest(signature, &input, &n_input);
        return digest && sign_input(signature, digest, input, n_input, out, ret_n);
}

/* ------------------------------------------------------------------ hashing, then signing */

static int hash_begin(Signature *signature)
{
        const EVP_MD *md = provider_md(signature->provider, signature->digest);
        CLEANUP(EVP_MD_CTX_freep) EVP_MD_CTX *hash = NULL;

        if (!md)
                return 0;
        hash = EVP_MD_CTX_new();
        if (!hash || !EVP_DigestInit_ex2(hash, md, NULL)) {
                RAISE(signature->provider, REASON_SYSTEM, "no memory for a digest");
                return 0;
        }

        signature->hash = TAKE(hash);
        return 1;
}

/* Whoever does not look at what an update says gets no signature of the rest. */
static int hash_add(Signature *signature, const uint8_t *data, size_t n_data)
{
        if ((signature->hash || hash_begin(signature)) &&
            EVP_DigestUpdate(signature->hash, data, n_data))
                return 1;

        signature->operation = EVP_PKEY_OP_UNDEFINED;
        return 0;
}

int signature_digest_init(Signature *signature, int operation, const char *name, Key *key,
                          const OSSL_PARAM params[])
{
        if (!signature_init(signature, operation, true, key, NULL))
                return 0;

        if (signature->type == KEY_ED25519) {
                if (name && *name) {
                        RAISE(signature->provider, REASON_DIGEST,
                              "Ed25519 keys sign messages, not a %s digest", name);
                        return 0;
                }
                return signature_set_params(signature, params);
        }

        if (!signature_set_digest(signature, name && *name ? name : "SHA256"))
                return 0;
        return signature_set_params(signature, params);
}

static int signature_digest_sign_init(void *context, const char *name, void *key,
                                      const OSSL_PARAM params[])
{
        return signature_digest_init(context, EVP_PKEY_OP_SIGNCTX, name, key, params);
}

static int signature_digest_update(void *context, const uint8_t *data, size_t n_data)
{
        Signature *signature = context;

        if (signature->operation == EVP_PKEY_OP_UNDEFINED || !signature->hashes ||
            !signature->digest) {
                RAISE(signature->provider, REASON_STATE, "the operation was not begun");
                return 0;
        }
        return hash_add(signature, data, n_data);
}

int signature_hash_end(Signature *signature, uint8_t *ret_digest)
{
        unsigned n;
        int ok;

        if (!signature->hash && !hash_begin(signature))
                return 0;

        ok = EVP_DigestFinal_ex(signature->hash, ret_digest, &n) && n == signature->digest->size;
        EVP_MD_CTX_free(signature->hash);
        signature->hash = NULL;
        if (!ok)
                signature->operation = EVP_PKEY_OP_UNDEFINED;
        return ok;
}

static int signature_digest_sign_final(void *context, uint8_t *out, size_t *ret_n, size_t n_room)
{
        Signature *signature = context;
        uint8_t digest[EVP_MAX_MD_SIZE];
        int r;

        r = signature_begin(signature, EVP_PKEY_OP_SIGNCTX, true, out, ret_n, n_room);
        if (r != 0)
                return r > 0;

        return signature_hash_end(signature, digest) &&
               sign_input(signature, signature->digest, digest, signature->digest->size, out,
                          ret_n);
}

/* TLS 1.3 has no PKCS #1 v1.5; what is signed so is none of its messages, whatever it looks like. */
static int sign_tls13(const Signature *signature, const Tls13Verify *verify, uint8_t *out,
                      size_t *ret_n)
{
        const Algorithm *algorithm = signature_algorithm(signature, signature->digest);

        *ret_n = key_max_size(signature->key);
        return algorithm && key_sign_tls(signature->key, algorithm->name, verify, out, ret_n);
}

static int sign_message(Signature *signature, const uint8_t *message, size_t n_message,
                        uint8_t *out, size_t *ret_n)
{
        uint8_t digest[EVP_MAX_MD_SIZE];
        Tls13Verify verify;

        /* As a whole only: what an update has begun is not known here. */
        if (!signature->hash && signature->padding != PADDING_PKCS1 &&
            tls13_recognise(message, n_message, &verify))
                return sign_tls13(signature, &verify, out, ret_n);

        if (!signature->digest) {
                if (n_message > MESSAGE_MAX) {
                        RAISE(signature->provider, REASON_INPUT,
                              "an Ed25519 message has at most %d bytes", MESSAGE_MAX);
                        return 0;
                }
                return sign_input(signature, NULL, message, n_message, out, ret_n);
        }

        return signature_digest_update(signature, message, n_message) &&
               signature_hash_end(signature, digest) &&
               sign_input(signature, signature->digest, digest, signature->digest->size, out,
                          ret_n);
}

static int signature_digest_sign(void *context, uint8_t *out, size_t *ret_n, size_t n_room,
                                 const uint8_t *message, size_t n_message)
{
        Signature *signature = context;
        int r;

        r = signature_begin(signature, EVP_PKEY_OP_SIGNCTX, true, out, ret_n, n_room);
        if (r != 0)
                return r > 0;

        return sign_message(signature, message, n_message, out, ret_n);
}

/* ------------------------------------------------------------------ tables */

#define FUNCTION(id, function)                                                                     \
        {                                                                                          \
                OSSL_FUNC_SIGNATURE_##id, (void (*)(void))(function)                               \
        }
#define COMMON_FUNCTIONS(type)                                                                     \
        FUNCTION(NEWCTX, signature_new_##type), FUNCTION(FREECTX, signature_free),                 \
                FUNCTION(DUPCTX, signature_dup),                                                   \
                FUNCTION(DIGEST_SIGN_INIT, signature_digest_sign_init),                            \
                FUNCTION(DIGEST_SIGN, signature_digest_sign),                                      \
                FUNCTION(DIGEST_VERIFY_INIT, signature_digest_verify_init),                        \
                FUNCTION(GET_CTX_PARAMS, signature_get_params),                                    \
                FUNCTION(GETTABLE_CTX_PARAMS, signature_gettable_params)
#define DIGEST_FUNCTIONS                                                                           \
        FUNCTION(SIGN_INIT, signature_sign_init), FUNCTION(SIGN, signature_sign),                  \
                FUNCTION(VERIFY_INIT, signature_verify_init), FUNCTION(VERIFY, signature_verify),  \
                FUNCTION(DIGEST_SIGN_UPDATE, signature_digest_update),                             \
                FUNCTION(DIGEST_SIGN_FINAL, signature_digest_sign_final),                          \
                FUNCTION(DIGEST_VERIFY_UPDATE, signature_digest_update),                           \
                FUNCTION(DIGEST_VERIFY_FINAL, signature_digest_verify_final),                      \
                FUNCTION(SET_CTX_PARAMS, signature_set_params),                                    \
                FUNCTION(SETTABLE_CTX_PARAMS, signature_settable_params)

static const OSSL_DISPATCH signature_rsa_functions[] = {
        COMMON_FUNCTIONS(rsa),
        DIGEST_FUNCTIONS,
        { 0, NULL },
};

static const OSSL_DISPATCH signature_ecdsa_functions[] = {
        COMMON_FUNCTIONS(ecdsa),
        DIGEST_FUNCTIONS,
        { 0, NULL },
};

static const OSSL_DISPATCH signature_ed25519_functions[] = {
        COMMON_FUNCTIONS(ed25519),
        FUNCTION(DIGEST_VERIFY, signature_verify_message),
        { 0, NULL },
};

static const OSSL_ALGORITHM algorithms[] = {
        { "RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=certbroker", signature_rsa_functions,
          "RSA signatures by certbrokerd" },
        { "ECDSA", "provider=certbroker", signature_ecdsa_functions,
          "ECDSA signatures by certbrokerd" },
        { "ED25519:1.3.101.112", "provider=certbroker", signature_ed25519_functions,
          "Ed25519 signatures by certbrokerd" },
        { NULL },
};

const OSSL_ALGORITHM *signature_algorithms(void)
{
        return algorithms;
}
