/* SPDX-License-Identifier: Apache-2.0 */
/* Bundles for the source's tests: made once for each type of key, by libcrypto, and kept for the run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "source-harness.h"

/* Bundles: root → intermediate → leaf */

typedef struct Made {
        EVP_PKEY *key;
        char *pem;
} Made;

static struct {
        EVP_PKEY *root_key, *middle_key;
        X509 *root, *middle;
        long serial;
        Made made[_BUNDLE_N];
} bundles;

static void add_extension(X509 *x509, X509 *issuer, int nid, const char *value)
{
        X509V3_CTX context;
        X509_EXTENSION *extension;

        X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
        extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        assert_non_null(extension);
        X509_add_ext(x509, extension, -1);
        X509_EXTENSION_free(extension);
}

static X509 *certify(EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key, bool ca)
{
        X509 *x509 = X509_new();
        X509_NAME *subject = X509_get_subject_name(x509);

        X509_set_version(x509, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(x509), ++bundles.serial);
        X509_gmtime_adj(X509_getm_notBefore(x509), bundles.serial - 3600);
        X509_gmtime_adj(X509_getm_notAfter(x509), 86400);
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
                                   -1, 0);
        X509_set_issuer_name(x509, issuer ? X509_get_subject_name(issuer) : subject);
        X509_set_pubkey(x509, key);
        if (ca)
                add_extension(x509, issuer ? issuer : x509, NID_basic_constraints,
                              "critical,CA:TRUE");
        else
                add_extension(x509, issuer, NID_subject_alt_name, "DNS:unit.example");
        assert_true(X509_sign(x509, issuer_key, EVP_sha256()) > 0);
        return x509;
}

static EVP_PKEY *generate(BundleKind kind)
{
        static const struct {
                const char *type, *group;
                size_t bits;
        } rows[_BUNDLE_N] = {
                [BUNDLE_RSA_2048] = { "RSA", NULL, 2048 },
                [BUNDLE_RSA_3072] = { "RSA", NULL, 3072 },
                [BUNDLE_RSA_4096] = { "RSA", NULL, 4096 },
                [BUNDLE_P256] = { "EC", "P-256", 0 },
                [BUNDLE_P384] = { "EC", "P-384", 0 },
                [BUNDLE_P521] = { "EC", "P-521", 0 },
                [BUNDLE_ED25519] = { "ED25519", NULL, 0 },
        };
        EVP_PKEY *key;

        if (rows[kind].bits)
                key = EVP_PKEY_Q_keygen(NULL, NULL, rows[kind].type, rows[kind].bits);
        else if (rows[kind].group)
                key = EVP_PKEY_Q_keygen(NULL, NULL, rows[kind].type, rows[kind].group);
        else
                key = EVP_PKEY_Q_keygen(NULL, NULL, rows[kind].type);
        assert_non_null(key);
        return key;
}

int bundles_setup(void **state)
{
        (void)state;
        bundles.root_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        bundles.middle_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        bundles.root = certify(bundles.root_key, "Unit Root", NULL, bundles.root_key, true);
        bundles.middle =
                certify(bundles.middle_key, "Unit Middle", bundles.root, bundles.root_key, true);
        return 0;
}

static Made *make(BundleKind kind)
{
        Made *made = &bundles.made[kind];
        BIO *bio;
        X509 *leaf;
        char *data;
        long n;

        if (made->pem)
                return made;
        made->key = generate(kind);
        leaf = certify(made->key, "unit.example", bundles.middle, bundles.middle_key, false);
        bio = BIO_new(BIO_s_mem());
        /* In no useful order, as people have them. */
        assert_true(PEM_write_bio_X509(bio, bundles.root));
        assert_true(PEM_write_bio_PrivateKey(bio, made->key, NULL, NULL, 0, NULL, NULL));
        assert_true(PEM_write_bio_X509(bio, bundles.middle));
        assert_true(PEM_write_bio_X509(bio, leaf));
        n = BIO_get_mem_data(bio, &data);
        made->pem = strndup(data, (size_t)n);
        BIO_free(bio);
        X509_free(leaf);
        return made;
}

const char *bundle_pem(BundleKind kind)
{
        return make(kind)->pem;
}

void bundle_renewed(BundleKind kind, Bytes *ret_leaf)
{
        X509 *leaf =
                certify(make(kind)->key, "unit.example", bundles.middle, bundles.middle_key, false);
        unsigned char *der = NULL;
        int n = i2d_X509(leaf, &der);

        assert_true(n > 0);
        assert_int_equal(bytes_set(ret_leaf, der, (size_t)n), 0);
        OPENSSL_free(der);
        X509_free(leaf);
}
