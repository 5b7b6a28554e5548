/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and certificates out of a PEM bundle, in any order: PKCS#8, encrypted PKCS#8 and the older
 * forms of one key type each, those encrypted as RFC 1421 has it too. Invariant: what is decoded or
 * decrypted is in locked memory until libcrypto has it; nothing ever asks on a terminal.
 */
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "pki/certificates.h"
#include "pki/parts.h"
#include "pki/pem.h"

#define IV_MAX         16
#define KEY_BLOCKS_MAX 64

typedef struct PemBundle {
        Parts *parts;
        Passphrase passphrase;
        Failure *failure;
        size_t n_key_blocks; /* of every kind, also those that we do not read */
} PemBundle;

static void pkcs8_freep(PKCS8_PRIV_KEY_INFO **place)
{
        PKCS8_PRIV_KEY_INFO_free(*place);
}

static void sig_freep(X509_SIG **place)
{
        X509_SIG_free(*place);
}

static void cipher_freep(EVP_CIPHER **place)
{
        EVP_CIPHER_free(*place);
}

static void cipher_ctx_freep(EVP_CIPHER_CTX **place)
{
        EVP_CIPHER_CTX_free(*place);
}

static void md_freep(EVP_MD **place)
{
        EVP_MD_free(*place);
}

static int fail_damaged(PemBundle *bundle)
{
        ERR_clear_error();
        return fail(bundle->failure, CB_BAD_BUNDLE, "the bundle's private key is damaged");
}

static int fail_passphrase(PemBundle *bundle)
{
        ERR_clear_error();
        return fail(bundle->failure, CB_BAD_PASSPHRASE,
                    bundle->passphrase.text
                            ? "the passphrase does not open the bundle's private key"
                            : "the bundle's private key is encrypted: give its passphrase");
}

static int read_pkcs8(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        CLEANUP(pkcs8_freep) PKCS8_PRIV_KEY_INFO *pkcs8 = NULL;
        const unsigned char *p = secret_data(der);

        pkcs8 = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)secret_length(der));
        if (!pkcs8)
                return fail_damaged(bundle);
        return parts_add_pkcs8(bundle->parts, pkcs8, bundle->failure);
}

static int read_encrypted_pkcs8(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        CLEANUP(sig_freep) X509_SIG *sig = NULL;
        CLEANUP(pkcs8_freep) PKCS8_PRIV_KEY_INFO *pkcs8 = NULL;
        const unsigned char *p = secret_data(der);
        const X509_ALGOR *algorithm;
        int r;

        sig = d2i_X509_SIG(NULL, &p, (long)secret_length(der));
        if (!sig)
                return fail_damaged(bundle);
        X509_SIG_get0(sig, &algorithm, NULL);
        if (!bundle->passphrase.text)
                return fail_passphrase(bundle);
        r = work_add(&bundle->parts->work, algorithm, bundle->failure);
        if (r)
                return r;
        ERR_clear_error();
        pkcs8 = PKCS8_decrypt_ex(sig, bundle->passphrase.text, bundle->passphrase.n,
                                 pki_context_legacy(), NULL);
        if (pkcs8)
                return parts_add_pkcs8(bundle->parts, pkcs8, bundle->failure);
        if (errors_say_unsupported())
                return fail(bundle->failure, CB_NOT_SUPPORTED,
                            "the bundle's private key is encrypted in a "
                            "way that is not supported: write it with AES-256");
        return fail_passphrase(bundle);
}

/* What OpenSSL has ever written as DEK-Info for a key, as far as it is still worth reading. */
static const char *const dek_ciphers[] = { "AES-128-CBC", "AES-192-CBC", "AES-256-CBC",
                                           "DES-EDE3-CBC", "DES-CBC" };

