/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What files hold beside the one key and its chain, and around it: padding, other authorities, the same key
 * again, newer and older forms of it; and how passphrases are written into them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pki/certificates.h"
#include "taken.h"

#define MANY 200

static struct {
        EVP_PKEY *ca_key, *key;
        X509 *ca, *leaf;
        Bytes leaf_der, p7;
} pki;

static int setup(void **state)
{
        PKCS7 *p7;
        BIO *bio = BIO_new(BIO_s_mem());

        issue_setup(state);
        pki.ca_key = issue_p256();
        pki.key = issue_p256();
        pki.ca = issue_certificate(&(Issue){ .name = "ca", .key = pki.ca_key });
        pki.leaf = issue_certificate(&(Issue){
                .name = "leaf", .key = pki.key, .issuer = pki.ca, .issuer_key = pki.ca_key });
        pki.leaf_der = issue_der(pki.leaf);
        p7 = PKCS7_new_ex(pki_context(), NULL);
        assert_true(PKCS7_set_type(p7, NID_pkcs7_signed) && PKCS7_content_new(p7, NID_pkcs7_data) &&
                    PKCS7_add_certificate(p7, pki.leaf) && PKCS7_add_certificate(p7, pki.ca) &&
                    i2d_PKCS7_bio(bio, p7));
        pki.p7 = issue_take_bio(bio);
        PKCS7_free(p7);
        return 0;
}

static int teardown(void **state)
{
        EVP_PKEY_free(pki.ca_key);
        EVP_PKEY_free(pki.key);
        X509_free(pki.ca);
        X509_free(pki.leaf);
        bytes_deinit(&pki.leaf_der);
        bytes_deinit(&pki.p7);
        return 0;
}

static Bytes der_of_p12(PKCS12 *p12)
{
        BIO *bio = BIO_new(BIO_s_mem());

        assert_true(p12 && i2d_PKCS12_bio(bio, p12));
        PKCS12_free(p12);
        return issue_take_bio(bio);
}

/* nid: how it is encrypted; 0: as OpenSSL does by itself. */
static PKCS12 *p12_of(const char *passphrase, STACK_OF(X509) * others, int nid)
{
        PKCS12 *p12 = PKCS12_create_ex(passphrase, "name", pki.key, pki.leaf, others, nid, nid, 100,
                                       100, 0, pki_context(), NULL);

        assert_non_null(p12);
        return p12;
}

static Bytes key_pem(void)
{
        BIO *bio = BIO_new(BIO_s_mem());

        assert_true(PEM_write_bio_PKCS8PrivateKey(bio, pki.key, NULL, NULL, 0, NULL, NULL));
        return issue_take_bio(bio);
}

static Bytes with_leaf(Bytes pem)
{
        CLEANUP(bytes_deinit)
        Bytes leaf = taken_pem("CERTIFICATE", pki.leaf_der.data, pki.leaf_der.n);

        return taken_joined(pem, leaf.data, leaf.n);
}

static void padding_after_a_structure(void **state)
{
        static const char zeros[512];
        static const struct {
                const char *data;
                size_t n;
                bool taken;
        } rows[] = {
                { zeros, 4, true },          { zeros, 8, true },       { zeros, 512, true },
                { "\r\n\r\n", 4, true },     { "\n\0 \t\n", 5, true }, { "x", 1, false },
                { "\n\n\n0\x03", 5, false },
        };
        CLEANUP(bytes_deinit) Bytes p12 = der_of_p12(p12_of("correct", NULL, 0));

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const Bytes *const all[] = { &p12, &pki.leaf_der, &pki.p7 };
                Bytes longer[3];

                for (size_t k = 0; k < 3; k++) {
                        Bytes copy = { 0 };

                        assert_int_equal(bytes_set(&copy, all[k]->data, all[k]->n), 0);
                        longer[k] = taken_joined(copy, rows[i].data, rows[i].n);
                }
                if (rows[i].taken) {
                        taken_whole(&longer[0], "correct", 1);
                        taken_certificates(&longer[1], 1, 0, NULL);
                        taken_certificates(&longer[2], 2, 0, NULL);
                } else {
                        taken_bundle(&longer[0], "correct", CB_BAD_BUNDLE, "goes on after PKCS#12",
                                     NULL);
                        taken_certificates(&longer[1], 0, CB_BAD_BUNDLE,
                                           "goes on after a certificate");
                        taken_certificates(&longer[2], 0, CB_BAD_BUNDLE, "goes on after PKCS#7");
                }
                for (size_t k = 0; k < 3; k++)
                        bytes_deinit(&longer[k]);
        }
}

