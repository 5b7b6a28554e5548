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
#include "pki/recognise.h"

#define IV_MAX          16
#define CIPHER_NAME_MAX 32

static const char bundle_name[] = "the bundle", key_name[] = "the bundle's private key";

typedef struct PemBundle {
        Parts *parts;
        Passphrases passphrases;
        Failure *failure;
} PemBundle;

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

static int fail_encryption(PemBundle *bundle)
{
        if (errors_say_unsupported())
                return fail(bundle->failure, CB_NOT_SUPPORTED,
                            "the bundle's private key is encrypted in a "
                            "way that is not supported: write it with AES-256");
        return fail_passphrase(&bundle->passphrases, key_name, bundle->failure);
}

static int read_pkcs8(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        return pkcs8_read(bundle->parts, secret_data(der), secret_length(der), bundle->failure);
}

static int read_encrypted_pkcs8(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        CLEANUP(sig_freep) X509_SIG *sig = NULL;
        const unsigned char *p = secret_data(der);
        int r;

        sig = d2i_X509_SIG(NULL, &p, (long)secret_length(der));
        if (!sig)
                return fail_damaged_key(bundle->failure);
        r = pkcs8_decrypt(bundle->parts, sig, &bundle->passphrases, bundle->failure);
        return r == CB_BAD_PASSPHRASE ? fail_encryption(bundle) : r;
}

typedef struct DekInfo {
        char cipher[CIPHER_NAME_MAX + 1];
        uint8_t iv[IV_MAX];
        size_t n_iv;
} DekInfo;

static size_t span(const char *p, const char *end, int (*is)(int c), size_t n_max)
{
        size_t n = 0;

        while (p + n < end && n < n_max && is((unsigned char)p[n]))
                n++;
        return n;
}

static int is_of_name(int c)
{
        return isalnum(c) || c == '-';
}

/* "DEK-Info: CIPHER,IV" */
static bool parse_dek_info(const PemBlock *block, DekInfo *ret_info)
{
        static const char mark[] = "DEK-Info:";
        const char *end = block->headers + block->n_headers;
        const char *p = memmem(block->headers, block->n_headers, mark, sizeof(mark) - 1);
        char hex[2 * IV_MAX + 1];
        size_t n;

        if (!p)
                return false;
        p += sizeof(mark) - 1;
        p += span(p, end, isblank, SIZE_MAX);
        n = span(p, end, is_of_name, CIPHER_NAME_MAX);
        if (n == 0 || p + n >= end || p[n] != ',')
                return false;
        memcpy(ret_info->cipher, p, n);
        ret_info->cipher[n] = '\0';
        p += n + 1;
        n = span(p, end, isxdigit, 2 * IV_MAX);
        memcpy(hex, p, n);
        hex[n] = '\0';
        ret_info->n_iv = n / 2;
        return hex_decode(hex, ret_info->iv, n / 2) == 0;
}

static EVP_CIPHER *fetch_cipher(const char *name)
{
        EVP_CIPHER *cipher = EVP_CIPHER_fetch(pki_context_legacy(), name, NULL);

        if (cipher && EVP_CIPHER_get_mode(cipher) == EVP_CIPH_CBC_MODE)
                return cipher;
        EVP_CIPHER_free(cipher);
        return NULL;
}

