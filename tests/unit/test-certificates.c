/* SPDX-License-Identifier: Apache-2.0 */
/* Files of certificates: PEM, DER, PKCS#7, whole and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/pkcs7.h>

#include "issue.h"
#include "pki/x509.h"

static struct {
        EVP_PKEY *key;
        X509 *root, *ca, *leaf;
} pki;

static int setup(void **state)
{
        issue_setup(state);
        pki.key = issue_p256();
        pki.root = issue_certificate(&(Issue){ .name = "root", .key = pki.key });
        pki.ca = issue_certificate(&(Issue){ .name = "ca", .key = pki.key, .issuer = pki.root });
        pki.leaf = issue_certificate(&(Issue){ .name = "leaf", .key = pki.key, .issuer = pki.ca });
        return 0;
}

static int teardown(void **state)
{
        EVP_PKEY_free(pki.key);
        X509_free(pki.root);
        X509_free(pki.ca);
        X509_free(pki.leaf);
        return 0;
}

static Bytes pem_of(X509 *const *certificates, size_t n, const char *before)
{
        BIO *bio = BIO_new(BIO_s_mem());

        for (size_t i = 0; i < n; i++) {
                BIO_puts(bio, before);
                assert_true(PEM_write_bio_X509(bio, certificates[i]));
        }
        return issue_take_bio(bio);
}

static int parse(const Bytes *data, BytesList *list)
{
        Failure failure = { 0 };
        int r = pki_certificates_parse(data->data, data->n, list, &failure);

        assert_int_equal(failure.status, r);
        return r;
}

static void expect_certificates(const Bytes *data, X509 *const *expected, size_t n)
{
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };

        assert_int_equal(parse(data, &list), 0);
        assert_int_equal(list.n, n);
        for (size_t i = 0; i < n; i++) {
                CLEANUP(bytes_deinit) Bytes der = issue_der(expected[i]);

                assert_true(bytes_equal(&der, &list.items[i]));
        }
}

static void certificates_in_pem(void **state)
{
        X509 *const certificates[] = { pki.root, pki.leaf, pki.ca };
        CLEANUP(bytes_deinit) Bytes plain = pem_of(certificates, 3, "");
        CLEANUP(bytes_deinit) Bytes talk = pem_of(certificates, 3, "Bag Attributes\n  x: -----\n");
        CLEANUP(bytes_deinit) Bytes crlf = { 0 };
        BIO *bio = BIO_new(BIO_s_mem());

        expect_certificates(&plain, certificates, 3);
        expect_certificates(&talk, certificates, 3);
        for (size_t i = 0; i < plain.n; i++)
                BIO_write(bio, plain.data[i] == '\n' ? "\r\n" : (char *)plain.data + i,
                          plain.data[i] == '\n' ? 2 : 1);
        crlf = issue_take_bio(bio);
        expect_certificates(&crlf, certificates, 3);
        expect_certificates(&(Bytes){ plain.data, plain.n - 1 }, certificates,
                            3); /* no last newline */
}

static void certificates_in_der_and_pkcs7(void **state)
{
        X509 *const certificates[] = { pki.leaf, pki.ca };
        CLEANUP(bytes_deinit) Bytes der = issue_der(pki.leaf);
        CLEANUP(bytes_deinit) Bytes p7_der = { 0 };
        CLEANUP(bytes_deinit) Bytes p7_pem = { 0 };
        PKCS7 *p7 = PKCS7_new_ex(pki_context(), NULL);
        BIO *bio = BIO_new(BIO_s_mem()), *pem = BIO_new(BIO_s_mem());

        expect_certificates(&der, certificates, 1);
        assert_true(PKCS7_set_type(p7, NID_pkcs7_signed) && PKCS7_content_new(p7, NID_pkcs7_data) &&
                    PKCS7_add_certificate(p7, pki.leaf) && PKCS7_add_certificate(p7, pki.ca));
        assert_true(i2d_PKCS7_bio(bio, p7) && PEM_write_bio_PKCS7(pem, p7));
        p7_der = issue_take_bio(bio);
        p7_pem = issue_take_bio(pem);
        expect_certificates(&p7_der, certificates, 2);
        expect_certificates(&p7_pem, certificates, 2);
        PKCS7_free(p7);
}

static void files_without_certificates(void **state)
{
        static uint8_t zeros[PKI_INPUT_MAX + 1];
        static const char *const texts[] = {
                "",
                "hello",
                "-----BEGIN CERTIFICATE-----\n",
                "-----BEGIN -----\n-----END -----\n",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\nMAA=\n-----END X509 CRL-----\n",
                "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n",
                "-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n",
        };
        BytesList list = { 0 };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                CLEANUP(bytes_deinit) Bytes data = { 0 };

                assert_int_equal(bytes_set(&data, texts[i], strlen(texts[i])), 0);
                assert_int_equal(parse(&data, &list), CB_BAD_BUNDLE);
        }
        assert_int_equal(parse(&(Bytes){ zeros, sizeof(zeros) }, &list), CB_BAD_BUNDLE);
        assert_int_equal(list.n, 0);
        assert_int_equal(ERR_peek_error(), 0);
}

static void pem_cut_anywhere_never_gains(void **state)
{
        X509 *const certificates[] = { pki.leaf, pki.ca };
        CLEANUP(bytes_deinit) Bytes pem = pem_of(certificates, 2, "x\n");

        for (size_t n = 0; n < pem.n - 1; n++) {
                CLEANUP(bytes_list_deinit) BytesList list = { 0 };
                CLEANUP(bytes_deinit) Bytes cut = { 0 };

                assert_int_equal(bytes_set(&cut, pem.data, n), 0); /* exact, for the sanitizer */
                if (parse(&cut, &list) == 0)
                        assert_int_equal(list.n, 1);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(certificates_in_pem),
                cmocka_unit_test(certificates_in_der_and_pkcs7),
                cmocka_unit_test(files_without_certificates),
                cmocka_unit_test(pem_cut_anywhere_never_gains),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
