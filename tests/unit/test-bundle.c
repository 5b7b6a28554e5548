/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bundles: every form that holds a key, what is wrong with others, and what stays behind in memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "issue.h"
#include "pki/bundle.h"
#include "pki/x509.h"

static struct {
        EVP_PKEY *ca_key, *key, *other_key;
        X509 *ca, *leaf, *other_leaf;
} pki;

static int setup(void **state)
{
        issue_setup(state);
        pki.ca_key = issue_p256();
        pki.key = issue_p256();
        pki.other_key = issue_p256();
        pki.ca = issue_certificate(&(Issue){ .name = "ca", .key = pki.ca_key });
        pki.leaf = issue_certificate(&(Issue){
                .name = "leaf", .key = pki.key, .issuer = pki.ca, .issuer_key = pki.ca_key });
        pki.other_leaf = issue_certificate(&(Issue){ .name = "other",
                                                     .key = pki.other_key,
                                                     .issuer = pki.ca,
                                                     .issuer_key = pki.ca_key });
        return 0;
}

static int teardown(void **state)
{
        EVP_PKEY_free(pki.ca_key);
        EVP_PKEY_free(pki.key);
        EVP_PKEY_free(pki.other_key);
        X509_free(pki.ca);
        X509_free(pki.leaf);
        X509_free(pki.other_leaf);
        return 0;
}

/* passphrase NULL: none is given. */
static int parse(const Bytes *data, const char *passphrase, PkiBundle *bundle, Failure *failure)
{
        CLEANUP(secret_freep) Secret *d = issue_secret(data->data, data->n);
        CLEANUP(secret_freep) Secret *p = NULL;
        int r;

        if (passphrase)
                p = issue_secret(passphrase, strlen(passphrase));
        *failure = (Failure){ 0 };
        r = pki_bundle_parse(d, p, (uint64_t)time(NULL), bundle, failure);
        assert_int_equal(failure->status, r);
        assert_true(r == 0 || (failure->text[0] && !bundle->key && !bundle->chain.n));
        assert_int_equal(ERR_peek_error(), 0);
        return r;
}

static int status_of(const Bytes *data, const char *passphrase)
{
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        Failure failure;

        return parse(data, passphrase, &bundle, &failure);
}

static void expect_bundle(const Bytes *data, const char *passphrase, KeyType type, size_t n_chain,
                          const char *leaf)
{
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        CLEANUP(freep) char *name = NULL;
        CLEANUP(bytes_deinit) Bytes spki = { 0 };
        Failure failure;
        int r = parse(data, passphrase, &bundle, &failure);

        if (r)
                print_error("%s\n", failure.text);
        assert_int_equal(r, 0);
        assert_int_equal(bundle.key_type, type);
        assert_int_equal(bundle.chain.n, n_chain);
        name = pki_name_of(bundle.chain.items[0].data, bundle.chain.items[0].n);
        assert_string_equal(name, leaf);
        spki = issue_spki(bundle.key);
        assert_true(bytes_equal(&spki, &bundle.spki));
}

