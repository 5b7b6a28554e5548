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
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "pki/context.h"
#include "pki/name.h"
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
        CLEANUP(freep) char *normal = NULL, *again = NULL;
        Failure failure = { 0 };

        (void)pki_name_normal(text, &normal, &failure);
        assert_string_equal(failure.text, "");
        assert_string_equal(normal, expected);
        assert_int_equal(pki_name_normal(normal, &again, &failure), 0);
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

/* Where an attribute has no type of its own, whatever is encoded stands in the request as it was given. */
static void test_encodings_are_kept(void **state)
{
        static const char *const values[] = {
                "04024869", "03020780", "020101", "0500", "30030101ff", "0c0161", "130161", "1e020061",
                "1c0400000061", "140161",
        };

        for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                char subject[64], wanted[32];
                CLEANUP(pki_request_freep) PkiRequest *request = NULL;
                CLEANUP(bytes_deinit) Bytes info = { 0 };
                Failure failure = { 0 };
                size_t n = strlen(values[i]) / 2;

                (void)snprintf(subject, sizeof(subject), "1.2.3.4=#%s,CN=x", values[i]);
                assert_int_equal(hex_decode(values[i], (uint8_t *)wanted, n), 0);
                (void)pki_request_new(subject, NULL, &spki, &request, &failure);
                assert_string_equal(failure.text, "");
                assert_int_equal(pki_request_info(request, &info), 0);
                assert_non_null(memmem(info.data, info.n, wanted, n));
        }
}

static void assert_says(const char *subject, const char *text)
{
        CLEANUP(pki_request_freep) PkiRequest *request = NULL;
        Failure failure = { 0 };

        assert_int_equal(pki_request_new(subject, NULL, &spki, &request, &failure),
                         CB_INVALID_ARGUMENT);
        assert_string_equal(failure.text, text);
}

static void test_says_which_attribute(void **state)
{
        char long_name[80] = "CN=";

        memset(long_name + 3, 'a', 65);
        assert_says(long_name, "the subject's attribute 'CN' has more than 64 characters");
        assert_says("O=a,C=Germany", "the subject's attribute 'C' has more than 2 characters");
        assert_says("c=D", "the subject's attribute 'c' has fewer than 2 characters");
        assert_says("CN=x,OU=", "the subject's attribute 'OU' is empty");
        assert_says("serialnumber=ü",
                    "the subject's attribute 'serialnumber' has a character that its type does not have");
        assert_says("emailAddress=\xc3\xbc@x",
                    "the subject's attribute 'emailAddress' has a character that its type does not have");
        assert_says("CN=x,Foo=y",
                    "the subject has an attribute of a type that is not known: 'Foo'; give its number, "
                    "as 2.5.4.3");
        assert_says("1.2.3.4=#0401,CN=x",
                    "the subject's attribute '1.2.3.4' has after # no value in DER that it may have");
        assert_says("1.2.3.4=#24800401610000",
                    "the subject's attribute '1.2.3.4' has after # no value in DER that it may have");
        assert_says("1.2.3.4=#0c01ff",
                    "the subject's attribute '1.2.3.4' has after # no value in DER that it may have");
        assert_says("CN=#0c41" "6161616161616161616161616161616161616161616161616161616161616161"
                    "616161616161616161616161616161616161616161616161616161616161616161",
                    "the subject's attribute 'CN' has more than 64 characters");
}

/* What authorities have written is found as it is shown, also what no request of ours may say. */
static void test_shown_names_are_found(void **state)
{
        static const struct {
                const char *text, *normal;
        } rows[] = {
                { "", "" },
                { "C=Germany", "C=Germany" },
                { "CN=", "CN=" },
                { "CN=,O=a", "CN=,O=a" },
                { "CN=#04024869", "CN=#04024869" },
                { "CN=#020101", "CN=#020101" },
                { "OU=b+OU=a,CN=#1703616263", "OU=b+OU=a,CN=#1703616263" },
                { "CN=#1e0400480069", "CN=Hi" },
                { "CN=#1c080000004800000069", "CN=Hi" },
                { "CN=#1401fc", "CN=ü" },
                { "1.2.3.4=#04024869,CN=x", "1.2.3.4=#04024869,CN=x" },
                { "CN=y,1.3.6.1.4.1.99999.7=#0C0178", "CN=y,1.3.6.1.4.1.99999.7=#0C0178" },
                { "CN=abc\\E2\\80\\8E", "CN=abc\\E2\\80\\8E" },
                { "CN=abc\u200e", "CN=abc\\E2\\80\\8E" },
                { "CN=\\ a\\#\\,\\2C\\ ", "CN=\\ a#\\,\\,\\ " },
                { "CN=\\#a", "CN=\\#a" },
                { "C=DE+O=a,O=b", "C=DE+O=a,O=b" },
                { "O=a+C=DE,O=b", "C=DE+O=a,O=b" },
                { "SERIALNUMBER=1,E=a@b,STREET=s", "serialNumber=1,emailAddress=a@b,street=s" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_normal(rows[i].text, rows[i].normal);
}

/* What is looked for and is no name: why. */
static void test_names_that_are_none(void **state)
{
        static const struct {
                const char *text, *why;
        } rows[] = {
                { "CN=#0c01ff", "attribute 'CN' has after # no value in DER" },
                { "CN=#1e0161", "attribute 'CN' has after # no value in DER" },
                { "CN=#04", "no value in DER" },
                { "Foo=a", "a type that is not known: 'Foo'; give its number" },
                { "F\u200eoo=a", "not a distinguished name" },
                { "CN", "is not a distinguished name; write it as in RFC 4514" },
                { "CN=a,", "is not a distinguished name" },
                { "CN=a\\", "is not a distinguished name" },
                { "OID=a", "a type that is not known: 'OID'" },
                { "OID.2.5.4.3=a", "and numbers without 'OID.' ahead of them: 2.5.4.3=" },
                { "CN=b,oid.1.2.3=a", "and numbers without 'OID.' ahead of them: 2.5.4.3=" },
                { "CN=\xff", "not UTF-8" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char *normal = NULL;
                Failure failure = { 0 };

                assert_int_equal(pki_name_normal(rows[i].text, &normal, &failure), CB_INVALID_ARGUMENT);
                if (!strstr(failure.text, rows[i].why))
                        print_error("%s: %s\n", rows[i].text, failure.text);
                assert_non_null(strstr(failure.text, rows[i].why));
                assert_null(normal);
        }
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
                cmocka_unit_test(test_encodings_are_kept),
                cmocka_unit_test(test_says_which_attribute),
                cmocka_unit_test(test_shown_names_are_found),
                cmocka_unit_test(test_names_that_are_none),
                cmocka_unit_test(test_algorithm),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
