/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are something else than a bundle or certificates: each is called by its name, with a remedy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "taken.h"

static EVP_PKEY *key;
static X509 *leaf;

static int setup(void **state)
{
        issue_setup(state);
        key = issue_p256();
        leaf = issue_certificate(&(Issue){ .name = "leaf", .key = key });
        return 0;
}

static int teardown(void **state)
{
        EVP_PKEY_free(key);
        X509_free(leaf);
        return 0;
}

static void files_by_their_beginning(void **state)
{
#define ROW(text, bundle, certificates)                                                            \
        {                                                                                          \
                text, sizeof(text) - 1, bundle, certificates                                       \
        }
        static const struct {
                const char *text;
                size_t n;
                const char *bundle, *certificates;
        } rows[] = {
                ROW("", "the bundle is empty: give PKCS#12", "the file is empty: give PEM"),
                ROW("\0\0 \r\n", "the bundle is empty", "the file is empty"),
                ROW("\xfe\xed\xfe\xed\0\0\0\2\0\0",
                    "(JKS): write it as PKCS#12: keytool "
                    "-importkeystore",
                    "(JKS): take the certificate out of it: keytool -exportcert"),
                ROW("\xce\xce\xce\xce\0\0\0\2\0\0", "(JCEKS)", "(JCEKS)"),
                ROW("\0\0\0\2\0\0\0\x14xxxxxxxx", "(BKS)", "(BKS)"),
                ROW("\x1f\x8b\x08\0\0\0\0\0\0\3", "gzip: unpack it", "gzip: unpack it"),
                ROW("PK\3\4xxxxxxxxxxxxxx", "zip archive", "zip archive"),
                ROW("SQLite format 3\0xxxx", "pk12util", "pk12util"),
                ROW("\xff\xfe-\0-\0-\0-\0-\0B\0E\0G\0I\0N\0", "iconv -f UTF-16 -t ASCII", "UTF-16"),
                ROW("\xfe\xff\0-\0-\0-\0-\0-\0B\0E\0G\0I\0N", "iconv -f UTF-16 -t ASCII", "UTF-16"),
                ROW("-\0-\0-\0-\0-\0B\0E\0G\0I\0N\0", "iconv -f UTF-16LE", "iconv -f UTF-16LE"),
                ROW("\0-\0-\0-\0-\0-\0B\0E\0G\0I\0N", "iconv -f UTF-16BE", "iconv -f UTF-16BE"),
                ROW("PuTTY-User-Key-File-3: ssh-ed25519\r\n", "puttygen", "PuTTY"),
                ROW("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 x\n", "SSH public key", "SSH public key"),
                ROW("\n<!DOCTYPE html><html></html>", "web page", "web page"),
                ROW("\xef\xbb\xbf<?xml version='1.0'?>", "XML", "XML"),
                ROW("{ \"value\": \"MIIK\" }", "JSON", "JSON"),
                ROW("-----BEGIN PRIVATE KEY-----\\nMAA=\\n-----END PRIVATE KEY-----\\n",
                    "written as \\n", "written as \\n"),
                ROW("KEY=\"-----BEGIN PRIVATE KEY-----\nMAA=\n", "has to begin a line",
                    "has to begin a line"),
                ROW("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUI=\n", "base64 text of PEM: decode",
                    "base64 -d"),
                ROW("MIIEbgIBAzCCBCgGCSqGSIb3DQEHAaCCBBkE\nggQVMIIEETCC\n",
                    "base64 text of a binary", "base64 -d"),
                ROW("/u3+7QAAAAIAAAABAAAAAQAF\n", "base64 text of a Java key store", "base64 -d"),
                ROW("0\x82\x10\0\2\1\3xxxxxxxxxxx", "cut off", "cut off"),
                ROW("hello", "neither PKCS#12 nor PEM, or is damaged",
                    "neither PEM nor DER with certificates"),
                ROW("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ==\n-----END PGP PRIVATE KEY "
                    "BLOCK-----\n",
                    "of PGP", "of PGP"),
                ROW("-----BEGIN SOMETHING-----\nMAA=\n-----END SOMETHING-----\n",
                    "PEM of another kind (\"SOMETHING\")", "another kind (\"SOMETHING\")"),
                ROW("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n", "(CRL)", "(CRL)"),
        };
#undef ROW

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(bytes_deinit) Bytes data = { 0 };

                assert_int_equal(bytes_set(&data, rows[i].text, rows[i].n), 0);
                taken_bundle(&data, NULL, CB_BAD_BUNDLE, rows[i].bundle, NULL);
                taken_certificates(&data, 0, CB_BAD_BUNDLE, rows[i].certificates);
        }
}

