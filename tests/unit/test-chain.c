/* SPDX-License-Identifier: Apache-2.0 */
/* Chains: certificates in any form and order, with strangers, gaps and circles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/pkcs7.h>

#include "issue.h"
#include "pki/certificates.h"
#include "pki/x509.h"

/* A root, an intermediate and leaves, made once. */
static struct {
        EVP_PKEY *root_key, *ca_key, *key, *other_key;
        X509 *root, *ca, *leaf, *other_leaf;
        Bytes spki;
} pki;

static int setup(void **state)
{
        issue_setup(state);
        pki.root_key = issue_p256();
        pki.ca_key = issue_p256();
        pki.key = issue_p256();
        pki.other_key = issue_p256();
        pki.root = issue_certificate(&(Issue){ .name = "root", .key = pki.root_key });
        pki.ca = issue_certificate(&(Issue){
                .name = "ca", .key = pki.ca_key, .issuer = pki.root, .issuer_key = pki.root_key });
        pki.leaf = issue_certificate(&(Issue){
                .name = "leaf", .key = pki.key, .issuer = pki.ca, .issuer_key = pki.ca_key });
        pki.other_leaf = issue_certificate(&(Issue){ .name = "other",
                                                     .key = pki.other_key,
                                                     .issuer = pki.ca,
                                                     .issuer_key = pki.ca_key });
        pki.spki = issue_spki(pki.key);
        return 0;
}

static int teardown(void **state)
{
        EVP_PKEY_free(pki.root_key);
        EVP_PKEY_free(pki.ca_key);
        EVP_PKEY_free(pki.key);
        EVP_PKEY_free(pki.other_key);
        X509_free(pki.root);
        X509_free(pki.ca);
        X509_free(pki.leaf);
        X509_free(pki.other_leaf);
        bytes_deinit(&pki.spki);
        return 0;
}

static void sort_and_expect(const BytesList *in, const Bytes *spki, X509 *const *expected, size_t n,
                            const char *expected_missing)
{
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(freep) char *missing = NULL;
        Failure failure = { 0 };

        assert_int_equal(pki_chain_sort(in, spki, &chain, &missing, &failure), 0);
        assert_int_equal(chain.n, n);
        for (size_t i = 0; i < n; i++) {
                CLEANUP(bytes_deinit) Bytes der = issue_der(expected[i]);

                assert_true(bytes_equal(&der, &chain.items[i]));
        }
        if (expected_missing)
                assert_string_equal(missing, expected_missing);
        else
                assert_null(missing);
}