static void second_structure_is_refused(void **state)
{
        Bytes two = { 0 };

        assert_int_equal(bytes_set(&two, pki.leaf_der.data, pki.leaf_der.n), 0);
        two = taken_joined(two, pki.leaf_der.data, pki.leaf_der.n);
        taken_certificates(&two, 0, CB_BAD_BUNDLE, "something else: give one at a time");
        bytes_deinit(&two);
}

static void certificates_under_any_label(void **state)
{
        static const char *const labels[] = {
                "CERTIFICATE",
                "X509 CERTIFICATE",
                "TRUSTED CERTIFICATE",
                "CERTIFICATE CHAIN",
                "PKCS7",
                "PKCS #7 SIGNED DATA",
                "CMS",
        };

        for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
                CLEANUP(bytes_deinit)
                Bytes one = taken_pem(labels[i], pki.leaf_der.data, pki.leaf_der.n);
                CLEANUP(bytes_deinit) Bytes p7 = taken_pem(labels[i], pki.p7.data, pki.p7.n);
                CLEANUP(bytes_deinit) Bytes bundle = taken_joined(key_pem(), p7.data, p7.n);

                taken_certificates(&one, 1, 0, NULL);
                taken_certificates(&p7, 2, 0, NULL);
                taken_whole(&bundle, NULL, 2);
                taken_bundle(&p7, NULL, CB_BAD_BUNDLE, "no private key", NULL);
        }
}

static void trust_settings_are_dropped(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        CLEANUP(bytes_deinit) Bytes pem = { 0 };
        BIO *bio = BIO_new(BIO_s_mem());
        X509 *copy = X509_dup(pki.leaf);
        Failure failure = { 0 };

        assert_true(X509_add1_trust_object(copy, OBJ_nid2obj(NID_client_auth)) &&
                    X509_alias_set1(copy, (const unsigned char *)"alias", 5) &&
                    PEM_write_bio_X509_AUX(bio, copy));
        pem = issue_take_bio(bio);
        assert_int_equal(pki_certificates_parse(pem.data, pem.n, &list, &failure), 0);
        assert_int_equal(list.n, 1);
        assert_true(bytes_equal(&list.items[0], &pki.leaf_der));
        X509_free(copy);
}

/* Of a length that only its end tells; what is kept has its own. */
static void certificate_in_ber(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        const unsigned char *content = pki.leaf_der.data;
        Failure failure = { 0 };
        Bytes ber = taken_text("0\x80");
        int tag, class;
        long n;

        ASN1_get_object(&content, &n, &tag, &class, (long)pki.leaf_der.n);
        ber = taken_joined(ber, content, (size_t)n);
        ber = taken_joined(ber, "\0\0", 2);
        assert_int_equal(pki_certificates_parse(ber.data, ber.n, &list, &failure), 0);
        assert_true(bytes_equal(&list.items[0], &pki.leaf_der));
        bytes_deinit(&ber);
}

/* Others than the chain's; n of them, each another one where that matters. */
static Bytes strangers_pem(size_t n)
{
        BIO *bio = BIO_new(BIO_s_mem());
        X509 *x = issue_certificate(&(Issue){ .name = "stranger", .key = pki.ca_key });

        for (size_t i = 0; i < n; i++)
                assert_true(PEM_write_bio_X509(bio, x));
        X509_free(x);
        return issue_take_bio(bio);
}

static void many_strangers(void **state)
{
        STACK_OF(X509) *others = sk_X509_new_null();
        CLEANUP(bytes_deinit) Bytes strangers = strangers_pem(MANY);
        CLEANUP(bytes_deinit)
        Bytes pem = taken_joined(with_leaf(key_pem()), strangers.data, strangers.n);
        CLEANUP(bytes_deinit) Bytes p12 = { 0 };

        for (size_t i = 0; i < MANY; i++)
                sk_X509_push(others,
                             issue_certificate(&(Issue){ .name = "stranger", .key = pki.ca_key }));
        sk_X509_push(others, X509_dup(pki.ca));
        p12 = der_of_p12(p12_of("correct", others, 0));
        taken_whole(&pem, NULL, 1);
        taken_whole(&p12, "correct", 2);
        taken_certificates(&pem, MANY + 1, 0, NULL);
        sk_X509_pop_free(others, X509_free);
}