/* Each of them in DER, and as PEM under its label. */
static void expect(const char *label, BIO *der_bio, const char *bundle, const char *certificates)
{
        CLEANUP(bytes_deinit) Bytes der = issue_take_bio(der_bio);
        CLEANUP(bytes_deinit) Bytes pem = taken_pem(label, der.data, der.n);

        taken_bundle(&der, NULL, CB_BAD_BUNDLE, bundle, NULL);
        taken_certificates(&der, 0, CB_BAD_BUNDLE, certificates);
        taken_certificates(&pem, 0, CB_BAD_BUNDLE, certificates);
}

static BIO *bio_of(const unsigned char *der, int n)
{
        BIO *bio = BIO_new(BIO_s_mem());

        assert_true(n > 0 && BIO_write(bio, der, n) == n);
        return bio;
}

static void keys_without_a_certificate(void **state)
{
        static const char bundle[] = "a private key without its certificate: give PEM with both";
        static const char install[] = "give the certificate that was issued for the key";
        EVP_PKEY *rsa = issue_rsa(2048);
        PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
        OSSL_LIB_CTX *was = issue_default_context(NULL);
        X509_SIG *sig = PKCS8_encrypt_ex(-1, EVP_aes_256_cbc(), "x", 1, NULL, 0, 100, info,
                                         pki_context(), NULL);
        unsigned char *der = NULL;
        int n;

        issue_default_context(was);
        n = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
        expect("PRIVATE KEY", bio_of(der, n), bundle, install);
        OPENSSL_free(der);
        der = NULL;
        n = i2d_X509_SIG(sig, &der);
        expect("ENCRYPTED PRIVATE KEY", bio_of(der, n), bundle, install);
        OPENSSL_free(der);
        der = NULL;
        n = i2d_PrivateKey(key, &der);
        expect("EC PRIVATE KEY", bio_of(der, n), bundle, install);
        OPENSSL_free(der);
        der = NULL;
        n = i2d_PrivateKey(rsa, &der);
        expect("RSA PRIVATE KEY", bio_of(der, n), bundle, install);
        OPENSSL_free(der);
        PKCS8_PRIV_KEY_INFO_free(info);
        X509_SIG_free(sig);
        EVP_PKEY_free(rsa);
}

static void structures_that_are_no_key(void **state)
{
        X509_REQ *request = X509_REQ_new_ex(pki_context(), NULL);
        X509_CRL *crl = X509_CRL_new_ex(pki_context(), NULL);
        EVP_MD *sha256 = EVP_MD_fetch(pki_context(), "SHA256", NULL);
        PKCS12 *p12 = PKCS12_create_ex("x", "name", key, leaf, NULL, 0, 0, 100, 100, 0,
                                       pki_context(), NULL);
        CLEANUP(bytes_deinit) Bytes spki = issue_spki(key);
        CLEANUP(bytes_deinit) Bytes der = issue_der(leaf);
        ASN1_TIME *now = X509_time_adj(NULL, 0, NULL);
        BIO *bio = BIO_new(BIO_s_mem());

        assert_true(X509_REQ_set_pubkey(request, key) && X509_REQ_sign(request, key, sha256) > 0 &&
                    i2d_X509_REQ_bio(bio, request));
        expect("NEW CERTIFICATE REQUEST", bio,
               "a certificate request: give the certificate that the authority made of it",
               "a certificate request");
        bio = BIO_new(BIO_s_mem());
        assert_true(X509_CRL_set_issuer_name(crl, X509_get_subject_name(leaf)) &&
                    X509_CRL_set1_lastUpdate(crl, now) && X509_CRL_sign(crl, key, sha256) > 0 &&
                    i2d_X509_CRL_bio(bio, crl));
        expect("X509 CRL", bio, "(CRL)", "(CRL)");
        expect("PUBLIC KEY", bio_of(spki.data, (int)spki.n), "a public key alone",
               "a public key alone");
        taken_bundle(&der, NULL, CB_BAD_BUNDLE, "use certbroker certificate install", NULL);
        bio = BIO_new(BIO_s_mem());
        assert_true(i2d_PKCS12_bio(bio, p12));
        der.n = 0;
        free(der.data);
        der = issue_take_bio(bio);
        taken_certificates(&der, 0, CB_BAD_BUNDLE, "import it: certbroker certificate import");
        X509_REQ_free(request);
        X509_CRL_free(crl);
        PKCS12_free(p12);
        ASN1_TIME_free(now);
        EVP_MD_free(sha256);
}

