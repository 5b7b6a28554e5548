/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#12 and PEM for a key that leaves its source. Invariant: what is written has been read back into a key whose
 * public half is the leaf's, and a key is never written in the clear when there is a passphrase. Copies that
 * libcrypto makes are wiped when it frees them (context.h); nothing here keeps one.
 */
#include "pki/export.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/strings.h"
#include "pki/certificate.h"
#include "pki/context.h"
#include "pki/key.h"
#include "pki/x509.h"

#define FRIENDLY_NAME_MAX 128
#define WRAPPED_MAX       (16 * 1024)

typedef STACK_OF(X509) Certificates;

/* What a file is made of. */
typedef struct ExportParts {
        EVP_PKEY *key;
        X509 *leaf;
        Certificates *others;
} ExportParts;

static void parts_clear(ExportParts *parts)
{
        EVP_PKEY_free(parts->key);
        X509_free(parts->leaf);
        sk_X509_pop_free(parts->others, X509_free);
}

static void bio_freep(BIO **place)
{
        BIO_free(*place);
}

static void pkcs12_freep(PKCS12 **place)
{
        PKCS12_free(*place);
}

static void pkcs8_freep(PKCS8_PRIV_KEY_INFO **place)
{
        PKCS8_PRIV_KEY_INFO_free(*place);
}

static void x509_sig_freep(X509_SIG **place)
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

ExportFormat export_format_from_name(const char *name)
{
        static const char *const names[_EXPORT_FORMAT_N] = {
                [EXPORT_PKCS12] = "pkcs12", [EXPORT_PEM] = "pem"
        };

        for (ExportFormat format = EXPORT_NONE + 1; format < _EXPORT_FORMAT_N; format++)
                if (string_equal(name, names[format]))
                        return format;
        return EXPORT_NONE;
}

int pki_export_check_passphrase(Secret *passphrase, Failure *failure)
{
        if (secret_length(passphrase) > PKI_EXPORT_PASSPHRASE_MAX)
                return fail(failure, CB_INVALID_ARGUMENT, "the passphrase has more than %d bytes",
                            PKI_EXPORT_PASSPHRASE_MAX);
        if (!utf8_is_valid((const char *)secret_data(passphrase), secret_length(passphrase)))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the passphrase is no UTF-8 text: other programs could not open the "
                            "file with it");
        return 0;
}

static int fail_libcrypto(Failure *failure)
{
        ERR_clear_error();
        return fail(failure, CB_FAILED, "the file could not be written");
}

/* In */

/* SoftHSM fills a key up with zeros to whole blocks before it wraps it. */
static bool is_filling(const unsigned char *p, const unsigned char *end)
{
        if (end - p >= 8)
                return false;
        for (; p < end; p++)
                if (*p != 0)
                        return false;
        return true;
}

static int read_key(Secret *pkcs8, EVP_PKEY **ret_key, Failure *failure)
{
        const unsigned char *p = secret_data(pkcs8);
        const unsigned char *end = p + secret_length(pkcs8);
        CLEANUP(pkcs8_freep) PKCS8_PRIV_KEY_INFO *info = NULL;
        CLEANUP(key_freep) EVP_PKEY *key = NULL;

        info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)secret_length(pkcs8));
        if (info && is_filling(p, end))
                key = EVP_PKCS82PKEY_ex(info, pki_context(), NULL);
        ERR_clear_error();
        if (!key || key_type_of(key) == KEY_TYPE_NONE)
                return fail(failure, CB_BAD_BUNDLE,
                            "the private key cannot be read: it is no PKCS#8 of a type of ours");
        *ret_key = TAKE(key);
        return 0;
}

static int read_chain(const BytesList *chain, ExportParts *parts, Failure *failure)
{
        parts->others = sk_X509_new_null();
        if (!parts->others)
                return -ENOMEM;
        for (size_t i = 0; i < chain->n; i++) {
                CLEANUP(x509_freep)
                X509 *x = x509_from_der(chain->items[i].data, chain->items[i].n);

                if (!x)
                        return fail(failure, CB_BAD_BUNDLE,
                                    "the chain holds what is no certificate");
                if (i == 0)
                        parts->leaf = TAKE(x);
                else if (sk_X509_push(parts->others, x) > 0)
                        TAKE(x);
                else
                        return -ENOMEM;
        }
        return 0;
}