/* In place: OpenSSL's old way, one round of MD5 over passphrase and IV (EVP_BytesToKey). */
static int decrypt_dek(PemBundle *bundle, const DekInfo *info, Passphrase passphrase, Secret *der)
{
        CLEANUP(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        CLEANUP(cipher_freep) EVP_CIPHER *cipher = fetch_cipher(info->cipher);
        CLEANUP(md_freep) EVP_MD *md5 = NULL;
        uint8_t key[EVP_MAX_KEY_LENGTH];
        int n = 0, n_last = 0, n_in = (int)secret_length(der);
        bool opened;

        md5 = EVP_MD_fetch(pki_context_legacy(), "MD5", NULL);
        ERR_clear_error();
        if (!ctx || !cipher || !md5)
                return fail(bundle->failure, CB_NOT_SUPPORTED,
                            "the bundle's private key is encrypted with "
                            "%s, which is not supported here: write it as PKCS#8 with AES-256",
                            info->cipher);
        if ((size_t)EVP_CIPHER_get_iv_length(cipher) != info->n_iv || info->n_iv < PKCS5_SALT_LEN)
                return fail_damaged_key(bundle->failure);
        opened = EVP_BytesToKey(cipher, md5, info->iv, (const unsigned char *)passphrase.text,
                                passphrase.n, 1, key, NULL) > 0 &&
                 EVP_DecryptInit_ex2(ctx, cipher, key, info->iv, NULL) == 1 &&
                 EVP_DecryptUpdate(ctx, secret_data(der), &n, secret_data(der), n_in) == 1 &&
                 EVP_DecryptFinal_ex(ctx, secret_data(der) + n, &n_last) == 1;
        OPENSSL_cleanse(key, sizeof(key));
        ERR_clear_error();
        if (!opened)
                return fail_passphrase(&bundle->passphrases, key_name, bundle->failure);
        secret_set_length(der, (size_t)(n + n_last));
        return 0;
}

/* As it was given: no tool has ever made anything else of it, or encrypted with none. */
static int read_headers(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        Passphrase passphrase = bundle->passphrases.items[0];
        DekInfo info;

        if (!parse_dek_info(block, &info))
                return fail(bundle->failure, CB_NOT_SUPPORTED,
                            "the bundle's private key is encrypted "
                            "in a way that is not supported: write it as PKCS#8 with AES-256");
        if (!passphrase.text)
                return fail_passphrase(&bundle->passphrases, key_name, bundle->failure);
        return decrypt_dek(bundle, &info, passphrase, der);
}

/* PKCS#1 or SEC1, where the headers do not say otherwise in the clear. */
static int read_bare_key(PemBundle *bundle, const PemBlock *block, Secret *der, int type)
{
        const unsigned char *p;
        EVP_PKEY *key;
        int r = block->headers ? read_headers(bundle, block, der) : 0;

        if (r)
                return r;
        if (private_key_is_too_long(secret_length(der)))
                return fail_damaged_key(bundle->failure);
        p = secret_data(der);
        ERR_clear_error();
        key = d2i_PrivateKey_ex(type, NULL, &p, (long)secret_length(der), pki_context(), NULL);
        if (key)
                return parts_take_key(bundle->parts, key, bundle->failure);
        if (!block->headers)
                return parts_note_unread(bundle->parts, bundle->failure);
        /* One wrong passphrase in 256 still leaves a padding that looks right. */
        ERR_clear_error();
        return fail_passphrase(&bundle->passphrases, key_name, bundle->failure);
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

static int read_ssh(PemBundle *bundle, const PemBlock *block, Secret *der)
{
        parts_note_unsupported(bundle->parts, "an SSH key",
                               "write it as PEM: ssh-keygen -p -m PEM -f FILE");
        return 0;
}

static const char key_label[] = "PRIVATE KEY"; /* which is the end of the others' as well */

static const struct {
        const char *label;
        int (*read)(PemBundle *bundle, const PemBlock *block, Secret *der);
} key_rows[] = {
        { key_label, read_pkcs8 },           { "ENCRYPTED PRIVATE KEY", read_encrypted_pkcs8 },
        { "RSA PRIVATE KEY", read_pkcs1 },   { "EC PRIVATE KEY", read_sec1 },
        { "OPENSSH PRIVATE KEY", read_ssh }, { "CERTBROKER KEY REFERENCE", read_reference },
};

static int read_key_block(PemBundle *bundle, const PemBlock *block, size_t row)
{
        CLEANUP(secret_freep) Secret *der = NULL;
        size_t n;
        int r;

        r = parts_count_key(bundle->parts, bundle->failure);
        if (r)
                return r;
        r = secret_new(pem_decoded_max(block), &der);
        if (r < 0)
                return fail(bundle->failure, r, "cannot lock memory for a private key: %s",
                            strerror(-r));
        if (pem_decode(block, secret_data(der), &n) < 0)
                return fail_damaged_key(bundle->failure);
        secret_set_length(der, n);
        return key_rows[row].read(bundle, block, der);
}

/* "DSA PRIVATE KEY" and its like: the label says what it is. */
static int pass_over_key(PemBundle *bundle, const PemBlock *block, size_t n_kind)
{
        char kind[PEM_LABEL_MAX];

        memcpy(kind, block->label, n_kind);
        kind[n_kind] = '\0';
        parts_note_unsupported(bundle->parts, kind, NULL);
        return parts_count_key(bundle->parts, bundle->failure);
}

static int read_block(PemBundle *bundle, const PemBlock *block)
{
        size_t n = strlen(block->label), n_key = strlen(key_label);

        for (size_t i = 0; i < ELEMENTSOF(key_rows); i++)
                if (strcmp(block->label, key_rows[i].label) == 0)
                        return read_key_block(bundle, block, i);
        if (n > n_key + 1 && strcmp(block->label + n - n_key, key_label) == 0)
                return pass_over_key(bundle, block, n - n_key - 1);
        return certificates_append_block(&bundle->parts->certificates, block, bundle_name,
                                         bundle->failure);
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
        return work_add(work, work_of(algorithm), failure);
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

static int read_blocks(PemBundle *bundle, Secret *data)
{
        PemReader reader;
        PemBlock block;
        int r;

        pem_reader_init(&reader, secret_data(data), secret_length(data));
        while ((r = pem_next(&reader, &block)) > 0) {
                r = read_block(bundle, &block);
                if (r)
                        return r;
        }
        return r < 0 ? fail_block(bundle_name, &block, bundle->failure) : 0;
}

/* The first block that is PKCS#12. */
static bool find_pkcs12(Secret *data, PemBlock *ret_block)
{
        PemReader reader;

        pem_reader_init(&reader, secret_data(data), secret_length(data));
        while (pem_next(&reader, ret_block) > 0)
                if (strcmp(ret_block->label, "PKCS12") == 0)
                        return true;
        return false;
}

static int read_pkcs12_block(Parts *parts, const PemBlock *block, Secret *passphrase,
                             Failure *failure)
{
        CLEANUP(secret_freep) Secret *der = NULL;
        size_t n;
        int r = secret_new(pem_decoded_max(block), &der);

        if (r < 0)
                return fail(failure, r, "cannot lock memory for a bundle: %s", strerror(-r));
        if (pem_decode(block, secret_data(der), &n) < 0)
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle is damaged: its PKCS#12 in PEM is no base64");
        secret_set_length(der, n);
        return parts_read_pkcs12(parts, der, passphrase, failure);
}

int parts_read_pem(Parts *parts, Secret *data, Secret *passphrase, Failure *failure)
{
        PemBundle bundle = { .parts = parts, .failure = failure };
        PemBlock block;
        int r;

        if (find_pkcs12(data, &block))
                return read_pkcs12_block(parts, &block, passphrase, failure);
        r = plan(data, failure);
        if (r)
                return r;
        r = passphrases_init(&bundle.passphrases, passphrase, false, failure);
        if (r == 0)
                r = read_blocks(&bundle, data);
        passphrases_deinit(&bundle.passphrases);
        return r;
}
