/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification with a key of the broker: some programs check what they signed. The native public key
 * does it, in the provider's own library context; the broker is never asked.
 */
#include "signature.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "provider.h"

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)

/* Told apart from a signature that is wrong, for which no error is raised. */
#define NOT_BEGUN "no verification could be begun with the public half of the key"

static int verify_set_params(const Signature *signature, EVP_PKEY_CTX *native)
{
        if (signature->digest) {
                const EVP_MD *md = provider_md(signature->provider, signature->digest);

                if (!md || EVP_PKEY_CTX_set_signature_md(native, md) <= 0)
                        return 0;
        }
        if (signature->padding == PADDING_PSS) {
                int salt = signature->salt == SALT_AUTO_DIGEST_MAX ? RSA_PSS_SALTLEN_AUTO
                                                                   : signature->salt;

                if (EVP_PKEY_CTX_set_rsa_padding(native, RSA_PKCS1_PSS_PADDING) <= 0 ||
                    EVP_PKEY_CTX_set_rsa_pss_saltlen(native, salt) <= 0)
                        return 0;
                if (signature->mgf1 &&
                    EVP_PKEY_CTX_set_rsa_mgf1_md_name(native, signature->mgf1->name, NULL) <= 0)
                        return 0;
        }
        return 1;
}

static int verify_input(const Signature *signature, const uint8_t *given, size_t n_given,
                        const uint8_t *input, size_t n_input)
{
        CLEANUP(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *native = NULL;

        native = EVP_PKEY_CTX_new_from_pkey(provider_libctx(signature->provider),
                                            key_public(signature->key), PROVIDER_OTHERS);
        if (!native || EVP_PKEY_verify_init(native) <= 0 || !verify_set_params(signature, native)) {
                RAISE(signature->provider, REASON_SYSTEM, NOT_BEGUN);
                return 0;
        }
        return EVP_PKEY_verify(native, given, n_given, input, n_input) == 1;
}

int signature_verify_init(void *context, void *key, const OSSL_PARAM params[])
{
        return signature_init(context, EVP_PKEY_OP_VERIFY, false, key, params);
}

int signature_verify(void *context, const uint8_t *given, size_t n_given, const uint8_t *input,
                     size_t n_input)
{
        return signature_is_ready(context, EVP_PKEY_OP_VERIFY, false) &&
               verify_input(context, given, n_given, input, n_input);
}

int signature_digest_verify_init(void *context, const char *name, void *key,
                                 const OSSL_PARAM params[])
{
        return signature_digest_init(context, EVP_PKEY_OP_VERIFYCTX, name, key, params);
}

int signature_digest_verify_final(void *context, const uint8_t *given, size_t n_given)
{
        Signature *signature = context;
        uint8_t digest[EVP_MAX_MD_SIZE];

        return signature_is_ready(signature, EVP_PKEY_OP_VERIFYCTX, true) &&
               signature_hash_end(signature, digest) &&
               verify_input(signature, given, n_given, digest, signature->digest->size);
}

/* Ed25519 alone: it has no digest, so the message must be there as a whole. */
int signature_verify_message(void *context, const uint8_t *given, size_t n_given,
                             const uint8_t *message, size_t n_message)
{
        Signature *signature = context;
        CLEANUP(EVP_MD_CTX_freep) EVP_MD_CTX *native = NULL;

        if (!signature_is_ready(signature, EVP_PKEY_OP_VERIFYCTX, true))
                return 0;

        native = EVP_MD_CTX_new();
        if (!native ||
            !EVP_DigestVerifyInit_ex(native, NULL, NULL, provider_libctx(signature->provider),
                                     PROVIDER_OTHERS, key_public(signature->key), NULL)) {
                RAISE(signature->provider, REASON_SYSTEM, NOT_BEGUN);
                return 0;
        }
        return EVP_DigestVerify(native, given, n_given, message, n_message) == 1;
}