static void keys_of_other_types(void **state)
{
        static const struct {
                const char *type, *group;
                size_t bits;
                const char *words;
        } rows[] = {
                { "EC", "secp256k1", 0, "is EC on secp256k1, which is not supported: use RSA" },
                { "EC", "brainpoolP256r1", 0, "is EC on brainpoolP256r1," },
                { "RSA", NULL, 1024, "is RSA with 1024 bits," },
                { "RSA-PSS", NULL, 2048, "is RSASSA-PSS," },
                { "X25519", NULL, 0, "is X25519," },
                { "ED448", NULL, 0, "is ED448," },
        };
        static const struct {
                const char *text, *words;
        } labels[] = {
                { "-----BEGIN DSA PRIVATE KEY-----\nMAA=\n-----END DSA PRIVATE KEY-----\n",
                  "is DSA," },
                { "-----BEGIN OPENSSH PRIVATE KEY-----\nMAA=\n-----END OPENSSH PRIVATE KEY-----\n",
                  "is an SSH key, which is not supported: write it as PEM: ssh-keygen -p -m PEM" },
                /* SEQUENCE { 0, { id-dsa }, OCTET STRING 02 01 01 } */
                { "-----BEGIN PRIVATE KEY-----\nMBMCAQAwCQYHKoZIzjgEAQQDAgEB\n-----END PRIVATE "
                  "KEY-----\n",
                  "is DSA," },
                /* id-ecPublicKey with a curve that nobody knows; and that curve in SEC1 */
                { "-----BEGIN PRIVATE KEY-----\nMB0CAQAwDgYHKoZIzj0CAQYDKgMEBAgwBgIBAQQBAQ==\n"
                  "-----END PRIVATE KEY-----\n",
                  "is EC on a curve that is not known here," },
                { "-----BEGIN EC PRIVATE KEY-----\nMA0CAQEEAQGgBQYDKgME\n-----END EC PRIVATE "
                  "KEY-----\n",
                  "is EC on a curve that is not known here," },
                /* an algorithm that nobody knows */
                { "-----BEGIN PRIVATE KEY-----\nMA8CAQAwBQYDKgMEBAMCAQE=\n-----END PRIVATE "
                  "KEY-----\n",
                  "is 1.2.3.4," },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                EVP_PKEY *other = issue_key(rows[i].type, rows[i].group, rows[i].bits);
                BIO *bio = BIO_new(BIO_s_mem());
                CLEANUP(bytes_deinit) Bytes data = { 0 };

                assert_true(PEM_write_bio_PKCS8PrivateKey(bio, other, NULL, NULL, 0, NULL, NULL));
                data = issue_take_bio(bio);
                taken_bundle(&data, NULL, CB_NOT_SUPPORTED, rows[i].words, NULL);
                EVP_PKEY_free(other);
        }
        for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
                CLEANUP(bytes_deinit) Bytes data = taken_text(labels[i].text);

                taken_bundle(&data, NULL, CB_NOT_SUPPORTED, labels[i].words, NULL);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(files_by_their_beginning),
                cmocka_unit_test(keys_without_a_certificate),
                cmocka_unit_test(structures_that_are_no_key),
                cmocka_unit_test(keys_of_other_types),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
