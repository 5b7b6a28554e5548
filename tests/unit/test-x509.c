/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: facts, and names that are no text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/strings.h"
#include "issue.h"
#include "pki/x509.h"

static struct {
        EVP_PKEY *key, *other_key;
        X509 *root;
        Bytes spki;
} pki;

static int setup(void **state)
{
        issue_setup(state);
        pki.key = issue_p256();
        pki.other_key = issue_p256();
        pki.root = issue_certificate(&(Issue){ .name = "root", .key = pki.other_key });
        pki.spki = issue_spki(pki.key);
        return 0;
}

static int teardown(void **state)
{
        EVP_PKEY_free(pki.key);
        EVP_PKEY_free(pki.other_key);
        X509_free(pki.root);
        bytes_deinit(&pki.spki);
        return 0;
}

static int facts_of(X509 *x, CertificateFacts *facts)
{
        CLEANUP(bytes_deinit) Bytes der = issue_der(x);
        Failure failure = { 0 };

        return pki_certificate_facts(der.data, der.n, facts, &failure);
}

/* The values are python3-cryptography's. */
static void facts_of_known_certificate(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        CLEANUP(bytes_deinit) Bytes der = issue_read_data("facts.der");
        static const char *const names[] = { "DNS:orders.example.com",
                                             "DNS:*.example.com",
                                             "IP:192.0.2.1",
                                             "IP:2001:db8::1",
                                             "URI:spiffe://example.com/orders",
                                             "email:ops@example.com",
                                             "DirName:CN=dir",
                                             "RID:1.2.3" };
        Failure failure = { 0 };

        assert_int_equal(pki_certificate_facts(der.data, der.n, &f, &failure), 0);
        assert_string_equal(f.subject,
                            "CN=orders gateway,OU=\\#1\\ ,"
                            "O=Größe\\, \\\"Gamma\\\" \\+ Söhne \\\\ Co\\; \\<1\\>,C=DE");
        assert_string_equal(f.issuer, "CN=Issuing CA,C=DE");
        assert_string_equal(f.serial_number, "0A3F00FF112233");
        assert_string_equal(f.thumbprint, "48010CC0A61E37FA34096E573CD7698E6893254C");
        assert_string_equal(f.thumbprint_sha256,
                            "1FBC47F2174DE5FB2DA09510326AABFE19B0561634B3EB3385FCDDF5BAE5D656");
        assert_true(f.not_before_sec == 1582979415 && f.not_after_sec == UINT64_C(2556144000));
        assert_false(f.self_signed);
        assert_int_equal(f.key_type, KEY_TYPE_EC_P256);
        assert_int_equal(f.spki.n, 91);
        assert_memory_equal(f.spki.data + 27, "\x26\x6c\x63\x71", 4);
        assert_int_equal(strv_length(f.subject_alt_names), ELEMENTSOF(names));
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_string_equal(f.subject_alt_names[i], names[i]);
}

/* What is said to be its key only spares work: another key is never taken for its own. */
static void facts_with_a_key_that_is_known(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        CLEANUP(certificate_facts_deinit) CertificateFacts again = { 0 };
        CLEANUP(bytes_deinit) Bytes der = issue_read_data("facts.der");
        CLEANUP(bytes_deinit) Bytes other = { 0 };
        Failure failure = { 0 };

        assert_int_equal(pki_certificate_facts(der.data, der.n, &f, &failure), 0);
        assert_int_equal(pki_certificate_facts_of(der.data, der.n, &f.spki, &again, &failure), 0);
        assert_true(bytes_equal(&again.spki, &f.spki));
        certificate_facts_deinit(&again);
        again = (CertificateFacts){ 0 };

        assert_int_equal(bytes_set(&other, f.spki.data, f.spki.n), 0);
        other.data[other.n - 1] ^= 1;
        assert_int_equal(pki_certificate_facts_of(der.data, der.n, &other, &again, &failure), 0);
        assert_true(bytes_equal(&again.spki, &f.spki));
}