static void files_of_every_form(void **state)
{
        static const struct {
                const char *file;
                bool encrypted;
                KeyType type;
                const char *leaf;
        } rows[] = {
                { "ec-sec1.pem", false, KEY_TYPE_EC_P256, "CN=fixed ec" },
                { "ec-sec1-aes256.pem", true, KEY_TYPE_EC_P256, "CN=fixed ec" },
                { "ec-pkcs8.pem", false, KEY_TYPE_EC_P256, "CN=fixed ec" },
                { "ec-pkcs8-aes256.pem", true, KEY_TYPE_EC_P256, "CN=fixed ec" },
                { "ec-pkcs8-3des.pem", true, KEY_TYPE_EC_P256, "CN=fixed ec" },
                { "ec-pkcs8-scrypt.pem", true, KEY_TYPE_EC_P256, "CN=fixed ec" },
                { "rsa-pkcs1.pem", false, KEY_TYPE_RSA_2048, "CN=fixed rsa" },
                { "rsa-pkcs1-des3.pem", true, KEY_TYPE_RSA_2048, "CN=fixed rsa" },
                { "ec-modern.p12", true, KEY_TYPE_EC_P256, "CN=fixed ec" },
                { "ec-rc2.p12", true, KEY_TYPE_EC_P256, "CN=fixed ec" },
                { "ec-nomac.p12", true, KEY_TYPE_EC_P256, "CN=fixed ec" },
                { "ec-clear.p12", false, KEY_TYPE_EC_P256, "CN=fixed ec" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(bytes_deinit) Bytes data = issue_read_data(rows[i].file);

                expect_bundle(&data, "correct", rows[i].type, 1, rows[i].leaf);
                if (rows[i].encrypted) {
                        assert_int_equal(status_of(&data, "wrong"), CB_BAD_PASSPHRASE);
                        assert_int_equal(status_of(&data, "correct "), CB_BAD_PASSPHRASE);
                        assert_int_equal(status_of(&data, NULL), CB_BAD_PASSPHRASE);
                        assert_int_equal(status_of(&data, ""), CB_BAD_PASSPHRASE);
                } else {
                        expect_bundle(&data, NULL, rows[i].type, 1, rows[i].leaf);
                        expect_bundle(&data, "", rows[i].type, 1, rows[i].leaf);
                        expect_bundle(&data, "ignored", rows[i].type, 1, rows[i].leaf);
                }
        }
}

/* No chance of one in 256: each wrong passphrase is one, whatever padding it happens to leave. */
static void wrong_passphrases_are_never_damage(void **state)
{
        static const char *const files[] = { "ec-sec1-aes256.pem", "rsa-pkcs1-des3.pem",
                                             "ec-pkcs8-3des.pem" };

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                CLEANUP(bytes_deinit) Bytes data = issue_read_data(files[i]);

                for (int k = 0; k < 600; k++) {
                        char wrong[32];

                        snprintf(wrong, sizeof(wrong), "wrong%d", k);
                        assert_int_equal(status_of(&data, wrong), CB_BAD_PASSPHRASE);
                }
        }
}

static void vault_bundle_with_key(void **state)
{
        CLEANUP(bytes_deinit) Bytes data = issue_read_data("akv-with-key.p12");
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        Failure failure;

        assert_int_equal(parse(&data, NULL, &bundle, &failure), 0);
        assert_int_equal(bundle.key_type, KEY_TYPE_RSA_2048);
        assert_int_equal(bundle.chain.n, 1);
        pki_bundle_deinit(&bundle);
        assert_int_equal(parse(&data, "", &bundle, &failure), 0);
        pki_bundle_deinit(&bundle);
        assert_int_equal(parse(&data, "needless", &bundle, &failure), 0);
}

static void vault_bundle_without_key(void **state)
{
        CLEANUP(bytes_deinit) Bytes data = issue_read_data("akv-without-key.p12");
        CLEANUP(secret_freep) Secret *secret = issue_secret(data.data, data.n);
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        PkiBundle bundle = { 0 };
        Failure failure;

        assert_int_equal(parse(&data, NULL, &bundle, &failure), CB_BAD_BUNDLE);
        assert_non_null(strstr(failure.text, "no private key"));
        assert_int_equal(pki_bundle_certificates(secret, NULL, &list, &failure), 0);
        assert_int_equal(list.n, 1);
}

static void certificates_of_bundle(void **state)
{
        CLEANUP(bytes_deinit) Bytes data = issue_read_data("ec-modern.p12");
        CLEANUP(secret_freep) Secret *secret = issue_secret(data.data, data.n);
        CLEANUP(secret_freep) Secret *right = issue_secret("correct", 7);
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        Failure failure;

        assert_int_equal(pki_bundle_certificates(secret, NULL, &list, &failure), CB_BAD_PASSPHRASE);
        assert_int_equal(pki_bundle_certificates(secret, right, &list, &failure), 0);
        assert_int_equal(list.n, 1);
}

static void every_cut_is_refused(void **state)
{
        static const struct {
                const char *file;
                const char *passphrase;
        } rows[] = { { "akv-with-key.p12", NULL },
                     { "ec-modern.p12", "correct" },
                     { "ec-clear.p12", NULL } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(bytes_deinit) Bytes data = issue_read_data(rows[i].file);

                for (size_t n = 0; n < data.n; n++)
                        assert_int_equal(status_of(&(Bytes){ data.data, n }, rows[i].passphrase),
                                         CB_BAD_BUNDLE);
        }
}

