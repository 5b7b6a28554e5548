/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking off OAEP padding. Invariant: neither the outcome's time nor its error tells which part of the encoding was
 * wrong (Manger's attack): that is libcrypto's own routine, which OpenSSL 3 has nowhere but among its older
 * functions. The message is handed out in locked memory.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "pki/oaep.h"

#include <certbroker/status.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "pki/context.h"

static void md_freep(EVP_MD **place)
{
        EVP_MD_free(*place);
}

static int decode(Digest digest, Secret *encoded, unsigned modulus_bits, Secret **ret_message)
{
        CLEANUP(secret_freep) Secret *message = NULL;
        CLEANUP(md_freep) EVP_MD *md = NULL;
        size_t n = (modulus_bits + 7) / 8;
        int n_message, r;

        if (digest <= DIGEST_NONE || digest >= _DIGEST_N)
                return CB_NOT_SUPPORTED;
        if (secret_length(encoded) == 0 || secret_length(encoded) > n)
                return CB_INVALID_ARGUMENT;
        md = EVP_MD_fetch(pki_context(), digest_name(digest), NULL);
        if (!md)
                return CB_NOT_SUPPORTED;
        r = secret_new(n, &message);
        if (r < 0)
                return r;

        n_message = RSA_padding_check_PKCS1_OAEP_mgf1(
                secret_data(message), (int)n, secret_data(encoded), (int)secret_length(encoded),
                (int)n, NULL, 0, md, md);
        ERR_clear_error();
        if (n_message < 0)
                return CB_INVALID_ARGUMENT;
        secret_set_length(message, (size_t)n_message);
        *ret_message = TAKE(message);
        return 0;
}

int pki_oaep_decode(Digest digest, Secret *encoded, unsigned modulus_bits, Secret **ret_message)
{
        unsigned n_before = pki_memory_failures();
        int r = decode(digest, encoded, modulus_bits, ret_message);

        return pki_memory_outcome(n_before, r, NULL);
}