static void every_cut_of_a_certificate_is_refused(void **state)
{
        CLEANUP(bytes_deinit) Bytes der = issue_read_data("facts.der");
        uint8_t *longer = calloc(1, der.n + 1);
        CertificateFacts f = { 0 };
        Failure failure = { 0 };

        for (size_t n = 0; n < der.n; n++)
                assert_int_equal(pki_certificate_facts(der.data, n, &f, &failure), CB_BAD_BUNDLE);
        memcpy(longer, der.data, der.n);
        assert_int_equal(pki_certificate_facts(longer, der.n + 1, &f, &failure), CB_BAD_BUNDLE);
        free(longer);
        assert_true(utf8_is_valid(failure.text, strlen(failure.text)) && failure.text[0]);
        assert_null(f.subject);
}

/*
 * Nothing that one changed byte makes of it may crash, leak, or show text that D-Bus would abort
 * on.
 */
static void every_byte_changed(void **state)
{
        CLEANUP(bytes_deinit) Bytes der = issue_read_data("facts.der");

        for (size_t i = 0; i < der.n; i++)
                for (unsigned v = 1; v < 256; v <<= 1) {
                        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
                        Failure failure = { 0 };
                        int r;

                        der.data[i] ^= (uint8_t)v;
                        r = pki_certificate_facts(der.data, der.n, &f, &failure);
                        der.data[i] ^= (uint8_t)v;
                        assert_true(r == 0 || r == CB_BAD_BUNDLE || r == CB_NOT_SUPPORTED);
                        if (r)
                                continue;
                        assert_true(utf8_is_valid(f.subject, strlen(f.subject)));
                        for (char **name = f.subject_alt_names; name && *name; name++)
                                assert_true(utf8_is_valid(*name, strlen(*name)));
                }
}

static void self_signed_needs_the_signature(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        X509 *pretender = issue_certificate(&(Issue){
                .name = "root", .key = pki.key, .issuer = pki.root, .issuer_key = pki.other_key });

        assert_int_equal(facts_of(pki.root, &f), 0);
        assert_true(f.self_signed);
        certificate_facts_deinit(&f);
        assert_int_equal(facts_of(pretender, &f), 0);
        assert_string_equal(f.subject, f.issuer);
        assert_false(f.self_signed);
        X509_free(pretender);
}

static void ed25519_certificate(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        EVP_PKEY *key = issue_key("ED25519", NULL, 0);
        X509 *x = issue_certificate(&(Issue){ .name = "ed", .key = key, .no_digest = true });

        assert_int_equal(facts_of(x, &f), 0);
        assert_int_equal(f.key_type, KEY_TYPE_ED25519);
        assert_true(f.self_signed);
        X509_free(x);
        EVP_PKEY_free(key);
}

static void unsupported_key_is_refused(void **state)
{
        EVP_PKEY *key = issue_key("EC", "secp256k1", 0);
        X509 *x = issue_certificate(&(Issue){ .name = "odd\x01", .key = key });
        CLEANUP(bytes_deinit) Bytes der = issue_der(x);
        CertificateFacts f = { 0 };
        Failure failure = { 0 };

        assert_int_equal(pki_certificate_facts(der.data, der.n, &f, &failure), CB_NOT_SUPPORTED);
        assert_non_null(strstr(failure.text, "CN=odd\\01"));
        X509_free(x);
        EVP_PKEY_free(key);
}

static void compressed_point_gives_the_same_spki(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        EVP_PKEY *key = EVP_PKEY_dup(pki.key);
        X509 *x;

        assert_true(
                EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                               OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_COMPRESSED));
        x = issue_certificate(&(Issue){ .name = "compressed", .key = key });
        assert_int_equal(facts_of(x, &f), 0);
        assert_true(bytes_equal(&f.spki, &pki.spki));
        X509_free(x);
        EVP_PKEY_free(key);
}

static void times_before_1970_are_1970(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        X509 *x =
                issue_certificate(&(Issue){ .name = "old", .key = pki.key, .not_before = -90000 });

        assert_int_equal(facts_of(x, &f), 0);
        assert_true(f.not_before_sec == 0 && f.not_after_sec == 0);
        X509_free(x);
}