static void every_changed_byte_is_survived(void **state)
{
        CLEANUP(bytes_deinit) Bytes data = issue_read_data("ec-clear.p12");
        CLEANUP(bytes_deinit) Bytes pem = issue_read_data("ec-pkcs8.pem");

        for (size_t i = 0; i < data.n; i++) {
                int r;

                data.data[i] ^= 0x01;
                r = status_of(&data, NULL);
                data.data[i] ^= 0x01;
                assert_true(r >= 0);
        }
        for (size_t i = 0; i < pem.n; i++) {
                int r;

                pem.data[i] ^= 0x01;
                r = status_of(&pem, NULL);
                pem.data[i] ^= 0x01;
                assert_true(r >= 0);
        }
}

static void too_much_work_is_refused(void **state)
{
        CLEANUP(bytes_deinit) Bytes data = issue_read_data("ec-work.p12");
        PkiBundle bundle = { 0 };
        Failure failure;

        assert_int_equal(parse(&data, "correct", &bundle, &failure), CB_BAD_BUNDLE);
        assert_non_null(strstr(failure.text, "iterations"));
}

static void files_that_are_no_bundle(void **state)
{
        static uint8_t zeros[PKI_INPUT_MAX + 1], noise[4096];
        static const char *const texts[] = {
                "",
                "hello",
                "0",
                "\x30\x80",
                "\x30\x84\xff\xff\xff\xff",
                "-----BEGIN PRIVATE KEY-----\n",
                "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
                "-----BEGIN EC PRIVATE KEY-----\n\n-----END EC PRIVATE KEY-----\n",
                "-----BEGIN RSA PRIVATE KEY-----\n!\n-----END RSA PRIVATE KEY-----\n",
                "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
                "-----BEGIN CERTBROKER KEY REFERENCE-----\nMAA=\n-----END CERTBROKER KEY "
                "REFERENCE-----\n",
        };
        uint32_t x = 1;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                CLEANUP(bytes_deinit) Bytes data = { 0 };

                assert_int_equal(bytes_set(&data, texts[i], strlen(texts[i])), 0);
                assert_int_equal(status_of(&data, "x"), CB_BAD_BUNDLE);
        }
        for (size_t i = 0; i < sizeof(noise); i++)
                noise[i] = (uint8_t)((x = x * 1103515245 + 12345) >> 16);
        assert_int_equal(status_of(&(Bytes){ noise, sizeof(noise) }, NULL), CB_BAD_BUNDLE);
        assert_int_equal(status_of(&(Bytes){ zeros, sizeof(zeros) }, NULL), CB_BAD_BUNDLE);
        assert_int_equal(status_of(&(Bytes){ zeros, sizeof(zeros) - 1 }, NULL), CB_BAD_BUNDLE);
}

/* PEM of keys (PKCS#8) and certificates, in the order given; NULL ends. */
static Bytes pem_of(EVP_PKEY *const *keys, X509 *const *certificates)
{
        BIO *bio = BIO_new(BIO_s_mem());

        for (; *keys; keys++)
                assert_true(PEM_write_bio_PKCS8PrivateKey(bio, *keys, NULL, NULL, 0, NULL, NULL));
        for (; *certificates; certificates++)
                assert_true(PEM_write_bio_X509(bio, *certificates));
        return issue_take_bio(bio);
}

static Bytes p12_of(EVP_PKEY *key, X509 *leaf, STACK_OF(X509) * others)
{
        PKCS12 *p12 = PKCS12_create_ex("correct", "name", key, leaf, others, 0, 0, 100, 100, 0,
                                       pki_context(), NULL);
        BIO *bio = BIO_new(BIO_s_mem());

        assert_true(p12 && i2d_PKCS12_bio(bio, p12));
        PKCS12_free(p12);
        return issue_take_bio(bio);
}

