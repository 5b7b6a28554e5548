/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures: verification with a public key, and the forms that tokens, vaults and TLS each want.
 * Stateless. Invariant: 0 from pki_verify() means that libcrypto accepted the signature; whatever
 * cannot be checked is an error, never a yes. Sizes come from algorithm and key, not from the
 * signature.
 */
#include "pki/signature.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>

#include "core/digest.h"
#include "pki/key.h"

#define ECDSA_HALF_MAX 66 /* P-521 */

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

static void ecdsa_sig_freep(ECDSA_SIG **place)
{
        ECDSA_SIG_free(*place);
}

static int verify_message(EVP_PKEY *key, const Bytes *input, const Bytes *signature)
{
        CLEANUP(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

        if (!ctx)
                return -ENOMEM;
        if (EVP_DigestVerifyInit_ex(ctx, NULL, NULL, pki_context(), NULL, key, NULL) != 1)
                return CB_FAILED;
        if (EVP_DigestVerify(ctx, signature->data, signature->n,
                             input->data ? input->data : (const uint8_t *)"", input->n) != 1)
                return CB_KEY_MISMATCH;
        return 0;
}

static bool set_padding(EVP_PKEY_CTX *ctx, const AlgorithmRow *row, const EVP_MD *md)
{
        switch (row->padding) {
        case PADDING_PKCS1:
                return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
        case PADDING_PSS:
                return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
                       EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1 &&
                       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
        case PADDING_NONE:
                return true;
        case _PADDING_N:
                break;
        }
        return false;
}

static int verify_digest(EVP_PKEY *key, const AlgorithmRow *row, const Bytes *input,
                         const Bytes *signature)
{
        CLEANUP(pkey_ctx_freep) EVP_PKEY_CTX *ctx = NULL;
        CLEANUP(md_freep) EVP_MD *md = NULL;

        ctx = EVP_PKEY_CTX_new_from_pkey(pki_context(), key, NULL);
        md = EVP_MD_fetch(pki_context(), digest_name(row->digest), NULL);
        if (!ctx || !md)
                return -ENOMEM;
        if (EVP_PKEY_verify_init(ctx) != 1 || EVP_PKEY_CTX_set_signature_md(ctx, md) != 1 ||
            !set_padding(ctx, row, md))
                return CB_FAILED;
        if (EVP_PKEY_verify(ctx, signature->data, signature->n, input->data, input->n) != 1)
                return CB_KEY_MISMATCH;
        return 0;
}

static int verify(const Bytes *spki, Algorithm algorithm, const Bytes *input,
                  const Bytes *signature)
{
        CLEANUP(key_freep) EVP_PKEY *key = NULL;
        const AlgorithmRow *row;
        KeyType type;
        int r;

        if (algorithm <= ALGORITHM_NONE || algorithm >= _ALGORITHM_N)
                return CB_NOT_SUPPORTED;
        if (!algorithm_takes_input(algorithm, input->n))
                return CB_INVALID_ARGUMENT;
        key = key_from_spki(spki);
        if (!key) {
                ERR_clear_error();
                return CB_FAILED;
        }
        type = key_type_of(key);
        if (type == KEY_TYPE_NONE || !algorithm_fits_key(algorithm, type))
                return CB_NOT_SUPPORTED;
        if (signature->n == 0 || signature->n > key_type_row(type)->n_signature_max)
                return CB_KEY_MISMATCH;

        row = algorithm_row(algorithm);
        if (row->family == KEY_ED25519)
                r = verify_message(key, input, signature);
        else
                r = verify_digest(key, row, input, signature);
        ERR_clear_error(); /* a thread's queue must not grow with refused signatures */
        return r;
}

int pki_verify(const Bytes *spki, Algorithm algorithm, const Bytes *input, const Bytes *signature)
{
        unsigned n_before = pki_memory_failures();
        int r = verify(spki, algorithm, input, signature);

        return pki_memory_outcome(n_before, r, NULL);
}

static int read_key_type(const Bytes *spki, KeyType *ret_type, Failure *failure)
{
        CLEANUP(key_freep) EVP_PKEY *key = key_from_spki(spki);
        KeyType type;

        ERR_clear_error();
        if (!key)
                return fail(failure, CB_BAD_BUNDLE, "what was given is no public key in DER");
        type = key_type_of(key);
        if (type == KEY_TYPE_NONE)
                return fail_key_type(key, NULL, "the key", failure);
        *ret_type = type;
        return 0;
}

int pki_key_type(const Bytes *spki, KeyType *ret_type, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = read_key_type(spki, ret_type, failure);

        return pki_memory_outcome(n_before, r, failure);
}

/* RFC 8017, 9.2, note 1: everything ahead of the hash. */
static const struct {
        uint8_t n;
        uint8_t data[19];
} digest_info_heads[_DIGEST_N] = {
        [DIGEST_SHA1] = { 15,
                          { 0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05,
                            0x00, 0x04, 0x14 } },
        [DIGEST_SHA256] = { 19,
                            { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
                              0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 } },
        [DIGEST_SHA384] = { 19,
                            { 0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
                              0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30 } },
        [DIGEST_SHA512] = { 19,
                            { 0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
                              0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40 } },
};

static bool is_hash(Digest digest, const Bytes *hash)
{
        return digest > DIGEST_NONE && digest < _DIGEST_N && hash->n == digest_length(digest);
}

int pki_digest_info(Digest digest, const Bytes *hash, Bytes *ret_info)
{
        uint8_t info[19 + DIGEST_LENGTH_MAX];
        size_t n;

        if (!is_hash(digest, hash))
                return CB_INVALID_ARGUMENT;
        n = digest_info_heads[digest].n;
        memcpy(info, digest_info_heads[digest].data, n);
        memcpy(info + n, hash->data, hash->n);
        return bytes_set(ret_info, info, n + hash->n);
}

static bool hash_into(Digest digest, const void *data, size_t n, uint8_t out[DIGEST_LENGTH_MAX])
{
        return EVP_Q_digest(pki_context(), digest_name(digest), NULL, data, n, out, NULL) == 1;
}

/* MGF1 (RFC 8017, B.2.1) over `seed`, XORed onto `data`. */
static bool mgf1_xor(Digest digest, const uint8_t *seed, size_t n_seed, uint8_t *data, size_t n)
{
        uint8_t block[DIGEST_LENGTH_MAX + 4], mask[DIGEST_LENGTH_MAX];
        size_t n_hash = digest_length(digest);

        memcpy(block, seed, n_seed);
        for (size_t done = 0, counter = 0; done < n; done += n_hash, counter++) {
                block[n_seed] = block[n_seed + 1] = 0;
                block[n_seed + 2] = (uint8_t)(counter >> 8);
                block[n_seed + 3] = (uint8_t)counter;
                if (!hash_into(digest, block, n_seed + 4, mask))
                        return false;
                for (size_t i = 0; i < n_hash && done + i < n; i++)
                        data[done + i] ^= mask[i];
        }
        return true;
}

/* H = Hash(eight zeros || mHash || salt) */
static bool pss_hash(Digest digest, const Bytes *hash, const uint8_t *salt, uint8_t *ret_h)
{
        uint8_t m[8 + 2 * DIGEST_LENGTH_MAX] = { 0 };

        memcpy(m + 8, hash->data, hash->n);
        memcpy(m + 8 + hash->n, salt, hash->n);
        return hash_into(digest, m, 8 + 2 * hash->n, ret_h);
}

static int pss_encode(Digest digest, const Bytes *hash, unsigned modulus_bits, Bytes *ret_encoded)
{
        uint8_t em[512] = { 0 }, salt[DIGEST_LENGTH_MAX], h[DIGEST_LENGTH_MAX];
        size_t n = (modulus_bits + 7) / 8, n_hash = hash->n, n_db, n_salt_at;

        /* Whole bytes, as all our sizes are: then the encoding is as long as the modulus. */
        if (!is_hash(digest, hash) || modulus_bits < 2048 || modulus_bits > 4096 ||
            modulus_bits % 8 != 0)
                return CB_INVALID_ARGUMENT;
        if (RAND_bytes_ex(pki_context(), salt, n_hash, 0) != 1 || !pss_hash(digest, hash, salt, h))
                return CB_FAILED;

        /* em = maskedDB || H || 0xbc, DB = zeros || 0x01 || salt */
        n_db = n - n_hash - 1;
        n_salt_at = n_db - n_hash;
        em[n_salt_at - 1] = 0x01;
        memcpy(em + n_salt_at, salt, n_hash);
        if (!mgf1_xor(digest, h, n_hash, em, n_db))
                return CB_FAILED;
        em[0] &= 0x7f;
        memcpy(em + n_db, h, n_hash);
        em[n - 1] = 0xbc;
        return bytes_set(ret_encoded, em, n);
}

int pki_pss_encode(Digest digest, const Bytes *hash, unsigned modulus_bits, Bytes *ret_encoded)
{
        unsigned n_before = pki_memory_failures();
        int r = pss_encode(digest, hash, modulus_bits, ret_encoded);

        return pki_memory_outcome(n_before, r, NULL);
}

int pki_ecdsa_to_der(const Bytes *raw, Bytes *ret_der)
{
        CLEANUP(ecdsa_sig_freep) ECDSA_SIG *sig = ECDSA_SIG_new();
        size_t n_half = raw->n / 2;
        unsigned char *der = NULL;
        BIGNUM *r, *s;
        int n, error;

        if (!sig)
                return -ENOMEM;
        if (raw->n % 2 != 0 || n_half == 0 || n_half > ECDSA_HALF_MAX)
                return CB_INVALID_ARGUMENT;
        r = BN_bin2bn(raw->data, (int)n_half, NULL);
        s = BN_bin2bn(raw->data + n_half, (int)n_half, NULL);
        if (!r || !s || !ECDSA_SIG_set0(sig, r, s)) {
                BN_free(r);
                BN_free(s);
                return -ENOMEM;
        }
        n = i2d_ECDSA_SIG(sig, &der);
        if (n <= 0)
                return -ENOMEM;
        error = bytes_set(ret_der, der, (size_t)n);
        OPENSSL_free(der);
        return error;
}

/* One form alone: what encodes again to other bytes is BER, or has something after it. */
static bool is_canonical(const ECDSA_SIG *sig, const Bytes *der)
{
        unsigned char *again = NULL;
        int n = i2d_ECDSA_SIG(sig, &again);
        bool equal = n > 0 && (size_t)n == der->n && memcmp(again, der->data, der->n) == 0;

        OPENSSL_free(again);
        return equal;
}

static int ecdsa_from_der(const Bytes *der, size_t n_half, Bytes *ret_raw)
{
        CLEANUP(ecdsa_sig_freep) ECDSA_SIG *sig = NULL;
        uint8_t raw[2 * ECDSA_HALF_MAX];
        const unsigned char *p = der->data;
        const BIGNUM *r, *s;

        if (n_half == 0 || n_half > ECDSA_HALF_MAX || der->n == 0 ||
            der->n > 2 * ECDSA_HALF_MAX + 16)
                return CB_INVALID_ARGUMENT;
        sig = d2i_ECDSA_SIG(NULL, &p, (long)der->n);
        ERR_clear_error();
        if (!sig || !is_canonical(sig, der))
                return CB_INVALID_ARGUMENT;
        ECDSA_SIG_get0(sig, &r, &s);
        if (BN_is_negative(r) || BN_is_negative(s) || BN_bn2binpad(r, raw, (int)n_half) < 0 ||
            BN_bn2binpad(s, raw + n_half, (int)n_half) < 0)
                return CB_INVALID_ARGUMENT;
        return bytes_set(ret_raw, raw, 2 * n_half);
}

int pki_ecdsa_from_der(const Bytes *der, size_t n_half, Bytes *ret_raw)
{
        unsigned n_before = pki_memory_failures();
        int r = ecdsa_from_der(der, n_half, ret_raw);

        return pki_memory_outcome(n_before, r, NULL);
}

static int hash_of(Digest digest, const void *data, size_t n, Bytes *ret_hash)
{
        uint8_t hash[DIGEST_LENGTH_MAX];

        if (digest <= DIGEST_NONE || digest >= _DIGEST_N)
                return CB_INVALID_ARGUMENT;
        if (!hash_into(digest, n > 0 ? data : "", n, hash))
                return CB_FAILED;
        return bytes_set(ret_hash, hash, digest_length(digest));
}

int pki_hash(Digest digest, const void *data, size_t n, Bytes *ret_hash)
{
        unsigned n_before = pki_memory_failures();
        int r = hash_of(digest, data, n, ret_hash);

        return pki_memory_outcome(n_before, r, NULL);
}