/* One name entry of any string type, with bytes that need not fit it. */
static char *name_with(int type, const void *data, size_t n)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        X509_NAME *name = X509_NAME_new();
        ASN1_OBJECT *cn = OBJ_nid2obj(NID_commonName);
        X509_NAME_ENTRY *entry;
        X509 *x;
        char *text;

        entry = X509_NAME_ENTRY_create_by_OBJ(NULL, cn, type, data, (int)n);
        assert_true(entry && X509_NAME_add_entry(name, entry, -1, 0));
        X509_NAME_ENTRY_free(entry);
        x = issue_certificate(&(Issue){ .key = pki.key, .subject = name });
        assert_int_equal(facts_of(x, &f), 0);
        assert_true(utf8_is_valid(f.subject, strlen(f.subject)));
        for (const char *p = f.subject; *p; p++)
                assert_true((uint8_t)*p >= 0x20 && *p != 0x7f);
        text = TAKE(f.subject);
        X509_NAME_free(name);
        X509_free(x);
        return text;
}

static void names_that_are_no_text(void **state)
{
        static const struct {
                int type;
                const char *data;
                size_t n;
                const char *text;
        } rows[] = {
                { V_ASN1_UTF8STRING, "M\xc3\xbcller", 7, "CN=M\xc3\xbcller" },
                { V_ASN1_UTF8STRING, "a\nb\x1b[31m", 8, "CN=a\\0Ab\\1B[31m" },
                { V_ASN1_UTF8STRING, "c1\xc2\x9b", 4, "CN=c1\\C2\\9B" },
                { V_ASN1_UTF8STRING, "\xe2\x80\xaetxt", 6, "CN=\\E2\\80\\AEtxt" },
                { V_ASN1_UTF8STRING, "abc\xe2\x80\x8e", 6, "CN=abc\\E2\\80\\8E" },
                { V_ASN1_UTF8STRING, "\xc2\xad\xc3\xbc", 4, "CN=\\C2\\AD\\C3\\BC" },
                { V_ASN1_UTF8STRING, "a\xf3\xa0\x81\x81", 5, "CN=a\\F3\\A0\\81\\81" },
                { V_ASN1_UTF8STRING, "nul\0x", 5, "CN=nul\\00x" },
                { V_ASN1_T61STRING, "M\xfcller", 6,
                  "CN=M\xc3\xbcller" }, /* Latin-1, as all write it */
                { V_ASN1_BMPSTRING, "\0M\0\xfc", 4, "CN=M\xc3\xbc" },
                { V_ASN1_PRINTABLESTRING, "a@b\xff", 4, "CN=a@b\xc3\xbf" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(freep) char *text = name_with(rows[i].type, rows[i].data, rows[i].n);

                assert_string_equal(text, rows[i].text);
        }
}

/* libcrypto takes no name apart that is not what its type says. */
static void name_that_lies_about_its_type(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        X509 *x = issue_certificate(&(Issue){ .name = "bad-bytes", .key = pki.key });
        CLEANUP(bytes_deinit) Bytes der = issue_der(x);
        Failure failure = { 0 };
        uint8_t *at;

        while ((at = memmem(der.data, der.n, "bad-bytes", 9)))
                at[3] = 0xff;
        assert_int_equal(pki_certificate_facts(der.data, der.n, &f, &failure), CB_BAD_BUNDLE);
        X509_free(x);
}

static void name_is_bounded(void **state)
{
        char long_name[4000];
        CLEANUP(freep) char *text = NULL;
        CLEANUP(freep) char *escaped = NULL;

        memset(long_name, 'a', sizeof(long_name));
        text = name_with(V_ASN1_UTF8STRING, long_name, sizeof(long_name));
        assert_int_equal(strlen(text), PKI_NAME_MAX);
        assert_string_equal(text + PKI_NAME_MAX - 4, "a…");
        memset(long_name, 0x01, sizeof(long_name));
        escaped = name_with(V_ASN1_UTF8STRING, long_name, sizeof(long_name));
        assert_true(strlen(escaped) <= PKI_NAME_MAX);
        assert_string_equal(escaped + strlen(escaped) - 6, "\\01…");
}

/* Named in a sentence: by its kind, and by as much of its subject as there is room for. */
static void key_of_another_kind(void **state)
{
        static const uint8_t ec[] = { 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01 };
        X509_NAME *name = X509_NAME_new();
        CertificateFacts f = { 0 };
        Failure failure = { 0 };
        char text[2 * 64 + 1] = "";
        uint8_t *at;
        X509 *x;

        for (size_t i = 0; i < 64; i++)
                strcat(text, "я");
        assert_true(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                               (const unsigned char *)text, -1, -1, 0));
        x = issue_certificate(&(Issue){ .key = pki.key, .subject = name });
        CLEANUP(bytes_deinit) Bytes der = issue_der(x);
        at = memmem(der.data, der.n, ec, sizeof(ec));
        assert_non_null(at);
        at[sizeof(ec) - 1] = 0x7f;
        assert_int_equal(pki_certificate_facts(der.data, der.n, &f, &failure), CB_NOT_SUPPORTED);
        assert_non_null(strstr(failure.text, "яя…\" is 1.2.840.10045.2.127, which is not supported"));
        assert_int_equal(ERR_peek_error(), 0);
        X509_free(x);
        X509_NAME_free(name);
}

