/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and certificates for tests, made by libcrypto as they are needed. Everything asserts: a test
 * that cannot be set up has failed. All in pki_context(), so that a test may cut off the default
 * context.
 */
#pragma once

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/macro.h"
#include "base/secret.h"
#include "pki/context.h"

#define UNUSED __attribute__((__unused__))

/* What is handed over as a secret: keys, bundles, passphrases. */
static UNUSED Secret *issue_secret(const void *data, size_t n)
{
        Secret *secret = NULL;

        assert_int_equal(secret_new(n, &secret), 0);
        if (n > 0)
                memcpy(secret_data(secret), data, n);
        secret_set_length(secret, n);
        return secret;
}

/* From here on, whatever would use the default context finds no algorithm there. */
static UNUSED int issue_setup(void **state)
{
        assert_always(pki_init() == 0);
        assert_always(OSSL_PROVIDER_load(NULL, "null"));
        return 0;
}

/* For functions of libcrypto that can be given no context: what it was has to be set again. */
static UNUSED OSSL_LIB_CTX *issue_default_context(OSSL_LIB_CTX *context)
{
        return OSSL_LIB_CTX_set0_default(context ? context : pki_context());
}

/* group: a curve; NULL with bits: RSA; NULL without: the type has no parameters. */
static UNUSED EVP_PKEY *issue_key(const char *type, const char *group, size_t bits)
{
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(pki_context(), type, NULL);
        EVP_PKEY *key = NULL;

        assert_always(ctx && EVP_PKEY_keygen_init(ctx) == 1);
        if (group)
                assert_always(EVP_PKEY_CTX_set_group_name(ctx, group) == 1);
        else if (bits > 0)
                assert_always(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits) == 1);
        EVP_PKEY_generate(ctx, &key);
        EVP_PKEY_CTX_free(ctx);
        assert_always(key);
        return key;
}

static UNUSED Bytes issue_read_data(const char *name);

/* A fixed one: to make one of 4096 bits takes seconds, more or less of them by chance. */
static UNUSED EVP_PKEY *issue_rsa(size_t bits)
{
        char name[32];
        Bytes pem;
        BIO *bio;
        EVP_PKEY *key;

        snprintf(name, sizeof(name), "rsa-%zu.key", bits);
        pem = issue_read_data(name);
        bio = BIO_new_mem_buf(pem.data, (int)pem.n);
        key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, pki_context(), NULL);
        assert_always(key);
        BIO_free(bio);
        bytes_deinit(&pem);
        return key;
}

static UNUSED EVP_PKEY *issue_p256(void)
{
        return issue_key("EC", "P-256", 0);
}

typedef struct Issue {
        const char *name; /* CN */
        EVP_PKEY *key;
        X509 *issuer; /* NULL: self-signed */
        EVP_PKEY *issuer_key;
        const char *alt_names;              /* "DNS:a,IP:192.0.2.1" */
        X509_NAME *subject;                 /* instead of name */
        int64_t not_before;                 /* 0: now */
        int64_t not_after;                  /* 0: a day later */
        const char *basic;                  /* basicConstraints: "CA:TRUE,pathlen:0"; NULL: none */
        const char *key_id, *issuer_key_id; /* NULL: none */
        const char *extended_key_usage, *key_usage; /* "clientAuth", "digitalSignature"; NULL: none */
        bool no_digest;                     /* signed with Ed25519 */
} Issue;

static UNUSED void issue_add_extension(X509 *x, int nid, const char *value)
{
        X509_EXTENSION *e = value ? X509V3_EXT_conf_nid(NULL, NULL, nid, value) : NULL;

        assert_always(!value || (e && X509_add_ext(x, e, -1)));
        X509_EXTENSION_free(e);
}

static UNUSED void issue_add_key_ids(X509 *x, const Issue *issue)
{
        ASN1_OCTET_STRING *own = ASN1_OCTET_STRING_new();
        AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();

        assert_always(own && authority);
        if (issue->key_id)
                assert_always(
                        ASN1_OCTET_STRING_set(own, (const unsigned char *)issue->key_id, -1) &&
                        X509_add1_ext_i2d(x, NID_subject_key_identifier, own, 0, 0) == 1);
        if (issue->issuer_key_id) {
                authority->keyid = ASN1_OCTET_STRING_new();
                assert_always(
                        ASN1_OCTET_STRING_set(authority->keyid,
                                              (const unsigned char *)issue->issuer_key_id, -1) &&
                        X509_add1_ext_i2d(x, NID_authority_key_identifier, authority, 0, 0) == 1);
        }
        ASN1_OCTET_STRING_free(own);
        AUTHORITY_KEYID_free(authority);
}