static int check_leaf(const ExportParts *parts, Failure *failure)
{
        EVP_PKEY *public = parts->leaf ? X509_get0_pubkey(parts->leaf) : NULL;

        if (!parts->leaf)
                return fail(failure, CB_BAD_BUNDLE, "there is no certificate for the key");
        if (!public || EVP_PKEY_eq(public, parts->key) != 1) {
                ERR_clear_error();
                return fail(failure, CB_KEY_MISMATCH, "the certificate is of another key");
        }
        return 0;
}

/* Out */

static int pkcs12_to_secret(PKCS12 *p12, Secret **ret_file, Failure *failure)
{
        CLEANUP(secret_freep) Secret *file = NULL;
        int n = i2d_PKCS12(p12, NULL), r;
        unsigned char *p;

        if (n <= 0)
                return fail_libcrypto(failure);
        r = secret_new((size_t)n, &file);
        if (r < 0)
                return r;
        p = secret_data(file);
        if (i2d_PKCS12(p12, &p) != n)
                return fail_libcrypto(failure);
        secret_set_length(file, (size_t)n);
        *ret_file = TAKE(file);
        return 0;
}

static int write_pkcs12(const PkiExport *job, const ExportParts *parts, Secret **ret_file,
                        Failure *failure)
{
        CLEANUP(pkcs12_freep) PKCS12 *p12 = NULL;
        char name[FRIENDLY_NAME_MAX + 1] = "";

        if (job->name && strlen(job->name) <= FRIENDLY_NAME_MAX)
                strncat(name, job->name, FRIENDLY_NAME_MAX);
        p12 = PKCS12_create_ex((const char *)secret_data(job->passphrase), name[0] ? name : NULL,
                               parts->key, parts->leaf, parts->others, NID_aes_256_cbc,
                               NID_aes_256_cbc, PKI_EXPORT_ITERATIONS, -1, 0, pki_context(), NULL);
        /* Its own default for the MAC's digest has changed before. */
        if (!p12 || PKCS12_set_mac(p12, (const char *)secret_data(job->passphrase),
                                   (int)secret_length(job->passphrase), NULL, 0,
                                   PKI_EXPORT_ITERATIONS, EVP_sha256()) != 1)
                return fail_libcrypto(failure);
        return pkcs12_to_secret(p12, ret_file, failure);
}

static int write_pem_key(BIO *bio, const PkiExport *job, const ExportParts *parts, Failure *failure)
{
        CLEANUP(pkcs8_freep) PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(parts->key);
        CLEANUP(cipher_freep) EVP_CIPHER *cipher = NULL;
        CLEANUP(x509_sig_freep) X509_SIG *encrypted = NULL;

        if (!info)
                return fail_libcrypto(failure);
        if (secret_length(job->passphrase) == 0)
                return PEM_write_bio_PKCS8_PRIV_KEY_INFO(bio, info) == 1 ? 0
                                                                         : fail_libcrypto(failure);
        cipher = EVP_CIPHER_fetch(pki_context(), "AES-256-CBC", NULL);
        if (cipher)
                encrypted = PKCS8_encrypt_ex(-1, cipher, (const char *)secret_data(job->passphrase),
                                             (int)secret_length(job->passphrase), NULL, 0,
                                             PKI_EXPORT_ITERATIONS, info, pki_context(), NULL);
        if (!encrypted || PEM_write_bio_PKCS8(bio, encrypted) != 1)
                return fail_libcrypto(failure);
        return 0;
}

static int bio_to_secret(BIO *bio, Secret **ret_file)
{
        CLEANUP(secret_freep) Secret *file = NULL;
        char *data = NULL;
        long n = BIO_get_mem_data(bio, &data);
        int r = secret_new((size_t)n, &file);

        if (r < 0)
                return r;
        memcpy(secret_data(file), data, (size_t)n);
        secret_set_length(file, (size_t)n);
        *ret_file = TAKE(file);
        return 0;
}