static Bytes p12_of_parts(size_t n)
{
        STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
        STACK_OF(PKCS7) *safes = sk_PKCS7_new_null();
        PKCS12 *p12;

        for (size_t i = 0; i < n; i++)
                sk_PKCS7_push(safes, PKCS12_pack_p7data(bags));
        p12 = PKCS12_add_safes_ex(safes, 0, pki_context(), NULL);
        sk_PKCS12_SAFEBAG_free(bags);
        sk_PKCS7_pop_free(safes, PKCS7_free);
        return der_of_p12(p12);
}

/* The same one each time, or each time another. */
static Bytes keys_pem(size_t n, bool same)
{
        BIO *bio = BIO_new(BIO_s_mem());

        for (size_t i = 0; i < n; i++) {
                EVP_PKEY *key = same ? pki.key : issue_p256();

                assert_true(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
                if (!same)
                        EVP_PKEY_free(key);
        }
        return issue_take_bio(bio);
}

static void more_than_the_most(void **state)
{
        CLEANUP(bytes_deinit) Bytes strangers = strangers_pem(PKI_CERTIFICATES_MAX + 1);
        CLEANUP(bytes_deinit) Bytes parts = p12_of_parts(129);
        CLEANUP(bytes_deinit) Bytes most_keys = with_leaf(keys_pem(64, true));
        CLEANUP(bytes_deinit) Bytes same_keys = keys_pem(65, true);
        CLEANUP(bytes_deinit) Bytes other_keys = keys_pem(9, false);

        taken_certificates(&strangers, 0, CB_BAD_BUNDLE, "the file holds more than 1024");
        taken_bundle(&strangers, NULL, CB_BAD_BUNDLE, "the bundle holds more than 1024", NULL);
        taken_bundle(&parts, NULL, CB_BAD_BUNDLE, "more than 128 parts", NULL);
        taken_whole(&most_keys, NULL, 1);
        taken_bundle(&same_keys, NULL, CB_BAD_BUNDLE, "more than 64 private keys", NULL);
        taken_bundle(&other_keys, NULL, CB_BAD_BUNDLE, "more than 8 keys", NULL);
}

static void one_that_cannot_be_read_is_numbered(void **state)
{
        Bytes pem = strangers_pem(3);
        X509_EXTENSION *extension;
        ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
        CLEANUP(bytes_deinit) Bytes large = { 0 };
        CLEANUP(bytes_deinit) Bytes large_pem = { 0 };
        X509 *x = X509_dup(pki.leaf);
        uint8_t *room = calloc(1, PKI_CERTIFICATE_MAX);

        pem = taken_joined(
                pem, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
                strlen("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"));
        taken_certificates(&pem, 0, CB_BAD_BUNDLE, "certificate 4 of the file cannot be read");
        taken_bundle(&pem, NULL, CB_BAD_BUNDLE, "certificate 4 of the bundle cannot be read", NULL);
        bytes_deinit(&pem);

        assert_true(room && ASN1_OCTET_STRING_set(value, room, PKI_CERTIFICATE_MAX));
        extension = X509_EXTENSION_create_by_NID(NULL, NID_netscape_comment, 0, value);
        assert_true(X509_add_ext(x, extension, -1) && X509_sign(x, pki.ca_key, EVP_sha256()) > 0);
        large = issue_der(x);
        large_pem = taken_pem("CERTIFICATE", large.data, large.n);
        pem = taken_joined(strangers_pem(1), large_pem.data, large_pem.n);
        taken_certificates(&pem, 0, CB_BAD_BUNDLE,
                           "certificate 2 of the file is larger than 65536");
        bytes_deinit(&pem);
        ASN1_OCTET_STRING_free(value);
        X509_EXTENSION_free(extension);
        X509_free(x);
        free(room);
}

/* PKCS#8, then SEC1 of the same; and PKCS#12 in which the key has two names. */
static void one_key_twice(void **state)
{
        CLEANUP(bytes_deinit) Bytes first = with_leaf(key_pem());
        CLEANUP(bytes_deinit) Bytes pem = { 0 };
        CLEANUP(bytes_deinit) Bytes p12 = { 0 };
        BIO *bio = BIO_new(BIO_s_mem());
        STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
        STACK_OF(PKCS7) *safes = NULL;

        BIO_write(bio, first.data, (int)first.n);
        assert_true(PEM_write_bio_PrivateKey_traditional(bio, pki.key, NULL, NULL, 0, NULL, NULL) &&
                    PEM_write_bio_X509(bio, pki.leaf));
        pem = issue_take_bio(bio);
        taken_whole(&pem, NULL, 1);

        assert_true(PKCS12_add_key_ex(&bags, pki.key, 0, 100, NID_aes_256_cbc, "correct",
                                      pki_context(), NULL) &&
                    PKCS12_add_key_ex(&bags, pki.key, 0, 100, NID_aes_256_cbc, "correct",
                                      pki_context(), NULL) &&
                    PKCS12_add_cert(&bags, pki.leaf) && PKCS12_add_safe(&safes, bags, -1, 0, NULL));
        p12 = der_of_p12(PKCS12_add_safes_ex(safes, 0, pki_context(), NULL));
        taken_whole(&p12, "correct", 1);
        sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
        sk_PKCS7_pop_free(safes, PKCS7_free);
}

/* Ed25519, with the public key as RFC 5958 has it, and as ring wrote it. */
static Bytes newer_pkcs8(EVP_PKEY *key, bool of_ring)
{
        uint8_t private[32], public[32];
        size_t n_private = 32, n_public = 32;
        Bytes der = { 0 };
        const char *head = of_ring ? "\x30\x53" : "\x30\x51";

        assert_true(EVP_PKEY_get_raw_private_key(key, private, &n_private) &&
                    EVP_PKEY_get_raw_public_key(key, public, &n_public));
        der = taken_joined(der, head, 2);
        der = taken_joined(der, "\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20", 14);
        der = taken_joined(der, private, 32);
        der = of_ring ? taken_joined(der, "\xa1\x23\x03\x21\0", 5)
                      : taken_joined(der, "\x81\x21\0", 3);
        return taken_joined(der, public, 32);
}

static X509_SIG *encrypted(const Bytes *pkcs8, int nid, const char *passphrase)
{
        OSSL_LIB_CTX *was = issue_default_context(NULL);
        const unsigned char *p = pkcs8->data;
        ASN1_SEQUENCE_ANY *sequence = d2i_ASN1_SEQUENCE_ANY(NULL, &p, (long)pkcs8->n);
        X509_ALGOR *algorithm = nid ? PKCS5_pbe_set_ex(nid, 100, NULL, 0, pki_context())
                                    : PKCS5_pbe2_set_iv_ex(EVP_aes_256_cbc(), 100, NULL, 0, NULL,
                                                           -1, pki_context());
        X509_SIG *sig = X509_SIG_new();
        X509_ALGOR *place;
        ASN1_OCTET_STRING *content, *made;

        assert_true(sequence && algorithm);
        made = PKCS12_item_i2d_encrypt_ex(algorithm, ASN1_ITEM_rptr(ASN1_SEQUENCE_ANY), passphrase,
                                          (int)strlen(passphrase), sequence, 1, pki_context(),
                                          NULL);
        X509_SIG_getm(sig, &place, &content);
        assert_true(made && X509_ALGOR_copy(place, algorithm) && ASN1_STRING_copy(content, made));
        ASN1_OCTET_STRING_free(made);
        X509_ALGOR_free(algorithm);
        sk_ASN1_TYPE_pop_free(sequence, ASN1_TYPE_free);
        issue_default_context(was);
        return sig;
}

static Bytes p12_of_sig(X509_SIG *sig, X509 *leaf)
{
        STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
        STACK_OF(PKCS7) *safes = NULL;
        PKCS12 *p12;

        sk_PKCS12_SAFEBAG_push(bags, PKCS12_SAFEBAG_create0_pkcs8(sig));
        assert_true(PKCS12_add_cert(&bags, leaf) && PKCS12_add_safe(&safes, bags, -1, 0, NULL));
        p12 = PKCS12_add_safes_ex(safes, 0, pki_context(), NULL);
        assert_true(p12 && PKCS12_set_mac(p12, "correct", 7, NULL, 0, 100, EVP_sha256()));
        sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
        sk_PKCS7_pop_free(safes, PKCS7_free);
        return der_of_p12(p12);
}

static void pkcs8_of_version_2(void **state)
{
        EVP_PKEY *key = issue_key("ED25519", NULL, 0);
        X509 *x = issue_certificate(&(Issue){ .name = "x", .key = key, .no_digest = true });
        CLEANUP(bytes_deinit) Bytes der = issue_der(x);
        CLEANUP(bytes_deinit) Bytes pem = taken_pem("CERTIFICATE", der.data, der.n);

        for (int of_ring = 0; of_ring <= 1; of_ring++) {
                CLEANUP(bytes_deinit) Bytes pkcs8 = newer_pkcs8(key, of_ring);
                CLEANUP(bytes_deinit)
                Bytes clear = taken_joined(taken_pem("PRIVATE KEY", pkcs8.data, pkcs8.n), pem.data,
                                           pem.n);
                CLEANUP(bytes_deinit)
                Bytes p12 = p12_of_sig(encrypted(&pkcs8, 0, "correct"), x);
                CLEANUP(bytes_deinit) Bytes shrouded = { 0 };
                X509_SIG *sig = encrypted(&pkcs8, 0, "correct");
                BIO *bio = BIO_new(BIO_s_mem());

                assert_true(PEM_write_bio_PKCS8(bio, sig) && PEM_write_bio_X509(bio, x));
                shrouded = issue_take_bio(bio);
                taken_whole(&clear, NULL, 1);
                taken_whole(&shrouded, "correct", 1);
                taken_bundle(&shrouded, "wrong", CB_BAD_PASSPHRASE, NULL, NULL);
                taken_whole(&p12, "correct", 1);
                X509_SIG_free(sig);
        }
        X509_free(x);
        EVP_PKEY_free(key);
}

#define UMLAUT  "p\xc3\xa4ss"         /* in UTF-8 */
#define WIDENED "p\xc3\x83\xc2\xa4ss" /* each of its bytes for a character, in UTF-8 again */

/* OpenSSL 1.0 took each byte for a character, but in PBES2, which has no characters. */
static void passphrase_of_openssl_1_0(void **state)
{
        PKCS12 *both = p12_of(UMLAUT, NULL, 0);
        CLEANUP(bytes_deinit)
        Bytes pkcs12 = der_of_p12(p12_of(WIDENED, NULL, NID_pbe_WithSHA1And3_Key_TripleDES_CBC));
        CLEANUP(bytes_deinit) Bytes mixed = { 0 };
        CLEANUP(bytes_deinit) Bytes today = der_of_p12(p12_of(UMLAUT, NULL, 0));
        CLEANUP(bytes_deinit) Bytes pkcs8 = { 0 };
        CLEANUP(bytes_deinit) Bytes pem = { 0 };
        PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pki.key);
        unsigned char *der = NULL;
        int n = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
        BIO *bio = BIO_new(BIO_s_mem());
        X509_SIG *sig;

        assert_true(PKCS12_set_mac(both, WIDENED, -1, NULL, 0, 100, EVP_sha1()));
        mixed = der_of_p12(both);
        taken_whole(&pkcs12, UMLAUT, 1);
        taken_whole(&mixed, UMLAUT, 1);
        taken_whole(&today, UMLAUT, 1);
        taken_bundle(&pkcs12, "pass", CB_BAD_PASSPHRASE, NULL, NULL);
        taken_bundle(&pkcs12, "p\xc3\xb6ss", CB_BAD_PASSPHRASE, NULL, NULL);

        assert_true(n > 0 && bytes_set(&pkcs8, der, (size_t)n) == 0);
        sig = encrypted(&pkcs8, NID_pbe_WithSHA1And3_Key_TripleDES_CBC, WIDENED);
        assert_true(PEM_write_bio_PKCS8(bio, sig) && PEM_write_bio_X509(bio, pki.leaf));
        pem = issue_take_bio(bio);
        taken_whole(&pem, UMLAUT, 1);
        X509_SIG_free(sig);
        OPENSSL_free(der);
        PKCS8_PRIV_KEY_INFO_free(info);
}

