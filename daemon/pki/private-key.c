/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys in this process. Invariant: once pki_private_keys_lock() has succeeded, what is secret of
 * a key lives in libcrypto's secure heap, which is locked; copies on the way are wiped when freed. Nothing
 * is written to a file or a log.
 */
#include "pki/private-key.h"

#include <certbroker/status.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/buffer.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <string.h>

#include "pki/key.h"

#define LOCKED_BYTES  (2 * 1024 * 1024) /* hundreds of keys, and what signing takes meanwhile */
#define LOCKED_LEAST  64
#define SIGNATURE_MAX 1024

static pthread_once_t lock_once = PTHREAD_ONCE_INIT;
static int lock_error;

static void lock_heap(void)
{
        /* 2 says: there, but not locked. */
        lock_error = CRYPTO_secure_malloc_init(LOCKED_BYTES, LOCKED_LEAST) == 1 ? 0 : -ENOMEM;
}

int pki_private_keys_lock(void)
{
        pthread_once(&lock_once, lock_heap);
        return lock_error;
}

EVP_PKEY *pki_private_key_ref(EVP_PKEY *key)
{
        EVP_PKEY_up_ref(key);
        return key;
}

void pki_private_key_freep(EVP_PKEY **place)
{
        EVP_PKEY_free(*place);
}

static void pkey_ctx_freep(EVP_PKEY_CTX **place)
{
        EVP_PKEY_CTX_free(*place);
}

static void md_ctx_freep(EVP_MD_CTX **place)
{
        EVP_MD_CTX_free(*place);
}

static void md_freep(EVP_MD **place)
{
        EVP_MD_free(*place);
}

static bool set_padding(EVP_PKEY_CTX *ctx, const AlgorithmRow *row, const EVP_MD *md)
{
        if (row->padding == PADDING_PKCS1)
                return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
        if (row->padding == PADDING_PSS)
                return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
                       EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1 &&
                       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
        return true;
}

static bool sign_digest(EVP_PKEY *key, const AlgorithmRow *row, const Bytes *input,
                        uint8_t *signature, size_t *n)
{
        CLEANUP(pkey_ctx_freep) EVP_PKEY_CTX *ctx = NULL;
        CLEANUP(md_freep) EVP_MD *md = NULL;

        ctx = EVP_PKEY_CTX_new_from_pkey(pki_context(), key, NULL);
        md = EVP_MD_fetch(pki_context(), digest_name(row->digest), NULL);
        return ctx && md && EVP_PKEY_sign_init(ctx) == 1 &&
               EVP_PKEY_CTX_set_signature_md(ctx, md) == 1 && set_padding(ctx, row, md) &&
               EVP_PKEY_sign(ctx, signature, n, input->data, input->n) == 1;
}

static bool sign_message(EVP_PKEY *key, const Bytes *input, uint8_t *signature, size_t *n)
{
        CLEANUP(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

        return ctx && EVP_DigestSignInit_ex(ctx, NULL, NULL, pki_context(), NULL, key, NULL) == 1 &&
               EVP_DigestSign(ctx, signature, n, input->data, input->n) == 1;
}

static int sign_with(EVP_PKEY *key, Algorithm algorithm, const Bytes *input, Bytes *ret_signature)
{
        uint8_t signature[SIGNATURE_MAX];
        size_t n = sizeof(signature);
        const AlgorithmRow *row;
        bool done;

        if (!algorithm_fits_key(algorithm, key_type_of(key)))
                return CB_NOT_SUPPORTED;
        if (!algorithm_takes_input(algorithm, input->n))
                return CB_INVALID_ARGUMENT;
        row = algorithm_row(algorithm);
        done = row->family == KEY_ED25519 ? sign_message(key, input, signature, &n)
                                          : sign_digest(key, row, input, signature, &n);
        ERR_clear_error();
        return done ? bytes_set(ret_signature, signature, n) : CB_FAILED;
}

int pki_private_key_sign(EVP_PKEY *key, Algorithm algorithm, const Bytes *input,
                         Bytes *ret_signature)
{
        unsigned n_before = pki_memory_failures();
        int r = sign_with(key, algorithm, input, ret_signature);

        return pki_memory_outcome(n_before, r, NULL);
}

static void bio_freep(BIO **place)
{
        BIO_free_all(*place);
}

int pki_private_key_pem(const EVP_PKEY *key, Secret **ret_pem)
{
        CLEANUP(bio_freep) BIO *bio = BIO_new(BIO_s_secmem());
        CLEANUP(secret_freep) Secret *pem = NULL;
        BUF_MEM *buffer = NULL;
        int r;

        if (!bio)
                return -ENOMEM;
        if (PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1 ||
            BIO_get_mem_ptr(bio, &buffer) != 1) {
                ERR_clear_error();
                return CB_FAILED;
        }
        r = secret_new(buffer->length, &pem);
        if (r < 0)
                return r;
        memcpy(secret_data(pem), buffer->data, buffer->length);
        secret_set_length(pem, buffer->length);
        *ret_pem = TAKE(pem);
        return 0;
}