static void empty_subject(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        X509_NAME *name = X509_NAME_new();
        X509 *x = issue_certificate(&(Issue){ .key = pki.key, .subject = name });

        assert_int_equal(facts_of(x, &f), 0);
        assert_string_equal(f.subject, "");
        X509_free(x);
        X509_NAME_free(name);
}

static void assert_facts(const X509 *x, int r_expected, const char *text)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        CLEANUP(bytes_deinit) Bytes der = issue_der((X509 *)(uintptr_t)x);
        Failure failure = { 0 };

        assert_int_equal(pki_certificate_facts(der.data, der.n, &f, &failure), r_expected);
        assert_string_equal(r_expected == 0 ? f.serial_number : failure.text, text);
}

/* libcrypto's own SSL_CTX takes them all; one that has to be kept has its bound. */
static void odd_serial_numbers_and_versions(void **state)
{
        static const struct {
                const char *hex;
                int r;
                const char *text;
        } rows[] = {
                { "0", 0, "00" },
                { "-1", 0, "-01" },
                { "7F", 0, "7F" },
                { "0102030405060708090A0B0C0D0E0F101112131415161718", 0,
                  "0102030405060708090A0B0C0D0E0F101112131415161718" },
        };
        X509 *x = issue_certificate(&(Issue){ .name = "odd", .key = pki.key });
        BIGNUM *number = NULL;
        char digits[131];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                assert_true(BN_hex2bn(&number, rows[i].hex));
                assert_non_null(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)));
                assert_true(X509_set_version(x, i % 2 ? X509_VERSION_1 : X509_VERSION_3));
                assert_true(X509_sign(x, pki.key, EVP_sha256()) > 0);
                assert_facts(x, rows[i].r, rows[i].text);
        }
        memset(digits, '7', 130);
        digits[130] = '\0';
        assert_true(BN_hex2bn(&number, digits));
        assert_non_null(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)));
        assert_true(X509_sign(x, pki.key, EVP_sha256()) > 0);
        assert_facts(x, CB_BAD_BUNDLE,
                     "certificate \"CN=odd\" has a serial number of 65 bytes; at most 64 are taken, "
                     "and RFC 5280 allows 20");
        BN_free(number);
        X509_free(x);
}

static void add_alt_names(X509 *x, const void *der, int n)
{
        ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
        X509_EXTENSION *extension;

        assert_true(ASN1_OCTET_STRING_set(value, der, n));
        extension = X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, 0, value);
        assert_true(extension && X509_add_ext(x, extension, -1));
        assert_true(X509_sign(x, pki.key, EVP_sha256()) > 0);
        X509_EXTENSION_free(extension);
        ASN1_OCTET_STRING_free(value);
}