/* The MAC with one, the rest with the other: neither is a passphrase to anybody but PKCS#12. */
static void none_and_empty_mixed(void **state)
{
        static const int nids[] = { 0, NID_pbe_WithSHA1And3_Key_TripleDES_CBC };

        for (size_t i = 0; i < ELEMENTSOF(nids); i++)
                for (int none = 0; none <= 1; none++) {
                        PKCS12 *p12 = p12_of(none ? NULL : "", NULL, nids[i]);
                        CLEANUP(bytes_deinit) Bytes data = { 0 };

                        assert_true(
                                PKCS12_set_mac(p12, none ? "" : NULL, 0, NULL, 0, 100, EVP_sha1()));
                        data = der_of_p12(p12);
                        taken_whole(&data, NULL, 1);
                        taken_whole(&data, "", 1);
                        taken_whole(&data, "needless", 1);
                }
}

static void mac_of_another_passphrase(void **state)
{
        PKCS12 *p12 = p12_of("other", NULL, 0);
        CLEANUP(bytes_deinit) Bytes data = { 0 };

        assert_true(PKCS12_set_mac(p12, "correct", 7, NULL, 0, 100, EVP_sha256()));
        data = der_of_p12(p12);
        taken_bundle(&data, "correct", CB_BAD_BUNDLE, "write it with one for both", NULL);
        taken_bundle(&data, "other", CB_BAD_PASSPHRASE, "give the right one", NULL);
}