static void chain_is_sorted(void **state)
{
        CLEANUP(bytes_deinit)
        Bytes pem = pem_of((EVP_PKEY *[]){ pki.key, NULL },
                           (X509 *[]){ pki.ca, pki.other_leaf, pki.leaf, NULL });
        CLEANUP(bytes_deinit) Bytes p12 = { 0 };
        STACK_OF(X509) *others = sk_X509_new_null();

        expect_bundle(&pem, NULL, KEY_TYPE_EC_P256, 2, "CN=leaf");
        sk_X509_push(others, pki.ca);
        p12 = p12_of(pki.key, pki.leaf, others);
        expect_bundle(&p12, "correct", KEY_TYPE_EC_P256, 2, "CN=leaf");
        sk_X509_free(others);
}

static void missing_issuer_is_named(void **state)
{
        CLEANUP(bytes_deinit)
        Bytes pem = pem_of((EVP_PKEY *[]){ pki.key, NULL }, (X509 *[]){ pki.leaf, NULL });
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        Failure failure;

        assert_int_equal(parse(&pem, NULL, &bundle, &failure), 0);
        assert_string_equal(bundle.fault,
                            "the chain is incomplete: the certificate of 'CN=ca' is missing");
}

static void key_or_certificate_missing(void **state)
{
        CLEANUP(bytes_deinit)
        Bytes key_only = pem_of((EVP_PKEY *[]){ pki.key, NULL }, (X509 *[]){ NULL });
        CLEANUP(bytes_deinit)
        Bytes cert_only = pem_of((EVP_PKEY *[]){ NULL }, (X509 *[]){ pki.leaf, NULL });
        CLEANUP(bytes_deinit) Bytes p12_key = p12_of(pki.key, NULL, NULL);
        PkiBundle bundle = { 0 };
        Failure failure;

        assert_int_equal(parse(&key_only, NULL, &bundle, &failure), CB_BAD_BUNDLE);
        assert_non_null(strstr(failure.text, "no certificate"));
        assert_int_equal(parse(&p12_key, "correct", &bundle, &failure), CB_BAD_BUNDLE);
        assert_non_null(strstr(failure.text, "no certificate"));
        assert_int_equal(parse(&cert_only, NULL, &bundle, &failure), CB_BAD_BUNDLE);
        assert_non_null(strstr(failure.text, "no private key"));
}

static void key_of_another_certificate(void **state)
{
        CLEANUP(bytes_deinit)
        Bytes pem =
                pem_of((EVP_PKEY *[]){ pki.key, NULL }, (X509 *[]){ pki.other_leaf, pki.ca, NULL });

        assert_int_equal(status_of(&pem, NULL), CB_KEY_MISMATCH);
}

static void several_keys(void **state)
{
        CLEANUP(bytes_deinit)
        Bytes one = pem_of((EVP_PKEY *[]){ pki.ca_key, pki.key, pki.other_key, NULL },
                           (X509 *[]){ pki.leaf, NULL });
        CLEANUP(bytes_deinit)
        Bytes two = pem_of((EVP_PKEY *[]){ pki.key, pki.other_key, NULL },
                           (X509 *[]){ pki.leaf, pki.other_leaf, NULL });
        CLEANUP(bytes_deinit)
        Bytes none = pem_of((EVP_PKEY *[]){ pki.ca_key, pki.other_key, NULL },
                            (X509 *[]){ pki.leaf, NULL });

        expect_bundle(&one, NULL, KEY_TYPE_EC_P256, 1, "CN=leaf");
        assert_int_equal(status_of(&two, NULL), CB_BAD_BUNDLE);
        assert_int_equal(status_of(&none, NULL), CB_BAD_BUNDLE);
}

static void keys_of_no_type_of_ours(void **state)
{
        static const struct {
                const char *name, *group;
                size_t bits;
        } rows[] = { { "EC", "secp256k1", 0 },
                     { "RSA", NULL, 1024 },
                     { "X25519", NULL, 0 },
                     { "ED448", NULL, 0 },
                     { "EC", "P-224", 0 } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                EVP_PKEY *key = issue_key(rows[i].name, rows[i].group, rows[i].bits);
                CLEANUP(bytes_deinit)
                Bytes pem = pem_of((EVP_PKEY *[]){ key, NULL }, (X509 *[]){ pki.leaf, NULL });
                CLEANUP(bytes_deinit)
                Bytes both =
                        pem_of((EVP_PKEY *[]){ key, pki.key, NULL }, (X509 *[]){ pki.leaf, NULL });

                assert_int_equal(status_of(&pem, NULL), CB_NOT_SUPPORTED);
                expect_bundle(&both, NULL, KEY_TYPE_EC_P256, 1, "CN=leaf");
                EVP_PKEY_free(key);
        }
}