/* An address that is none neither makes a certificate useless nor looks like another. */
static void odd_alternative_names(void **state)
{
        static const char names[] = "\x30\x23"
                                    "\x87\x05" "10.00"
                                    "\x87\x08" "\x0a\0\0\0\xff\0\0\0"
                                    "\x87\0"
                                    "\x82\0"
                                    "\x82\x03" "a\0b"
                                    "\x82\x01" "a"
                                    "\x87\x04" "\x0a\0\0\x01";
        static const char *const shown[] = { "IP:#31302e3030", "IP:#0a000000ff000000",
                                             "IP:#",           "DNS:",
                                             "DNS:a\\x00b",    "DNS:a",
                                             "IP:10.0.0.1" };
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        X509_NAME *none = X509_NAME_new();
        X509 *x = issue_certificate(&(Issue){ .name = "odd", .key = pki.key });

        add_alt_names(x, names, sizeof(names) - 1);
        assert_int_equal(facts_of(x, &f), 0);
        assert_int_equal(strv_length(f.subject_alt_names), ELEMENTSOF(shown));
        for (size_t i = 0; i < ELEMENTSOF(shown); i++)
                assert_string_equal(f.subject_alt_names[i], shown[i]);
        X509_free(x);

        x = issue_certificate(&(Issue){ .key = pki.key, .subject = none });
        assert_true(ASN1_INTEGER_set(X509_get_serialNumber(x), 171));
        add_alt_names(x, "\x04\x01x", 3);
        assert_facts(x, CB_BAD_BUNDLE,
                     "certificate with the serial number \"AB\" cannot be read: its subject "
                     "alternative names are not encoded as such");
        X509_free(x);
        X509_NAME_free(none);
}

static void name_of_certificate(void **state)
{
        CLEANUP(bytes_deinit) Bytes der = issue_der(pki.root);
        CLEANUP(freep) char *name = pki_name_of(der.data, der.n);

        assert_string_equal(name, "CN=root");
        assert_null(pki_name_of("junk", 4));
}

static void alternative_names_are_all_there_and_escaped(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        static char conf[6000 * 8] = "DNS:first";
        X509 *x;

        for (int i = 0; i < 5000; i++)
                sprintf(strchr(conf, '\0'), ",DNS:n%d", i % 10);
        x = issue_certificate(&(Issue){ .name = "many", .key = pki.key, .alt_names = conf });
        assert_int_equal(facts_of(x, &f), 0);
        assert_int_equal(strv_length(f.subject_alt_names), 5001);
        assert_string_equal(f.subject_alt_names[5000], "DNS:n9");
        X509_free(x);
        certificate_facts_deinit(&f);

        x = issue_certificate(
                &(Issue){ .name = "odd", .key = pki.key, .alt_names = "DNS:\xd0\xbe" "a\xff\x1b" });
        assert_int_equal(facts_of(x, &f), 0);
        assert_string_equal(f.subject_alt_names[0], "DNS:\\xd0\\xbe" "a\\xff\\x1b");
        X509_free(x);
}

/* A name that is left out could be lost at a rotation without a word. */
static void every_kind_of_name_has_a_text(void **state)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
        char conf[1400] = "URI:http://long/", long_name[sizeof(conf)];
        static const char *const names[] = { "otherName:1.3.6.1.4.1.311.20.2.3:joe@example.com",
                                             "otherName:1.2.3.4:#020107", "RID:1.2.3.4" };
        X509 *x;

        memset(conf + strlen(conf), 'x', 1200);
        strcpy(long_name, conf);
        strcat(conf, ",otherName:1.3.6.1.4.1.311.20.2.3;UTF8:joe@example.com,"
                     "otherName:1.2.3.4;INTEGER:7,RID:1.2.3.4");
        x = issue_certificate(&(Issue){ .name = "kinds", .key = pki.key, .alt_names = conf });
        assert_int_equal(facts_of(x, &f), 0);
        assert_int_equal(strv_length(f.subject_alt_names), 1 + ELEMENTSOF(names));
        assert_string_equal(f.subject_alt_names[0], long_name);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_string_equal(f.subject_alt_names[1 + i], names[i]);
        X509_free(x);
}

static GENERAL_NAME *long_directory_name(const char *last)
{
        GENERAL_NAME *general = GENERAL_NAME_new();
        X509_NAME *name = X509_NAME_new();
        static const unsigned char unit[] = "a unit whose name is rather long, among many others";

        /* The text of a name begins with what was added last. */
        assert_true(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                               (const unsigned char *)last, -1, -1, 0));
        for (size_t i = 0; i < 30; i++)
                assert_true(X509_NAME_add_entry_by_txt(name, "OU", MBSTRING_UTF8, unit, -1, -1, 0));
        GENERAL_NAME_set0_value(general, GEN_DIRNAME, name);
        return general;
}