static void mac_of_a_newer_kind(void **state)
{
        PKCS12 *p12 = p12_of("correct", NULL, 0);
        CLEANUP(bytes_deinit) Bytes data = { 0 };
        const X509_ALGOR *algorithm;

        PKCS12_get0_mac(NULL, &algorithm, NULL, NULL, p12);
        assert_true(X509_ALGOR_set0((X509_ALGOR *)(uintptr_t)algorithm,
                                    OBJ_txt2obj("1.2.840.113549.1.5.14", 1), V_ASN1_NULL, NULL));
        data = der_of_p12(p12);
        taken_bundle(&data, "correct", CB_NOT_SUPPORTED, "PBMAC1: write it with openssl pkcs12",
                     NULL);
}

static void pkcs12_in_pem(void **state)
{
        CLEANUP(bytes_deinit) Bytes p12 = der_of_p12(p12_of("correct", NULL, 0));
        CLEANUP(bytes_deinit) Bytes pem = taken_pem("PKCS12", p12.data, p12.n);
        CLEANUP(bytes_deinit) Bytes cut = taken_pem("PKCS12", p12.data, p12.n - 1);

        taken_whole(&pem, "correct", 1);
        taken_bundle(&pem, "wrong", CB_BAD_PASSPHRASE, NULL, NULL);
        taken_bundle(&cut, "correct", CB_BAD_BUNDLE, "cut off", NULL);
        taken_certificates(&pem, 0, CB_BAD_BUNDLE, "certbroker certificate import");
}

