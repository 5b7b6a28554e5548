/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PBKDF2-HMAC-SHA256 over a PIN, its salt, and what it belongs to. Invariant: no copy of the PIN is
 * made here. It must not decide what a known PIN means.
 */
#include "pki/pin-digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "base/macro.h"
#include "build-config.h"
#include "pki/context.h"

static void kdf_freep(EVP_KDF **place)
{
        EVP_KDF_free(*place);
}

static void kdf_context_freep(EVP_KDF_CTX **place)
{
        EVP_KDF_CTX_free(*place);
}

int pin_digest(Secret *pin, const uint8_t salt[PIN_DIGEST_SALT_LENGTH], const Bytes *context,
               uint8_t ret_digest[PIN_DIGEST_LENGTH])
{
        CLEANUP(kdf_freep) EVP_KDF *kdf = NULL;
        CLEANUP(kdf_context_freep) EVP_KDF_CTX *kdf_context = NULL;
        CLEANUP(bytes_deinit) Bytes salted = { 0 };
        unsigned iterations = PIN_DIGEST_ROUNDS; /* 0.1 s for each log-in */
        OSSL_PARAM params[5];
        char digest[] = "SHA256";

        salted.data = malloc(PIN_DIGEST_SALT_LENGTH + context->n);
        if (!salted.data)
                return -ENOMEM;
        salted.n = PIN_DIGEST_SALT_LENGTH + context->n;
        memcpy(salted.data, salt, PIN_DIGEST_SALT_LENGTH);
        if (context->n > 0)
                memcpy(salted.data + PIN_DIGEST_SALT_LENGTH, context->data, context->n);

        kdf = EVP_KDF_fetch(pki_context(), "PBKDF2", NULL);
        kdf_context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
        if (!kdf_context)
                return -ENOMEM;
        params[0] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, secret_data(pin),
                                                      secret_length(pin));
        params[1] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salted.data, salted.n);
        params[2] = OSSL_PARAM_construct_uint(OSSL_KDF_PARAM_ITER, &iterations);
        params[3] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
        params[4] = OSSL_PARAM_construct_end();
        return EVP_KDF_derive(kdf_context, ret_digest, PIN_DIGEST_LENGTH, params) == 1 ? 0 : -EIO;
}

bool pin_digest_equal(const uint8_t a[PIN_DIGEST_LENGTH], const uint8_t b[PIN_DIGEST_LENGTH])
{
        return CRYPTO_memcmp(a, b, PIN_DIGEST_LENGTH) == 0;
}