static UNUSED X509 *issue_certificate(const Issue *issue)
{
        static long serial = 1000;
        EVP_PKEY *signer = issue->issuer_key ? issue->issuer_key : issue->key;
        EVP_MD *sha256 = EVP_MD_fetch(pki_context(), "SHA256", NULL);
        X509 *x = X509_new_ex(pki_context(), NULL);
        X509_NAME *name = X509_NAME_new();
        time_t from = issue->not_before ? (time_t)issue->not_before : time(NULL);

        assert_always(x && name && sha256);
        if (issue->name)
                assert_always(X509_NAME_add_entry_by_txt(
                        name, "CN", MBSTRING_UTF8, (const unsigned char *)issue->name, -1, -1, 0));
        assert_always(X509_set_version(x, X509_VERSION_3) &&
                      ASN1_INTEGER_set(X509_get_serialNumber(x), serial++) &&
                      X509_set_subject_name(x, issue->subject ? issue->subject : name) &&
                      X509_set_issuer_name(x, issue->issuer ? X509_get_subject_name(issue->issuer)
                                              : issue->subject ? issue->subject
                                                               : name) &&
                      ASN1_TIME_set(X509_getm_notBefore(x), from) &&
                      ASN1_TIME_set(X509_getm_notAfter(x),
                                    issue->not_after ? (time_t)issue->not_after : from + 86400) &&
                      X509_set_pubkey(x, issue->key));
        issue_add_extension(x, NID_subject_alt_name, issue->alt_names);
        issue_add_extension(x, NID_ext_key_usage, issue->extended_key_usage);
        issue_add_extension(x, NID_key_usage, issue->key_usage);
        issue_add_extension(x, NID_basic_constraints, issue->basic);
        issue_add_key_ids(x, issue);
        assert_always(X509_sign(x, signer, issue->no_digest ? NULL : sha256) > 0);
        X509_NAME_free(name);
        EVP_MD_free(sha256);
        return x;
}

static UNUSED Bytes issue_der(X509 *x)
{
        unsigned char *der = NULL;
        Bytes bytes = { 0 };
        int n = i2d_X509(x, &der);

        assert_always(n > 0 && bytes_set(&bytes, der, (size_t)n) == 0);
        OPENSSL_free(der);
        return bytes;
}

static UNUSED Bytes issue_spki(EVP_PKEY *key)
{
        unsigned char *der = NULL;
        Bytes bytes = { 0 };
        int n = i2d_PUBKEY(key, &der);

        assert_always(n > 0 && bytes_set(&bytes, der, (size_t)n) == 0);
        OPENSSL_free(der);
        return bytes;
}

static UNUSED void issue_append(BytesList *list, X509 *x)
{
        Bytes der = issue_der(x);

        assert_always(bytes_list_append(list, der.data, der.n) == 0);
        bytes_deinit(&der);
}

/* What has been written to a memory BIO, which it frees. */
static UNUSED Bytes issue_take_bio(BIO *bio)
{
        Bytes bytes = { 0 };
        char *data;
        long n = BIO_get_mem_data(bio, &data);

        assert_always(n >= 0 && bytes_set(&bytes, data, (size_t)n) == 0);
        BIO_free(bio);
        return bytes;
}

/* A file of tests/unit/data; read without stdio, whose buffers would keep a copy. */
static UNUSED Bytes issue_read_data(const char *name)
{
        static uint8_t buffer[1 << 20];
        Bytes bytes = { 0 };
        char path[512];
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "%s/%s", TEST_DATA, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_always(fd >= 0);
        n = read(fd, buffer, sizeof(buffer));
        close_fd(fd);
        assert_always(n > 0 && bytes_set(&bytes, buffer, (size_t)n) == 0);
        explicit_bzero(buffer, sizeof(buffer));
        return bytes;
}