static void chain_in_any_order(void **state)
{
        static const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                          { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
        X509 *const expected[] = { pki.leaf, pki.ca, pki.root };

        for (size_t i = 0; i < ELEMENTSOF(orders); i++) {
                CLEANUP(bytes_list_deinit) BytesList in = { 0 };

                for (int k = 0; k < 3; k++)
                        issue_append(&in, expected[orders[i][k]]);
                sort_and_expect(&in, &pki.spki, expected, 3, NULL);
                sort_and_expect(&in, NULL, expected, 3, NULL);
        }
}

static void strangers_and_doubles_are_dropped(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        X509 *const expected[] = { pki.leaf, pki.ca };
        X509 *stranger = issue_certificate(&(Issue){ .name = "stranger", .key = pki.other_key });

        issue_append(&in, stranger);
        issue_append(&in, pki.ca);
        issue_append(&in, pki.leaf);
        issue_append(&in, pki.ca);
        issue_append(&in, pki.other_leaf);
        issue_append(&in, pki.leaf);
        sort_and_expect(&in, &pki.spki, expected, 2, NULL);
        X509_free(stranger);
}

static void leaf_alone_misses_its_issuer(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        CLEANUP(bytes_list_deinit) BytesList gap = { 0 };
        CLEANUP(bytes_list_deinit) BytesList root = { 0 };

        issue_append(&in, pki.leaf);
        sort_and_expect(&in, &pki.spki, &pki.leaf, 1, "CN=ca");
        issue_append(&gap, pki.root);
        issue_append(&gap, pki.leaf);
        sort_and_expect(&gap, &pki.spki, &pki.leaf, 1, "CN=ca");
        issue_append(&root, pki.root);
        sort_and_expect(&root, NULL, &pki.root, 1, NULL);
}

/* Two authorities of one name: the signature decides. */
static void issuer_is_found_by_signature(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        X509 *const expected[] = { pki.leaf, pki.ca, pki.root };
        X509 *impostor = issue_certificate(&(Issue){ .name = "ca",
                                                     .key = pki.other_key,
                                                     .issuer = pki.root,
                                                     .issuer_key = pki.root_key });

        issue_append(&in, impostor);
        issue_append(&in, pki.root);
        issue_append(&in, pki.ca);
        issue_append(&in, pki.leaf);
        sort_and_expect(&in, &pki.spki, expected, 3, NULL);
        X509_free(impostor);
}

static void cross_signed_twin_goes_first(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        EVP_PKEY *old_key = issue_p256();
        X509 *old_root = issue_certificate(&(Issue){ .name = "old root", .key = old_key });
        X509 *cross = issue_certificate(&(Issue){
                .name = "root", .key = pki.root_key, .issuer = old_root, .issuer_key = old_key });
        X509 *const expected[] = { pki.leaf, pki.ca, cross, old_root };

        issue_append(&in, pki.root);
        issue_append(&in, old_root);
        issue_append(&in, cross);
        issue_append(&in, pki.ca);
        issue_append(&in, pki.leaf);
        sort_and_expect(&in, &pki.spki, expected, 4, NULL);
        X509_free(cross);
        X509_free(old_root);
        EVP_PKEY_free(old_key);
}

static void renewed_leaf_is_the_newest(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        X509 *newer = issue_certificate(&(Issue){ .name = "leaf",
                                                  .key = pki.key,
                                                  .issuer = pki.ca,
                                                  .issuer_key = pki.ca_key,
                                                  .not_before = (int64_t)time(NULL) + 3600 });
        X509 *const expected[] = { newer, pki.ca };

        issue_append(&in, pki.leaf);
        issue_append(&in, newer);
        issue_append(&in, pki.ca);
        sort_and_expect(&in, &pki.spki, expected, 2, NULL);
        X509_free(newer);
}

static int sort_fails(const BytesList *in, const Bytes *spki)
{
        BytesList chain = { 0 };
        char *missing = NULL;
        Failure failure = { 0 };
        int r = pki_chain_sort(in, spki, &chain, &missing, &failure);

        assert_true(r != 0 && chain.n == 0 && !missing && failure.text[0]);
        assert_int_equal(failure.status, r);
        return r;
}

static void chains_that_are_none(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        CLEANUP(bytes_list_deinit) BytesList junk = { 0 };

        assert_int_equal(sort_fails(&in, &pki.spki), CB_BAD_BUNDLE);
        issue_append(&in, pki.other_leaf);
        assert_int_equal(sort_fails(&in, &pki.spki), CB_KEY_MISMATCH);
        issue_append(&in, pki.leaf);
        assert_int_equal(sort_fails(&in, NULL), CB_BAD_BUNDLE); /* two leaves */
        assert_int_equal(bytes_list_append(&junk, "junk", 4), 0);
        assert_int_equal(sort_fails(&junk, NULL), CB_BAD_BUNDLE);
        for (int i = 0; i <= PKI_CERTIFICATES_MAX; i++)
                issue_append(&in, pki.leaf);
        assert_int_equal(sort_fails(&in, &pki.spki), CB_BAD_BUNDLE);
}

static void chain_that_is_too_long(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        X509 *chain[PKI_CHAIN_MAX + 1];
        char name[16];

        for (size_t i = 0; i < ELEMENTSOF(chain); i++) {
                snprintf(name, sizeof(name), "ca %zu", i);
                chain[i] = issue_certificate(&(Issue){
                        .name = name, .key = pki.key, .issuer = i > 0 ? chain[i - 1] : NULL });
                issue_append(&in, chain[i]);
        }
        assert_int_equal(sort_fails(&in, NULL), CB_BAD_BUNDLE);
        for (size_t i = 0; i < ELEMENTSOF(chain); i++)
                X509_free(chain[i]);
}

/* A circle has no end, but the walk through it has. */
static void circle_ends(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        Failure failure = { 0 };
        X509 *a = issue_certificate(&(Issue){ .name = "a", .key = pki.key });
        X509 *b = issue_certificate(
                &(Issue){ .name = "b", .key = pki.other_key, .issuer = a, .issuer_key = pki.key });
        X509 *a2 = issue_certificate(
                &(Issue){ .name = "a", .key = pki.key, .issuer = b, .issuer_key = pki.other_key });

        issue_append(&in, b);
        issue_append(&in, a2);
        assert_int_equal(sort_fails(&in, NULL), CB_BAD_BUNDLE);
        assert_int_equal(pki_chain_sort(&in, &pki.spki, &chain, NULL, &failure), 0);
        assert_int_equal(chain.n, 2);
        X509_free(a);
        X509_free(b);
        X509_free(a2);
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
                cmocka_unit_test(chain_in_any_order),
                cmocka_unit_test(strangers_and_doubles_are_dropped),
                cmocka_unit_test(leaf_alone_misses_its_issuer),
                cmocka_unit_test(issuer_is_found_by_signature),
                cmocka_unit_test(cross_signed_twin_goes_first),
                cmocka_unit_test(renewed_leaf_is_the_newest),
                cmocka_unit_test(chains_that_are_none),
                cmocka_unit_test(chain_that_is_too_long),
                cmocka_unit_test(circle_ends),
                cmocka_unit_test(certificates_in_pem),
                cmocka_unit_test(certificates_in_der_and_pkcs7),
                cmocka_unit_test(files_without_certificates),
                cmocka_unit_test(pem_cut_anywhere_never_gains),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