static int write_pem(const PkiExport *job, const ExportParts *parts, Secret **ret_file,
                     Failure *failure)
{
        CLEANUP(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
        int r;

        if (!bio)
                return -ENOMEM;
        r = write_pem_key(bio, job, parts, failure);
        if (r != 0)
                return r;
        if (PEM_write_bio_X509(bio, parts->leaf) != 1)
                return fail_libcrypto(failure);
        for (int i = 0; i < sk_X509_num(parts->others); i++)
                if (PEM_write_bio_X509(bio, sk_X509_value(parts->others, i)) != 1)
                        return fail_libcrypto(failure);
        return bio_to_secret(bio, ret_file);
}

static int write_file(const PkiExport *job, Secret **ret_file, Failure *failure)
{
        CLEANUP(parts_clear) ExportParts parts = { 0 };
        int r;

        r = pki_export_check_passphrase(job->passphrase, failure);
        if (r == 0)
                r = read_key(job->pkcs8, &parts.key, failure);
        if (r == 0)
                r = read_chain(job->chain, &parts, failure);
        if (r == 0)
                r = check_leaf(&parts, failure);
        if (r != 0)
                return r;
        switch (job->format) {
        case EXPORT_PKCS12:
                return write_pkcs12(job, &parts, ret_file, failure);
        case EXPORT_PEM:
                return write_pem(job, &parts, ret_file, failure);
        case EXPORT_NONE:
        case _EXPORT_FORMAT_N:
                break;
        }
        return fail(failure, CB_INVALID_ARGUMENT, "the format of an export is pkcs12 or pem");
}

int pki_export(const PkiExport *job, Secret **ret_file, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = write_file(job, ret_file, failure);

        return pki_memory_outcome(n_before, r, failure);
}

/* Unwrapping */

/* -EBADMSG where the integrity check fails. */
static int unwrap_with(const char *cipher_name, Secret *wrapping_key, const Bytes *wrapped,
                       Secret **ret_key)
{
        CLEANUP(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        CLEANUP(cipher_freep) EVP_CIPHER *cipher = NULL;
        CLEANUP(secret_freep) Secret *key = NULL;
        int n = 0, n_last = 0, r;

        cipher = EVP_CIPHER_fetch(pki_context(), cipher_name, NULL);
        if (!ctx || !cipher)
                return -ENOMEM;
        r = secret_new(wrapped->n + EVP_MAX_BLOCK_LENGTH, &key);
        if (r < 0)
                return r;
        EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
        if (EVP_DecryptInit_ex2(ctx, cipher, secret_data(wrapping_key), NULL, NULL) != 1 ||
            EVP_DecryptUpdate(ctx, secret_data(key), &n, wrapped->data, (int)wrapped->n) != 1 ||
            n <= 0 || EVP_DecryptFinal_ex(ctx, secret_data(key) + n, &n_last) != 1) {
                ERR_clear_error();
                return -EBADMSG;
        }
        secret_set_length(key, (size_t)(n + n_last));
        *ret_key = TAKE(key);
        return 0;
}

/* PKCS#7 padding to whole blocks of 8 bytes (the wrapping's own) or of 16 (the cipher's). */
static bool drop_padding(Secret *key)
{
        size_t n = secret_length(key);
        uint8_t pad = n > 0 ? secret_data(key)[n - 1] : 0;

        if (pad == 0 || pad > 16 || pad >= n)
                return false;
        for (size_t i = n - pad; i < n; i++)
                if (secret_data(key)[i] != pad)
                        return false;
        secret_set_length(key, n - pad);
        return true;
}

static int unwrap(Secret *wrapping_key, const Bytes *wrapped, Secret **ret_key)
{
        CLEANUP(secret_freep) Secret *key = NULL;
        int r;

        assert_always(secret_length(wrapping_key) == PKI_WRAPPING_KEY_LENGTH);
        if (wrapped->n < 16 || wrapped->n > WRAPPED_MAX || wrapped->n % 8 != 0)
                return CB_BAD_BUNDLE;
        r = unwrap_with("AES-256-WRAP-PAD", wrapping_key, wrapped, &key);
        if (r == -EBADMSG) {
                r = unwrap_with("AES-256-WRAP", wrapping_key, wrapped, &key);
                if (r == 0 && !drop_padding(key))
                        r = -EBADMSG;
        }
        if (r == -EBADMSG)
                return CB_BAD_BUNDLE;
        if (r < 0)
                return r;
        *ret_key = TAKE(key);
        return 0;
}

int pki_key_unwrap(Secret *wrapping_key, const Bytes *wrapped, Secret **ret_key)
{
        unsigned n_before = pki_memory_failures();
        int r = unwrap(wrapping_key, wrapped, ret_key);

        return pki_memory_outcome(n_before, r, NULL);
}