/* A DSA key in each form; its label alone says so, or its algorithm inside PKCS#8. */
static void dsa_key(void **state)
{
        static const char *const texts[] = {
                "-----BEGIN DSA PRIVATE KEY-----\nMAA=\n-----END DSA PRIVATE KEY-----\n",
                "-----BEGIN OPENSSH PRIVATE KEY-----\nMAA=\n-----END OPENSSH PRIVATE KEY-----\n",
                /* SEQUENCE { 0, { id-dsa }, OCTET STRING 02 01 01 } */
                "-----BEGIN PRIVATE KEY-----\nMBMCAQAwCQYHKoZIzjgEAQQDAgEB\n-----END PRIVATE "
                "KEY-----\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                CLEANUP(bytes_deinit) Bytes data = { 0 };

                assert_int_equal(bytes_set(&data, texts[i], strlen(texts[i])), 0);
                assert_int_equal(status_of(&data, NULL), CB_NOT_SUPPORTED);
        }
}

static void every_supported_key(void **state)
{
        static const struct {
                const char *name, *group;
                size_t bits;
                KeyType type;
        } rows[] = { { "RSA", NULL, 3072, KEY_TYPE_RSA_3072 },
                     { "RSA", NULL, 4096, KEY_TYPE_RSA_4096 },
                     { "EC", "P-384", 0, KEY_TYPE_EC_P384 },
                     { "EC", "P-521", 0, KEY_TYPE_EC_P521 },
                     { "ED25519", NULL, 0, KEY_TYPE_ED25519 } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                EVP_PKEY *key = rows[i].bits ? issue_rsa(rows[i].bits)
                                             : issue_key(rows[i].name, rows[i].group, 0);
                X509 *x = issue_certificate(&(Issue){
                        .name = "x", .key = key, .no_digest = rows[i].type == KEY_TYPE_ED25519 });
                CLEANUP(bytes_deinit)
                Bytes pem = pem_of((EVP_PKEY *[]){ key, NULL }, (X509 *[]){ x, NULL });
                CLEANUP(bytes_deinit) Bytes p12 = p12_of(key, x, NULL);

                expect_bundle(&pem, NULL, rows[i].type, 1, "CN=x");
                expect_bundle(&p12, "correct", rows[i].type, 1, "CN=x");
                X509_free(x);
                EVP_PKEY_free(key);
        }
}

/* The public half that a file claims need not be the private one's. */
static void halves_that_do_not_belong_together(void **state)
{
        CLEANUP(bytes_deinit) Bytes spki = issue_spki(pki.key);
        unsigned char *der = NULL;
        int n = i2d_PrivateKey(pki.other_key, &der); /* SEC1, with the point at its end */
        PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(pki.other_key);
        BIO *bio = BIO_new(BIO_s_mem());
        CLEANUP(bytes_deinit) Bytes pem = { 0 };

        assert_true(n > 65 && spki.n > 65);
        memcpy(der + n - 65, spki.data + spki.n - 65, 65);
        assert_true(PEM_write_bio(bio, "EC PRIVATE KEY", "", der, n));
        assert_true(PEM_write_bio_X509(bio, pki.leaf));
        pem = issue_take_bio(bio);
        assert_int_equal(status_of(&pem, NULL), CB_BAD_BUNDLE);
        OPENSSL_free(der);
        PKCS8_PRIV_KEY_INFO_free(p8);
}

/*
 * The fixed keys' first 16 secret bytes, inverted, so that this file's own constants are not found;
 * libcrypto keeps numbers with the last byte first, so both ways are looked for.
 */
static const uint8_t ec_inverted[16] = { 0x11, 0xb7, 0xc4, 0xda, 0xac, 0x12, 0xe0, 0x6f,
                                         0x1c, 0x85, 0x48, 0x66, 0x12, 0x08, 0x94, 0x65 };
static const uint8_t rsa_inverted[16] = { 0x19, 0x20, 0x6d, 0x10, 0x38, 0xdc, 0xeb, 0x8d,
                                          0x69, 0x89, 0x19, 0x90, 0xc7, 0x26, 0x1b, 0xcd };