static void passphrases_that_are_files(void **state)
{
        static const struct {
                const char *text;
                size_t n;
                const char *words;
        } rows[] = {
                { "\xff\xfe"
                  "c\0o\0",
                  6, "UTF-16" },
                { "\xfe\xff"
                  "\0c\0o",
                  6, "UTF-16" },
                { "c\0o\0r\0", 6, "zeros" },
                { "\xef\xbb\xbf"
                  "correct",
                  10, "byte order mark" },
        };
        static char room[4097];
        CLEANUP(bytes_deinit) Bytes p12 = der_of_p12(p12_of("correct", NULL, 0));

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(secret_freep) Secret *d = issue_secret(p12.data, p12.n);
                CLEANUP(secret_freep) Secret *p = issue_secret(rows[i].text, rows[i].n);
                PkiBundle bundle = { 0 };
                Failure failure = { 0 };

                taken_check(&failure, pki_bundle_parse(d, p, (uint64_t)time(NULL), &bundle, &failure), CB_BAD_PASSPHRASE,
                            rows[i].words);
        }
        memset(room, 'x', sizeof(room) - 1);
        taken_bundle(&p12, room, CB_BAD_PASSPHRASE, NULL, NULL);
        {
                CLEANUP(bytes_deinit) Bytes pem = with_leaf(key_pem());
                char longer[4098];

                memset(longer, 'x', sizeof(longer) - 1);
                longer[sizeof(longer) - 1] = '\0';
                taken_bundle(&p12, longer, CB_INVALID_ARGUMENT, "longer than 4096 bytes", NULL);
                taken_bundle(&pem, longer, CB_INVALID_ARGUMENT, "longer than 4096 bytes", NULL);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(padding_after_a_structure),
                cmocka_unit_test(second_structure_is_refused),
                cmocka_unit_test(certificates_under_any_label),
                cmocka_unit_test(trust_settings_are_dropped),
                cmocka_unit_test(certificate_in_ber),
                cmocka_unit_test(many_strangers),
                cmocka_unit_test(more_than_the_most),
                cmocka_unit_test(one_that_cannot_be_read_is_numbered),
                cmocka_unit_test(one_key_twice),
                cmocka_unit_test(pkcs8_of_version_2),
                cmocka_unit_test(passphrase_of_openssl_1_0),
                cmocka_unit_test(none_and_empty_mixed),
                cmocka_unit_test(mac_of_another_passphrase),
                cmocka_unit_test(mac_of_a_newer_kind),
                cmocka_unit_test(pkcs12_in_pem),
                cmocka_unit_test(passphrases_that_are_files),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