/* Of an identifier with hundreds of arcs. */
static GENERAL_NAME *long_identifier(int type, const char *rest)
{
        char text[600] = "1.2";

        for (size_t i = 0; i < 200; i++)
                strcat(text, ".5");
        strcat(text, rest);
        return a2i_GENERAL_NAME(NULL, NULL, NULL, type, text, 0);
}

static GENERAL_NAME *other_name(const char *text)
{
        return a2i_GENERAL_NAME(NULL, NULL, NULL, GEN_OTHERNAME, text, 0);
}

/* What has the same text is taken for the same name. */
static void no_name_has_the_text_of_another(void **state)
{
        GENERAL_NAME *const pairs[][2] = {
                { other_name("1.2.3;UTF8:#0500"), other_name("1.2.3;NULL") },
                { long_identifier(GEN_OTHERNAME, ".3;NULL"), long_identifier(GEN_OTHERNAME, ".4;NULL") },
                { long_identifier(GEN_RID, ".3"), long_identifier(GEN_RID, ".4") },
                { long_directory_name("one"), long_directory_name("other") },
        };

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
                X509 *x = issue_certificate(&(Issue){ .name = "twins", .key = pki.key });
                GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();

                for (size_t k = 0; k < 2; k++)
                        assert_true(pairs[i][k] && sk_GENERAL_NAME_push(names, pairs[i][k]) > 0);
                assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
                assert_true(X509_sign(x, pki.key, EVP_sha256()) > 0);
                assert_int_equal(facts_of(x, &f), 0);
                assert_int_equal(strv_length(f.subject_alt_names), 2);
                assert_string_not_equal(f.subject_alt_names[0], f.subject_alt_names[1]);
                GENERAL_NAMES_free(names);
                X509_free(x);
        }
}

static void what_a_tls_client_needs(void **state)
{
        static const struct {
                const char *extended, *usage;
                bool lacks_client_auth, lacks_digital_signature;
        } rows[] = {
                { NULL, NULL, false, false },
                { "clientAuth", "digitalSignature", false, false },
                { "serverAuth,clientAuth", "keyEncipherment,digitalSignature", false, false },
                { "anyExtendedKeyUsage", NULL, false, false },
                { "serverAuth", NULL, true, false },
                { "codeSigning,1.2.3.4", "digitalSignature", true, false },
                { NULL, "keyEncipherment", false, true },
                { "serverAuth", "keyAgreement", true, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(certificate_facts_deinit) CertificateFacts f = { 0 };
                X509 *x = issue_certificate(&(Issue){ .name = "usage",
                                                      .key = pki.key,
                                                      .extended_key_usage = rows[i].extended,
                                                      .key_usage = rows[i].usage });

                assert_int_equal(facts_of(x, &f), 0);
                assert_int_equal(f.lacks_client_auth, rows[i].lacks_client_auth);
                assert_int_equal(f.lacks_digital_signature, rows[i].lacks_digital_signature);
                X509_free(x);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(facts_of_known_certificate),
                cmocka_unit_test(facts_with_a_key_that_is_known),
                cmocka_unit_test(every_cut_of_a_certificate_is_refused),
                cmocka_unit_test(every_byte_changed),
                cmocka_unit_test(self_signed_needs_the_signature),
                cmocka_unit_test(ed25519_certificate),
                cmocka_unit_test(unsupported_key_is_refused),
                cmocka_unit_test(compressed_point_gives_the_same_spki),
                cmocka_unit_test(times_before_1970_are_1970),
                cmocka_unit_test(names_that_are_no_text),
                cmocka_unit_test(name_that_lies_about_its_type),
                cmocka_unit_test(name_is_bounded),
                cmocka_unit_test(key_of_another_kind),
                cmocka_unit_test(empty_subject),
                cmocka_unit_test(odd_serial_numbers_and_versions),
                cmocka_unit_test(odd_alternative_names),
                cmocka_unit_test(name_of_certificate),
                cmocka_unit_test(alternative_names_are_all_there_and_escaped),
                cmocka_unit_test(every_kind_of_name_has_a_text),
                cmocka_unit_test(no_name_has_the_text_of_another),
                cmocka_unit_test(what_a_tls_client_needs),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