/* The search is most of this file's time where each byte's shadow is looked at too. */
#define UNWATCHED __attribute__((no_sanitize("address", "undefined")))

UNWATCHED static bool matches(const uint8_t *p, const uint8_t *inverted)
{
        bool forward = true, backward = true;

        for (int i = 0; i < 16 && (forward || backward); i++) {
                forward = forward && (p[i] ^ inverted[i]) == 0xff;
                backward = backward && (p[15 - i] ^ inverted[i]) == 0xff;
        }
        return forward || backward;
}

/* All that this process can write to, its stack included. */
UNWATCHED static unsigned count_in_memory(const uint8_t *inverted)
{
        FILE *maps = fopen("/proc/self/maps", "re");
        int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
        size_t n_room = 64 << 20;
        uint8_t *room =
                mmap(NULL, n_room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        char line[512];
        unsigned n_found = 0;

        assert_true(maps && mem >= 0 && room != MAP_FAILED);
        while (fgets(line, sizeof(line), maps)) {
                unsigned long from, to;
                char mode[5];
                ssize_t n;

                if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || mode[1] != 'w' ||
                    from == (unsigned long)room || to - from > n_room)
                        continue;
                n = pread(mem, room, to - from, (off_t)from);
                for (ssize_t i = 0; i + 16 <= n; i++)
                        n_found += matches(room + i, inverted);
        }
        munmap(room, n_room);
        close(mem);
        fclose(maps);
        return n_found;
}

static void nothing_stays_in_memory(void **state)
{
        static const struct {
                const char *file;
                const uint8_t *inverted;
        } rows[] = {
                { "ec-sec1.pem", ec_inverted },         { "ec-sec1-aes256.pem", ec_inverted },
                { "ec-pkcs8.pem", ec_inverted },        { "ec-pkcs8-aes256.pem", ec_inverted },
                { "ec-pkcs8-scrypt.pem", ec_inverted }, { "rsa-pkcs1.pem", rsa_inverted },
                { "rsa-pkcs1-des3.pem", rsa_inverted }, { "ec-modern.p12", ec_inverted },
                { "ec-rc2.p12", ec_inverted },          { "ec-clear.p12", ec_inverted },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(bytes_deinit) Bytes data = issue_read_data(rows[i].file);
                PkiBundle bundle = { 0 };
                Failure failure;
                unsigned n_left;

                assert_int_equal(parse(&data, "correct", &bundle, &failure), 0);
                explicit_bzero(data.data, data.n);                  /* the caller's own copy */
                assert_true(count_in_memory(rows[i].inverted) > 0); /* the search does find it */
                pki_bundle_deinit(&bundle);
                n_left = count_in_memory(rows[i].inverted);
                if (n_left > 0)
                        print_error("%s: %u copies stay\n", rows[i].file, n_left);
                assert_int_equal(n_left, 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_stays_in_memory), /* before others leave files of theirs */
                cmocka_unit_test(files_of_every_form),
                cmocka_unit_test(wrong_passphrases_are_never_damage),
                cmocka_unit_test(vault_bundle_with_key),
                cmocka_unit_test(vault_bundle_without_key),
                cmocka_unit_test(certificates_of_bundle),
                cmocka_unit_test(every_cut_is_refused),
                cmocka_unit_test(every_changed_byte_is_survived),
                cmocka_unit_test(too_much_work_is_refused),
                cmocka_unit_test(files_that_are_no_bundle),
                cmocka_unit_test(chain_is_sorted),
                cmocka_unit_test(missing_issuer_is_named),
                cmocka_unit_test(key_or_certificate_missing),
                cmocka_unit_test(key_of_another_certificate),
                cmocka_unit_test(several_keys),
                cmocka_unit_test(keys_of_no_type_of_ours),
                cmocka_unit_test(dsa_key),
                cmocka_unit_test(every_supported_key),
                cmocka_unit_test(halves_that_do_not_belong_together),
        };

        mallopt(M_PERTURB, 0); /* as a test runner has it: it would hide what is not wiped */
        return cmocka_run_group_tests(tests, setup, teardown);
}