/* "DEK-Info: CIPHER,IV"; NULL where there is none that we read. */
static const char *parse_dek_info(const PemBlock *block, uint8_t iv[IV_MAX], size_t *ret_n_iv)
{
        static const char mark[] = "DEK-Info: ";
        const char *end = block->headers + block->n_headers;
        const char *p = memmem(block->headers, block->n_headers, mark, sizeof(mark) - 1);

        if (!p)
                return NULL;
        p += sizeof(mark) - 1;
        for (size_t i = 0; i < ELEMENTSOF(dek_ciphers); i++) {
                char hex[2 * IV_MAX + 1];
                size_t n = strlen(dek_ciphers[i]), n_hex = 0;

                if ((size_t)(end - p) <= n || memcmp(p, dek_ciphers[i], n) != 0 || p[n] != ',')
                        continue;
                p += n + 1;
                while (p + n_hex < end && n_hex < 2 * IV_MAX && isxdigit((unsigned char)p[n_hex]))
                        n_hex++;
                memcpy(hex, p, n_hex);
                hex[n_hex] = '\0';
                *ret_n_iv = n_hex / 2;
                return hex_decode(hex, iv, n_hex / 2) == 0 ? dek_ciphers[i] : NULL;
        }
        return NULL;
}

/* In place: OpenSSL's old way, one round of MD5 over passphrase and IV (EVP_BytesToKey). */
static int decrypt_dek(PemBundle *bundle, const char *name, const uint8_t *iv, size_t n_iv,
                       Secret *der)
{
        CLEANUP(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        CLEANUP(cipher_freep) EVP_CIPHER *cipher = NULL;
        CLEANUP(md_freep) EVP_MD *md5 = NULL;
        uint8_t key[EVP_MAX_KEY_LENGTH];
        int n = 0, n_last = 0, n_in = (int)secret_length(der);
        bool opened;

        cipher = EVP_CIPHER_fetch(pki_context_legacy(), name, NULL);
        md5 = EVP_MD_fetch(pki_context_legacy(), "MD5", NULL);
        if (!ctx || !cipher || !md5)
                return fail(bundle->failure, CB_NOT_SUPPORTED,
                            "the bundle's private key is encrypted with "
                            "%s, which is not supported here: write it as PKCS#8 with AES-256",
                            name);
        if ((size_t)EVP_CIPHER_get_iv_length(cipher) != n_iv || n_iv < PKCS5_SALT_LEN)
                return fail_damaged(bundle);
        opened = EVP_BytesToKey(cipher, md5, iv, (const unsigned char *)bundle->passphrase.text,
                                bundle->passphrase.n, 1, key, NULL) > 0 &&
                 EVP_DecryptInit_ex2(ctx, cipher, key, iv, NULL) == 1 &&
                 EVP_DecryptUpdate(ctx, secret_data(der), &n, secret_data(der), n_in) == 1 &&
                 EVP_DecryptFinal_ex(ctx, secret_data(der) + n, &n_last) == 1;
        OPENSSL_cleanse(key, sizeof(key));
        if (!opened)
                return fail_passphrase(bundle);
        secret_set_length(der, (size_t)(n + n_last));
        return 0;
}

/* PKCS#1 or SEC1, where the headers do not say otherwise in the clear. */
static int read_bare_key(PemBundle *bundle, const PemBlock *block, Secret *der, int type)
{
        const unsigned char *p;
        EVP_PKEY *key;

        if (block->headers) {
                uint8_t iv[IV_MAX];
                size_t n_iv = 0;
                const char *cipher = parse_dek_info(block, iv, &n_iv);
                int r;

                if (!cipher)
                        return fail(
                                bundle->failure, CB_NOT_SUPPORTED,
                                "the bundle's private key is encrypted "
                                "in a way that is not supported: write it as PKCS#8 with AES-256");
                if (!bundle->passphrase.text)
                        return fail_passphrase(bundle);
                r = decrypt_dek(bundle, cipher, iv, n_iv, der);
                if (r)
                        return r;
        }
        if (private_key_is_too_long(secret_length(der)))
                return fail_damaged(bundle);
        p = secret_data(der);
        key = d2i_PrivateKey_ex(type, NULL, &p, (long)secret_length(der), pki_context(), NULL);
        if (key)
                return parts_take_key(bundle->parts, key, bundle->failure);
        /* One wrong passphrase in 256 still leaves a padding that looks right. */
        return block->headers ? fail_passphrase(bundle) : fail_damaged(bundle);
}

static int read_pkcs1(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        return read_bare_key(bundle, block, der, EVP_PKEY_RSA);
}

static int read_sec1(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        return read_bare_key(bundle, block, der, EVP_PKEY_EC);
}

static int read_reference(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        return fail(bundle->failure, CB_BAD_BUNDLE,
                    "the bundle holds a reference to a key, and not the key: "
                    "give the file that the key came in");
}

static int read_other(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        bundle->parts->n_unsupported++;
        return 0;
}

static const struct {
        const char *label;
        int (*read)(PemBundle *bundle, const PemBlock *block, Secret *der);
} key_rows[] = {
        { "PRIVATE KEY", read_pkcs8 },        { "ENCRYPTED PRIVATE KEY", read_encrypted_pkcs8 },
        { "RSA PRIVATE KEY", read_pkcs1 },    { "EC PRIVATE KEY", read_sec1 },
        { "DSA PRIVATE KEY", read_other },    { "OPENSSH PRIVATE KEY", read_other },
        { "X25519 PRIVATE KEY", read_other }, { "CERTBROKER KEY REFERENCE", read_reference },
};

static int read_key_block(PemBundle *bundle, const PemBlock *block, size_t row)
{
        CLEANUP(secret_freep) Secret *der = NULL;
        size_t n;
        int r;

        r = secret_new(pem_decoded_max(block), &der);
        if (r < 0)
                return fail(bundle->failure, r, "cannot lock memory for a private key: %s",
                            strerror(-r));
        if (pem_decode(block, secret_data(der), &n) < 0)
                return fail_damaged(bundle);
        secret_set_length(der, n);
        return key_rows[row].read(bundle, block, der);
}

static int read_block(PemBundle *bundle, const PemBlock *block)
{
        int r;

        for (size_t i = 0; i < ELEMENTSOF(key_rows); i++) {
                if (strcmp(block->label, key_rows[i].label) != 0)
                        continue;
                if (++bundle->n_key_blocks > KEY_BLOCKS_MAX)
                        return fail(bundle->failure, CB_BAD_BUNDLE,
                                    "the bundle holds more than %d private keys", KEY_BLOCKS_MAX);
                return read_key_block(bundle, block, i);
        }
        r = certificates_append_block(&bundle->parts->certificates, block);
        if (r > 0)
                return fail(bundle->failure, r,
                            "the bundle holds a certificate that cannot be read, or "
                            "more than %d",
                            PKI_CERTIFICATES_MAX);
        if (r < 0)
                return fail(bundle->failure, r, "cannot read a bundle: %s", strerror(-r));
        return 0;
}

/* What deriving the passphrase's key for this block takes; what is damaged is read again, and said, later. */
static int plan_block(Work *work, const PemBlock *block, Failure *failure)
{
        CLEANUP(sig_freep) X509_SIG *sig = NULL;
        CLEANUP(freep) uint8_t *der = NULL;
        const X509_ALGOR *algorithm;
        const unsigned char *p;
        size_t n;

        if (strcmp(block->label, "ENCRYPTED PRIVATE KEY") != 0)
                return 0;
        der = malloc(pem_decoded_max(block)); /* still encrypted */
        if (!der)
                return fail(failure, -ENOMEM, "cannot read a bundle: %s", strerror(ENOMEM));
        if (pem_decode(block, der, &n) < 0)
                return 0;
        p = der;
        sig = d2i_X509_SIG(NULL, &p, (long)n);
        if (!sig)
                return 0;
        X509_SIG_get0(sig, &algorithm, NULL);
        return work_add(work, algorithm, failure);
}

/* Before any of it is done. */
static int plan(Secret *data, Failure *failure)
{
        PemReader reader;
        PemBlock block;
        Work work = { 0 };
        int r = 0;

        pem_reader_init(&reader, secret_data(data), secret_length(data));
        while (r == 0 && pem_next(&reader, &block) > 0)
                r = plan_block(&work, &block, failure);
        ERR_clear_error();
        return r;
}

int parts_read_pem(Parts *parts, Secret *data, Secret *passphrase, Failure *failure)
{
        PemBundle bundle = { .parts = parts,
                             .passphrase = passphrase_of(passphrase),
                             .failure = failure };
        PemReader reader;
        PemBlock block;
        int r;

        r = plan(data, failure);
        if (r)
                return r;
        pem_reader_init(&reader, secret_data(data), secret_length(data));
        while ((r = pem_next(&reader, &block)) > 0) {
                r = read_block(&bundle, &block);
                if (r)
                        return r;
        }
        if (r < 0)
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle is damaged PEM: a block has no end, or ends "
                            "as another one");
        return 0;
}
