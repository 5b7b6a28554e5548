/* SPDX-License-Identifier: Apache-2.0 */
/* Certification requests: what is built here and signed elsewhere, OpenSSL reads and verifies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "pki/context.h"
#include "pki/request.h"

static EVP_PKEY *key;
static Bytes spki;

static int setup(void **state)
{
        unsigned char *der = NULL;
        int n;

        assert_int_equal(pki_init(), 0);
        key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        n = i2d_PUBKEY(key, &der);
        assert_true(n > 0);
        assert_int_equal(bytes_set(&spki, der, (size_t)n), 0);
        OPENSSL_free(der);
        return 0;
}

static int teardown(void **state)
{
        bytes_deinit(&spki);
        EVP_PKEY_free(key);
        return 0;
}

static void sign(const Bytes *info, Bytes *ret_signature)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        unsigned char signature[128];
        size_t n = sizeof(signature);

        assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
        assert_int_equal(EVP_DigestSign(context, signature, &n, info->data, info->n), 1);
        EVP_MD_CTX_free(context);
        assert_int_equal(bytes_set(ret_signature, signature, n), 0);
}

static X509_REQ *build(const char *subject, char **names)
{
        CLEANUP(pki_request_freep) PkiRequest *request = NULL;
        CLEANUP(bytes_deinit) Bytes info = { 0 }, signature = { 0 }, der = { 0 };
        const unsigned char *position;
        Failure failure = { 0 };
        X509_REQ *req;

        assert_int_equal(pki_request_new(subject, names, &spki, &request, &failure), 0);
        assert_int_equal(pki_request_info(request, &info), 0);
        sign(&info, &signature);
        assert_int_equal(pki_request_finish(request, ALGORITHM_ECDSA_SHA256, &signature, &der), 0);
        position = der.data;
        req = d2i_X509_REQ(NULL, &position, (long)der.n);
        assert_non_null(req);
        assert_int_equal(X509_REQ_verify(req, key), 1);
        return req;
}

static void test_subject_and_names(void **state)
{
        char *names[] = { (char[]){ "DNS:orders.example" }, (char[]){ "IP:192.0.2.1" },
                          (char[]){ "URI:spiffe://example/orders" }, (char[]){ "email:a@example.org" }, NULL };
        X509_REQ *req = build("CN=orders\\, main,OU=a+serialNumber=7,O=Example,c=DE", names);
        STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(req);
        GENERAL_NAMES *alt = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
        char text[256];
        BIO *out = BIO_new(BIO_s_mem());
        int n;

        X509_NAME_print_ex(out, X509_REQ_get_subject_name(req), 0, XN_FLAG_RFC2253);
        n = BIO_read(out, text, sizeof(text) - 1);
        assert_true(n > 0);
        text[n] = '\0';
        assert_string_equal(text, "CN=orders\\, main,OU=a+serialNumber=7,O=Example,C=DE");
        assert_int_equal(sk_GENERAL_NAME_num(alt), 4);
        assert_int_equal(sk_GENERAL_NAME_value(alt, 0)->type, GEN_DNS);
        assert_int_equal(sk_GENERAL_NAME_value(alt, 1)->type, GEN_IPADD);

        BIO_free(out);
        GENERAL_NAMES_free(alt);
        sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
        X509_REQ_free(req);
}

static void test_names_alone_are_enough(void **state)
{
        char *names[] = { (char[]){ "DNS:orders.example" }, NULL };
        X509_REQ *req = build("", names);

        assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(req)), 0);
        X509_REQ_free(req);
}

static void assert_refused(const char *subject, const char *name, const char *word)
{
        CLEANUP(pki_request_freep) PkiRequest *request = NULL;
        char *names[] = { name ? strdup(name) : NULL, NULL };
        Failure failure = { 0 };

        assert_int_equal(pki_request_new(subject, names, &spki, &request, &failure),
                         CB_INVALID_ARGUMENT);
        assert_non_null(strstr(failure.text, word));
        assert_null(request);
        freep(&names[0]);
}

static void test_refused(void **state)
{
        assert_refused("", NULL, "needs");
        assert_refused("orders", NULL, "RFC 4514");
        assert_refused("CN=a,,O=b", NULL, "RFC 4514");
        assert_refused("CN=\\zz", NULL, "RFC 4514");
        assert_refused("NoSuchThing=a", NULL, "attribute");
        assert_refused("CN=", NULL, "attribute");
        assert_refused("C=Germany", NULL, "attribute");
        assert_refused("CN=\xff", NULL, "UTF-8");
        assert_refused("CN=a", "orders.example", "alternative name");
        assert_refused("CN=a", "DNS:", "alternative name");
        assert_refused("CN=a", "DNS:a b", "alternative name");
        assert_refused("CN=a", "IP:300.1.1.1", "alternative name");
        assert_refused("CN=a", "dirName:x", "alternative name");
        assert_refused("CN=a", "email:nobody", "alternative name");
        assert_refused("CN=a", "email:@example.org", "alternative name");
        assert_refused("CN=a", "email:a@", "alternative name");
        assert_refused("CN=a", "email:a@b@example.org", "alternative name");
}

static void assert_normal(const char *text, const char *expected)
{
        CLEANUP(freep) char *normal = pki_name_normal(text);
        CLEANUP(freep) char *again = normal ? pki_name_normal(normal) : NULL;

        assert_non_null(normal);
        assert_string_equal(normal, expected);
        assert_non_null(again);
        assert_string_equal(again, expected);
}

/* A value by its encoding means what is encoded; so a name that was written reads as the same name. */
static void test_encoded_values(void **state)
{
        assert_normal("CN=#0c03c3bc62", "CN=üb");
        assert_normal("C=#13024445+O=a", "C=DE+O=a");
        assert_normal("1.2.3.4=#0C0161,CN=b", "1.2.3.4=#0C0161,CN=b");
        assert_normal("1.2.3.4=#130161", "1.2.3.4=#130161");
        assert_normal("1.2.3.4=a", "1.2.3.4=#0C0161");
        assert_refused("C=#0c074765726d616e79", NULL, "attribute"); /* Germany */
        assert_refused("CN=#0c01ff", NULL, "attribute");
        assert_refused("CN=#0c00", NULL, "attribute");
        assert_refused("CN=#020101", NULL, "attribute");
        assert_refused("CN=#0c0161ff", NULL, "attribute");
        assert_refused("CN=#ff", NULL, "attribute");
}

static void test_algorithm(void **state)
{
        assert_int_equal(pki_request_algorithm(0), ALGORITHM_NONE);
        assert_int_equal(pki_request_algorithm(ALGORITHM_BIT(ALGORITHM_RSA_PSS_SHA256)), ALGORITHM_NONE);
        assert_int_equal(pki_request_algorithm(algorithms_of_key(KEY_TYPE_EC_P256)),
                         ALGORITHM_ECDSA_SHA256);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_subject_and_names),
                cmocka_unit_test(test_names_alone_are_enough),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_encoded_values),
                cmocka_unit_test(test_algorithm),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
