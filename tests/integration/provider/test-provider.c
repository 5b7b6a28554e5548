/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program sees of the provider through libcrypto and libssl, against a fake broker.
 *
 * test-provider CASE runs one case; without an argument, all. The environment has OPENSSL_CONF, CERTBROKER_BUS, and
 * CERTBROKER_TEST_FOLDER with the fake broker's files. Signatures are judged by the default provider in a library
 * context where certbroker is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define NOBODY   "unix:path=/nonexistent/bus"

static const uint8_t message[] = "What the broker never sees, but for its digest";
static OSSL_LIB_CTX *judge;

/* ------------------------------------------------------------------ helpers */

static void print_errors_and_fail(const char *what)
{
        ERR_print_errors_fp(stderr);
        fail_msg("%s", what);
}

#define MUST(condition)                                                                            \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        print_errors_and_fail(#condition);                                         \
        } while (0)

static const char *file(const char *name, const char *suffix)
{
        static __thread char path[4][512];
        static __thread unsigned next;
        char *place = path[next++ % 4];

        snprintf(place, sizeof(path[0]), "%s/%s%s", getenv("CERTBROKER_TEST_FOLDER"), name, suffix);
        return place;
}

static EVP_PKEY *load_in(OSSL_LIB_CTX *libctx, const char *path)
{
        BIO *bio = BIO_new_file(path, "r");
        EVP_PKEY *key;

        assert_non_null(bio);
        key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL);
        BIO_free(bio);
        return key;
}

static EVP_PKEY *load(const char *name)
{
        EVP_PKEY *key = load_in(NULL, file(name, ".key"));

        MUST(key);
        return key;
}

static X509 *load_certificate(const char *name)
{
        BIO *bio = BIO_new_file(file(name, ".crt"), "r");
        X509 *certificate;

        assert_non_null(bio);
        certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        BIO_free(bio);
        MUST(certificate);
        return certificate;
}

/* The public key of a certificate in the judge's context. */
static EVP_PKEY *load_public(const char *name)
{
        X509 *certificate = X509_new_ex(judge, NULL);
        BIO *bio = BIO_new_file(file(name, ".crt"), "r");
        EVP_PKEY *key;

        assert_non_null(bio);
        MUST(PEM_read_bio_X509(bio, &certificate, NULL, NULL));
        key = X509_get_pubkey(certificate);
        BIO_free(bio);
        X509_free(certificate);
        MUST(key);
        return key;
}

static const char *provider_of(const EVP_PKEY *key)
{
        return OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(key));
}

/* Whether the judge accepts it. params: for PSS. */
static int is_right(const char *name, const char *digest, const OSSL_PARAM *params,
                    const uint8_t *given, size_t n_given)
{
        EVP_PKEY *public = load_public(name);
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        int ok;

        ok = EVP_DigestVerifyInit_ex(context, NULL, digest, judge, NULL, public, params) == 1 &&
             EVP_DigestVerify(context, given, n_given, message, sizeof(message)) == 1;
        EVP_MD_CTX_free(context);
        EVP_PKEY_free(public);
        return ok;
}

static int sign_with(EVP_PKEY *key, const char *digest, const OSSL_PARAM *params, uint8_t *out,
                     size_t *n)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        int ok;

        ok = EVP_DigestSignInit_ex(context, NULL, digest, NULL, NULL, key, params) == 1 &&
             EVP_DigestSign(context, out, n, message, sizeof(message)) == 1;
        EVP_MD_CTX_free(context);
        return ok;
}

static int signs(EVP_PKEY *key, const char *name, const char *digest)
{
        uint8_t out[1024];
        size_t n = sizeof(out);

        return sign_with(key, digest, NULL, out, &n) && is_right(name, digest, NULL, out, n);
}

static unsigned count_descriptors(void)
{
        DIR *directory = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(directory);
        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

static uint64_t now_msec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void assert_no_errors(void)
{
        if (ERR_peek_error())
                print_errors_and_fail("an error was left behind");
}

static int child_status(pid_t child)
{
        int status;

        assert_int_equal(waitpid(child, &status, 0), child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static const struct {
        const char *name, *type, *group;
        int base_id, bits, size;
} keys[] = {
        { "rsa", "RSA", NULL, EVP_PKEY_RSA, 2048, 256 },
        { "rsa3072", "RSA", NULL, EVP_PKEY_RSA, 3072, 384 },
        { "ec", "EC", "prime256v1", EVP_PKEY_EC, 256, 72 },
        { "ec384", "EC", "secp384r1", EVP_PKEY_EC, 384, 104 },
        { "ec521", "EC", "secp521r1", EVP_PKEY_EC, 521, 139 },
        { "ed25519", "ED25519", NULL, EVP_PKEY_ED25519, 256, 64 },
};

/* ------------------------------------------------------------------ loading */

/* Run with a bus that is not there: see main(). */
static void load_needs_no_broker(void **state)
{
        unsigned before;

        setenv("CERTBROKER_BUS", NOBODY, 1);
        EVP_PKEY_free(load("rsa"));
        before = count_descriptors();

        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);

                assert_string_equal(provider_of(key), "certbroker");
                assert_no_errors();
                EVP_PKEY_free(key);
        }
        assert_int_equal(count_descriptors(), before);
}

static void parameters_are_answered_locally(void **state)
{
        setenv("CERTBROKER_BUS", NOBODY, 1);

        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);
                char group[64];
                size_t n;

                assert_int_equal(EVP_PKEY_get_base_id(key), keys[i].base_id);
                assert_true(EVP_PKEY_is_a(key, keys[i].type));
                assert_int_equal(EVP_PKEY_get_bits(key), keys[i].bits);
                assert_int_equal(EVP_PKEY_get_size(key), keys[i].size);
                assert_true(EVP_PKEY_get_security_bits(key) >= 112);
                if (keys[i].group) {
                        MUST(EVP_PKEY_get_group_name(key, group, sizeof(group), &n));
                        assert_string_equal(group, keys[i].group);
                }
                EVP_PKEY_free(key);
        }
}

static void certificate_matches_its_key(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                X509 *certificate = load_certificate(keys[i].name);
                EVP_PKEY *key = load(keys[i].name), *twin = load(keys[i].name);

                MUST(X509_check_private_key(certificate, key) == 1);
                MUST(EVP_PKEY_eq(key, X509_get0_pubkey(certificate)) == 1);
                MUST(EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1);
                MUST(EVP_PKEY_eq(key, twin) == 1);
                assert_no_errors();
                for (size_t j = 0; j < N(keys); j++) {
                        EVP_PKEY *other = load(keys[j].name);

                        if (i != j)
                                assert_int_not_equal(X509_check_private_key(certificate, other), 1);
                        EVP_PKEY_free(other);
                }
                ERR_clear_error();
                EVP_PKEY_free(twin);
                EVP_PKEY_free(key);
                X509_free(certificate);
        }
}

static void private_half_is_refused(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);
                OSSL_PARAM *params = NULL;
                BIGNUM *number = NULL;
                uint8_t *der = NULL;

                assert_false(EVP_PKEY_todata(key, EVP_PKEY_KEYPAIR, &params) > 0);
                assert_false(i2d_PrivateKey(key, &der) > 0);
                assert_false(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_D, &number));
                assert_false(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &number));
                ERR_clear_error();

                MUST(EVP_PKEY_todata(key, EVP_PKEY_PUBLIC_KEY, &params) > 0);
                assert_null(OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_PRIV_KEY));
                assert_null(OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_RSA_D));
                MUST(i2d_PUBKEY(key, &der) > 0);
                OPENSSL_free(der);
                OSSL_PARAM_free(params);
                EVP_PKEY_free(key);
        }
}

static void copies_sign_like_the_first(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name), *copy = EVP_PKEY_dup(key);

                MUST(copy);
                EVP_PKEY_free(key);
                MUST(signs(copy, keys[i].name,
                           keys[i].base_id == EVP_PKEY_ED25519 ? NULL : "SHA256"));
                EVP_PKEY_free(copy);
        }
}

static char *slurp(const char *path)
{
        static char text[65536];
        FILE *f = fopen(path, "r");
        size_t n;

        assert_non_null(f);
        n = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        text[n] = '\0';
        return strdup(text);
}

static EVP_PKEY *parse(const char *pem)
{
        BIO *bio = BIO_new_mem_buf(pem, -1);
        EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

        BIO_free(bio);
        return key;
}

static void files_may_hold_more(void **state)
{
        char *reference = slurp(file("ec", ".key")), *chain = slurp(file("ec", ".crt"));
        char *plain = slurp(file("rsa", ".private"));
        const char *const mixes[][3] = {
                { chain, reference, "" },
                { reference, chain, "" },
                { "some text\n\n", reference, chain },
                { chain, "text\n", reference },
                { reference, plain, "" },
        };
        char all[65536];
        EVP_PKEY *key;

        for (size_t i = 0; i < N(mixes); i++) {
                snprintf(all, sizeof(all), "%s%s%s", mixes[i][0], mixes[i][1], mixes[i][2]);
                key = parse(all);
                MUST(key);
                assert_string_equal(provider_of(key), "certbroker");
                EVP_PKEY_free(key);
        }

        /* The first key counts: here that is one of the default provider's. */
        snprintf(all, sizeof(all), "%s%s", plain, reference);
        key = parse(all);
        MUST(key);
        assert_string_equal(provider_of(key), "default");
        EVP_PKEY_free(key);

        free(reference);
        free(chain);
        free(plain);
}

static void broken_files_are_refused(void **state)
{
        char *reference = slurp(file("ec", ".key")), *body = strstr(reference, "-----\n") + 6;
        size_t n_body = (size_t)(strstr(body, "-----END") - body);
        static const char *const wholes[] = {
                "-----BEGIN CERTBROKER KEY REFERENCE-----\n",
                "-----BEGIN CERTBROKER KEY REFERENCE-----\n-----END CERTBROKER KEY "
                "REFERENCE-----\n",
                "-----BEGIN CERTBROKER KEY REFERENCE-----\n!!!!\n-----END CERTBROKER KEY "
                "REFERENCE-----\n",
                "-----BEGIN CERTBROKER KEY REFERENCE-----\nMAA=\n-----END CERTBROKER KEY "
                "REFERENCE-----\n",
                "",
        };

        for (size_t i = 0; i < N(wholes); i++)
                assert_null(parse(wholes[i]));

        /* Every byte of the body once changed: an error, or a key that still is one; never a crash. */
        for (size_t i = 0; i < n_body; i++) {
                char before = body[i];

                body[i] = before == 'A' ? 'B' : 'A';
                EVP_PKEY_free(parse(reference));
                body[i] = before;
        }
        ERR_clear_error();
        free(reference);
}

static void der_is_read_too(void **state)
{
        char *reference = slurp(file("rsa", ".key"));
        BIO *bio = BIO_new_mem_buf(reference, -1);
        char *name, *header;
        uint8_t *der;
        long n_der;
        EVP_PKEY *key;

        MUST(PEM_read_bio(bio, &name, &header, &der, &n_der));
        assert_string_equal(name, "CERTBROKER KEY REFERENCE");
        BIO_free(bio);

        bio = BIO_new_mem_buf(der, (int)n_der);
        key = d2i_PrivateKey_bio(bio, NULL);
        MUST(key);
        assert_string_equal(provider_of(key), "certbroker");
        EVP_PKEY_free(key);
        BIO_free(bio);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
        free(reference);
}

/* ------------------------------------------------------------------ signing */

static void messages_are_signed(void **state)
{
        static const char *const digests[] = { "SHA256", "SHA384", "SHA512", "SHA1", "SHA2-256" };

        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);

                if (keys[i].base_id == EVP_PKEY_ED25519) {
                        MUST(signs(key, keys[i].name, NULL));
                } else {
                        for (size_t j = 0; j < N(digests); j++)
                                MUST(signs(key, keys[i].name, digests[j]));
                }
                assert_no_errors();
                EVP_PKEY_free(key);
        }
}

static void messages_come_in_parts(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                EVP_MD_CTX *context = EVP_MD_CTX_new();
                EVP_PKEY *key = load(keys[i].name);
                uint8_t out[1024];
                size_t n = 0;

                if (keys[i].base_id != EVP_PKEY_ED25519) {
                        MUST(EVP_DigestSignInit_ex(context, NULL, "SHA384", NULL, NULL, key, NULL));
                        MUST(EVP_DigestSignUpdate(context, message, 10));
                        MUST(EVP_DigestSignUpdate(context, message + 10, sizeof(message) - 10));
                        /* The probe leaves the hash alone. */
                        MUST(EVP_DigestSignFinal(context, NULL, &n));
                        assert_int_equal(n, keys[i].size);
                        n = sizeof(out);
                        MUST(EVP_DigestSignFinal(context, out, &n));
                        MUST(is_right(keys[i].name, "SHA384", NULL, out, n));
                }
                EVP_PKEY_free(key);
                EVP_MD_CTX_free(context);
        }
}

static void size_is_told_locally(void **state)
{
        setenv("CERTBROKER_BUS", NOBODY, 1);

        for (size_t i = 0; i < N(keys); i++) {
                bool ed25519 = keys[i].base_id == EVP_PKEY_ED25519;
                EVP_MD_CTX *context = EVP_MD_CTX_new();
                EVP_PKEY *key = load(keys[i].name);
                uint8_t out[1024];
                size_t n = 0;

                MUST(EVP_DigestSignInit_ex(context, NULL, ed25519 ? NULL : "SHA256", NULL, NULL,
                                           key, NULL));
                MUST(EVP_DigestSign(context, NULL, &n, message, sizeof(message)));
                assert_int_equal(n, keys[i].size);
                n--;
                assert_false(EVP_DigestSign(context, out, &n, message, sizeof(message)) > 0);
                EVP_MD_CTX_free(context);

                if (!ed25519) {
                        EVP_PKEY_CTX *raw = EVP_PKEY_CTX_new(key, NULL);

                        n = 0;
                        MUST(EVP_PKEY_sign_init(raw) > 0);
                        MUST(EVP_PKEY_sign(raw, NULL, &n, message, 32) > 0);
                        assert_int_equal(n, keys[i].size);
                        EVP_PKEY_CTX_free(raw);
                }
                ERR_clear_error();
                EVP_PKEY_free(key);
        }
}

static void pss_takes_numbers_and_words(void **state)
{
        EVP_PKEY *key = load("rsa");
        int six = RSA_PKCS1_PSS_PADDING, minus_one = -1, exact = 32, minus_two = -2;
        char word[] = "pss", digest[] = "digest", auto_[] = "auto", number[] = "32",
             mgf1[] = "SHA256";
        OSSL_PARAM judged[] = {
                OSSL_PARAM_construct_utf8_string("pad-mode", word, 0),
                OSSL_PARAM_construct_int("saltlen", &exact),
                OSSL_PARAM_construct_end(),
        };
        OSSL_PARAM pads[] = {
                OSSL_PARAM_construct_int("pad-mode", &six),
                OSSL_PARAM_construct_utf8_string("pad-mode", word, 0),
        };
        OSSL_PARAM salts[] = {
                OSSL_PARAM_construct_int("saltlen", &minus_one),
                OSSL_PARAM_construct_int("saltlen", &minus_two),
                OSSL_PARAM_construct_int("saltlen", &exact),
                OSSL_PARAM_construct_utf8_string("saltlen", digest, 0),
                OSSL_PARAM_construct_utf8_string("saltlen", auto_, 0),
                OSSL_PARAM_construct_utf8_string("saltlen", number, 0),
                OSSL_PARAM_construct_utf8_string("mgf1-digest", mgf1, 0),
        };
        uint8_t out[1024];

        for (size_t i = 0; i < N(pads); i++)
                for (size_t j = 0; j < N(salts); j++) {
                        OSSL_PARAM params[] = { pads[i], salts[j], OSSL_PARAM_construct_end() };
                        size_t n = sizeof(out);

                        MUST(sign_with(key, "SHA256", params, out, &n));
                        MUST(is_right("rsa", "SHA256", judged, out, n));
                }
        EVP_PKEY_free(key);
}

static void other_pss_is_refused(void **state)
{
        EVP_PKEY *key = load("rsa");
        int six = RSA_PKCS1_PSS_PADDING, salt = 20, none = RSA_NO_PADDING;
        char max[] = "max", mgf1[] = "SHA512";
        OSSL_PARAM bad[] = {
                OSSL_PARAM_construct_int("saltlen", &salt),
                OSSL_PARAM_construct_utf8_string("saltlen", max, 0),
                OSSL_PARAM_construct_utf8_string("mgf1-digest", mgf1, 0),
                OSSL_PARAM_construct_int("pad-mode", &none),
        };
        uint8_t out[1024];

        for (size_t i = 0; i < N(bad); i++) {
                OSSL_PARAM params[] = { i < 3 ? OSSL_PARAM_construct_int("pad-mode", &six) : bad[i],
                                        bad[i], OSSL_PARAM_construct_end() };
                size_t n = sizeof(out);

                assert_false(sign_with(key, "SHA256", params, out, &n));
                assert_int_not_equal(ERR_peek_error(), 0);
                ERR_clear_error();
        }
        EVP_PKEY_free(key);
}

/* libssl sets these through controls. */
static void pss_by_controls(void **state)
{
        EVP_PKEY *key = load("rsa");
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_PKEY_CTX *inner;
        int six = RSA_PKCS1_PSS_PADDING, salt = 48, mode;
        OSSL_PARAM judged[] = {
                OSSL_PARAM_construct_int("pad-mode", &six),
                OSSL_PARAM_construct_int("saltlen", &salt),
                OSSL_PARAM_construct_end(),
        };
        uint8_t out[256];
        size_t n = sizeof(out);

        MUST(EVP_DigestSignInit_ex(context, &inner, "SHA384", NULL, NULL, key, NULL));
        MUST(EVP_PKEY_CTX_set_rsa_padding(inner, RSA_PKCS1_PSS_PADDING) > 0);
        MUST(EVP_PKEY_CTX_set_rsa_pss_saltlen(inner, RSA_PSS_SALTLEN_DIGEST) > 0);
        MUST(EVP_PKEY_CTX_get_rsa_padding(inner, &mode) > 0);
        assert_int_equal(mode, RSA_PKCS1_PSS_PADDING);
        MUST(EVP_DigestSign(context, out, &n, message, sizeof(message)) > 0);
        MUST(is_right("rsa", "SHA384", judged, out, n));
        EVP_MD_CTX_free(context);
        EVP_PKEY_free(key);
}

static int raw_sign(EVP_PKEY *key, const EVP_MD *md, int padding, const uint8_t *input,
                    size_t n_input, uint8_t *out, size_t *n)
{
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
        int ok;

        ok = EVP_PKEY_sign_init(context) > 0 &&
             (!padding || EVP_PKEY_CTX_set_rsa_padding(context, padding) > 0) &&
             (!md || EVP_PKEY_CTX_set_signature_md(context, md) > 0) &&
             EVP_PKEY_sign(context, out, n, input, n_input) > 0;
        EVP_PKEY_CTX_free(context);
        return ok;
}

static void digests_are_signed(void **state)
{
        static const struct {
                const char *key, *digest;
                int padding;
                bool set;
        } cases[] = {
                { "rsa", "SHA256", RSA_PKCS1_PADDING, true },
                { "rsa", "SHA512", RSA_PKCS1_PSS_PADDING, true },
                { "rsa", "SHA1", RSA_PKCS1_PADDING, true },
                { "rsa", "SHA384", RSA_PKCS1_PSS_PADDING, false },
                { "ec", "SHA256", 0, true },
                { "ec", "SHA512", 0, true },
                { "ec", "SHA256", 0, false },
                { "ec384", "SHA384", 0, false },
                { "ec521", "SHA512", 0, false },
                { "ec", "SHA1", 0, false },
        };

        for (size_t i = 0; i < N(cases); i++) {
                EVP_PKEY *key = load(cases[i].key);
                const EVP_MD *md = EVP_get_digestbyname(cases[i].digest);
                OSSL_PARAM judged[] = { OSSL_PARAM_construct_end(), OSSL_PARAM_construct_end() };
                int six = RSA_PKCS1_PSS_PADDING;
                uint8_t digest[64], out[1024];
                size_t n = sizeof(out);
                unsigned n_digest;

                if (cases[i].padding == six)
                        judged[0] = OSSL_PARAM_construct_int("pad-mode", &six);
                EVP_Digest(message, sizeof(message), digest, &n_digest, md, NULL);
                MUST(raw_sign(key, cases[i].set ? md : NULL, cases[i].padding, digest, n_digest,
                              out, &n));
                MUST(is_right(cases[i].key, cases[i].digest, judged, out, n));

                n = sizeof(out);
                assert_false(raw_sign(key, cases[i].set ? md : NULL, cases[i].padding, digest,
                                      n_digest - 1, out, &n));
                ERR_clear_error();
                EVP_PKEY_free(key);
        }
}

static void a_digest_info_is_signed(void **state)
{
        static const uint8_t prefix[] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
                                          0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
                                          0x01, 0x05, 0x00, 0x04, 0x20 };
        EVP_PKEY *key = load("rsa");
        uint8_t info[sizeof(prefix) + 32], out[256];
        size_t n = sizeof(out);

        memcpy(info, prefix, sizeof(prefix));
        EVP_Digest(message, sizeof(message), info + sizeof(prefix), NULL, EVP_sha256(), NULL);
        MUST(raw_sign(key, NULL, 0, info, sizeof(info), out, &n));
        MUST(is_right("rsa", "SHA256", NULL, out, n));

        /* Whatever else a caller pads himself is not a digest that a grant could name. */
        n = sizeof(out);
        assert_false(raw_sign(key, NULL, 0, message, sizeof(message), out, &n));
        assert_false(raw_sign(key, NULL, 0, info + sizeof(prefix), 32, out, &n));
        info[14] ^= 1;
        assert_false(raw_sign(key, NULL, 0, info, sizeof(info), out, &n));
        ERR_clear_error();
        EVP_PKEY_free(key);
}

static void other_digests_are_refused(void **state)
{
        static const char *const digests[] = { "MD5-SHA1", "MD5", "SHA224", "SHA3-256",
                                               "SHA512-256" };

        for (size_t i = 0; i < N(keys); i++) {
                EVP_PKEY *key = load(keys[i].name);

                for (size_t j = 0; j < N(digests); j++) {
                        uint8_t out[1024];
                        size_t n = sizeof(out);

                        assert_false(sign_with(key, digests[j], NULL, out, &n));
                        assert_false(EVP_PKEY_digestsign_supports_digest(key, NULL, digests[j],
                                                                         NULL) == 1);
                        ERR_clear_error();
                }
                if (keys[i].base_id != EVP_PKEY_ED25519)
                        MUST(EVP_PKEY_digestsign_supports_digest(key, NULL, "SHA384", NULL) == 1);
                EVP_PKEY_free(key);
        }
}

static void the_handle_verifies(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                const char *digest = keys[i].base_id == EVP_PKEY_ED25519 ? NULL : "SHA256";
                EVP_PKEY *key = load(keys[i].name);
                EVP_MD_CTX *context = EVP_MD_CTX_new();
                uint8_t out[1024];
                size_t n = sizeof(out);

                MUST(sign_with(key, digest, NULL, out, &n));
                MUST(EVP_DigestVerifyInit_ex(context, NULL, digest, NULL, NULL, key, NULL) > 0);
                MUST(EVP_DigestVerify(context, out, n, message, sizeof(message)) == 1);
                out[n - 1] ^= 1;
                MUST(EVP_DigestVerifyInit_ex(context, NULL, digest, NULL, NULL, key, NULL) > 0);
                assert_int_not_equal(EVP_DigestVerify(context, out, n, message, sizeof(message)),
                                     1);
                ERR_clear_error();
                EVP_MD_CTX_free(context);
                EVP_PKEY_free(key);
        }
}

static void nobody_there_fails_fast(void **state)
{
        EVP_PKEY *key;
        uint8_t out[1024];
        size_t n = sizeof(out);
        const char *data;
        uint64_t begin;
        int flags;

        setenv("CERTBROKER_BUS", NOBODY, 1);
        key = load("ec");
        begin = now_msec();
        assert_false(sign_with(key, "SHA256", NULL, out, &n));
        assert_true(now_msec() - begin < 250);
        assert_string_equal(ERR_reason_error_string(ERR_peek_error_data(&data, &flags)),
                            "certbrokerd cannot be reached");
        assert_true(flags & ERR_TXT_STRING);
        assert_non_null(strstr(data, "/nonexistent/bus"));
        ERR_clear_error();
        EVP_PKEY_free(key);
}

/* ------------------------------------------------------------------ forks, threads, contexts */

static pid_t spawn(EVP_PKEY *key, const char *name, unsigned times)
{
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
                while (times-- > 0)
                        if (!signs(key, name, "SHA256")) {
                                ERR_print_errors_fp(stderr);
                                _exit(1);
                        }
                _exit(0);
        }
        return child;
}

static void workers_sign_with_the_masters_key(void **state)
{
        EVP_PKEY *key = load("ec");
        pid_t children[4];

        /* First with nothing opened before the fork, then with a connection that the master has used. */
        for (unsigned round = 0; round < 2; round++) {
                for (size_t i = 0; i < N(children); i++)
                        children[i] = spawn(key, "ec", 20);
                if (round == 1)
                        for (unsigned i = 0; i < 20; i++)
                                MUST(signs(key, "ec", "SHA256"));
                for (size_t i = 0; i < N(children); i++)
                        assert_int_equal(child_status(children[i]), 0);
                MUST(signs(key, "ec", "SHA256"));
        }
        EVP_PKEY_free(key);
}

/* A worker that leaves by exit() runs libcrypto's clean-up. */
static void workers_exit_cleanly(void **state)
{
        EVP_PKEY *key = load("rsa");
        pid_t child;

        MUST(signs(key, "rsa", "SHA256"));
        for (unsigned round = 0; round < 4; round++) {
                child = fork();
                assert_true(child >= 0);
                if (child == 0) {
                        if (round & 1 && !signs(key, "rsa", "SHA256"))
                                _exit(1);
                        if (round & 2)
                                EVP_PKEY_free(key);
                        exit(0);
                }
                assert_int_equal(child_status(child), 0);
        }
        MUST(signs(key, "rsa", "SHA256"));
        EVP_PKEY_free(key);
}

typedef struct Job {
        EVP_PKEY *key;
        const char *name;
        atomic_bool *stop;
        atomic_uint *done, *failed;
} Job;

static void *run_job(void *argument)
{
        const Job *job = argument;

        for (unsigned i = 0; job->stop ? !atomic_load(job->stop) : i < 40; i++) {
                if (!signs(job->key, job->name, "SHA256")) {
                        ERR_print_errors_fp(stderr);
                        atomic_fetch_add(job->failed, 1);
                }
                atomic_fetch_add(job->done, 1);
        }
        return NULL;
}

static void threads_share_a_key(void **state)
{
        EVP_PKEY *rsa = load("rsa"), *ec = load("ec");
        pthread_t threads[12];
        Job jobs[N(threads)];
        atomic_uint done = 0, failed = 0;

        for (size_t i = 0; i < N(threads); i++) {
                jobs[i] = (Job){ i % 3 ? ec : rsa, i % 3 ? "ec" : "rsa", NULL, &done, &failed };
                assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
        }
        for (size_t i = 0; i < N(threads); i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(failed, 0);
        assert_int_equal(done, 40 * N(threads));
        EVP_PKEY_free(rsa);
        EVP_PKEY_free(ec);
}

static void forks_while_threads_sign(void **state)
{
        EVP_PKEY *key = load("ec");
        atomic_uint done = 0, failed = 0;
        atomic_bool stop = false;
        pthread_t threads[4];
        Job job = { key, "ec", &stop, &done, &failed };

        /* libcrypto's own locks are not ours to test: everything is fetched before. */
        MUST(signs(key, "ec", "SHA256"));
        for (size_t i = 0; i < N(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, run_job, &job), 0);

        for (unsigned i = 0; i < 30; i++) {
                uint8_t out[128];
                size_t n = sizeof(out);
                pid_t child = fork();

                assert_true(child >= 0);
                if (child == 0) {
                        alarm(20);
                        _exit(sign_with(key, "SHA256", NULL, out, &n) ? 0 : 1);
                }
                assert_int_equal(child_status(child), 0);
        }
        atomic_store(&stop, true);
        for (size_t i = 0; i < N(threads); i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(failed, 0);
        EVP_PKEY_free(key);
}

/* Contexts come and go; nothing of them stays: neither memory (the sanitizer tells) nor descriptors. */
static void contexts_come_and_go(void **state)
{
        unsigned before = 0;

        for (unsigned i = 0; i < 10; i++) {
                OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
                OSSL_PROVIDER *first, *second;
                uint8_t out[256];
                size_t n = sizeof(out);
                EVP_MD_CTX *context;
                EVP_PKEY *key;

                first = OSSL_PROVIDER_load(libctx, "default");
                second = OSSL_PROVIDER_load(libctx, "certbroker");
                MUST(first && second);
                key = load_in(libctx, file("ec", ".key"));
                MUST(key);
                assert_string_equal(provider_of(key), "certbroker");
                context = EVP_MD_CTX_new();
                MUST(EVP_DigestSignInit_ex(context, NULL, "SHA256", libctx, NULL, key, NULL) > 0);
                MUST(EVP_DigestSign(context, out, &n, message, sizeof(message)) > 0);
                MUST(is_right("ec", "SHA256", NULL, out, n));
                EVP_MD_CTX_free(context);
                EVP_PKEY_free(key);
                OSSL_PROVIDER_unload(second);
                OSSL_PROVIDER_unload(first);
                OSSL_LIB_CTX_free(libctx);
                if (i == 0)
                        before = count_descriptors();
        }
        assert_int_equal(count_descriptors(), before);
}

/* ------------------------------------------------------------------ the program's other keys */

static void others_stay_where_they_are(OSSL_LIB_CTX *libctx)
{
        EVP_PKEY *rsa = EVP_PKEY_Q_keygen(libctx, NULL, "RSA", (size_t)2048), *loaded;
        EVP_PKEY *ec = EVP_PKEY_Q_keygen(libctx, NULL, "EC", "P-256");
        EVP_PKEY *peer = EVP_PKEY_Q_keygen(libctx, NULL, "EC", "P-256");
        EVP_PKEY *ed25519 = EVP_PKEY_Q_keygen(libctx, NULL, "ED25519");
        EVP_PKEY_CTX *exchange;
        uint8_t out[1024];
        size_t n = sizeof(out);
        EVP_MD_CTX *context = EVP_MD_CTX_new();

        MUST(rsa && ec && peer && ed25519);
        assert_string_equal(provider_of(rsa), "default");
        assert_string_equal(provider_of(ec), "default");
        assert_string_equal(provider_of(ed25519), "default");

        exchange = EVP_PKEY_CTX_new_from_pkey(libctx, ec, NULL);
        MUST(EVP_PKEY_derive_init(exchange) > 0 && EVP_PKEY_derive_set_peer(exchange, peer) > 0);
        MUST(EVP_PKEY_derive(exchange, out, &n) > 0);
        EVP_PKEY_CTX_free(exchange);

        n = sizeof(out);
        MUST(EVP_DigestSignInit_ex(context, NULL, "SHA256", libctx, NULL, rsa, NULL) > 0);
        MUST(EVP_DigestSign(context, out, &n, message, sizeof(message)) > 0);

        loaded = load_in(libctx, file("ec", ".private"));
        MUST(loaded);
        assert_string_equal(provider_of(loaded), "default");
        assert_no_errors();

        EVP_MD_CTX_free(context);
        EVP_PKEY_free(loaded);
        EVP_PKEY_free(ed25519);
        EVP_PKEY_free(peer);
        EVP_PKEY_free(ec);
        EVP_PKEY_free(rsa);
}

/* OpenSSL 3.0 sorts its providers by name when it looks for one: certbroker then comes before default. */
static void other_keys_are_left_alone(void **state)
{
        OSSL_PROVIDER *base = OSSL_PROVIDER_load(NULL, "base");

        MUST(base);
        MUST(OSSL_PROVIDER_available(NULL, "certbroker"));
        others_stay_where_they_are(NULL);
        EVP_PKEY_free(load("ec"));
        others_stay_where_they_are(NULL);
        OSSL_PROVIDER_unload(base);
}

static void order_of_providers_does_not_matter(void **state)
{
        for (unsigned key_first = 0; key_first < 2; key_first++) {
                OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
                OSSL_PROVIDER *first = OSSL_PROVIDER_load(libctx, "certbroker");
                OSSL_PROVIDER *second = OSSL_PROVIDER_load(libctx, "default");
                EVP_PKEY *key;

                MUST(first && second);
                if (!key_first)
                        others_stay_where_they_are(libctx);
                key = load_in(libctx, file("rsa", ".key"));
                MUST(key);
                assert_string_equal(provider_of(key), "certbroker");
                EVP_PKEY_free(key);
                others_stay_where_they_are(libctx);
                OSSL_PROVIDER_unload(second);
                OSSL_PROVIDER_unload(first);
                OSSL_LIB_CTX_free(libctx);
        }
}

/* ------------------------------------------------------------------ the store */

static void store_counts(const char *uri, int expect, unsigned n_keys, unsigned n_certificates)
{
        OSSL_STORE_CTX *store = OSSL_STORE_open(uri, NULL, NULL, NULL, NULL);
        unsigned keys_seen = 0, certificates_seen = 0;

        MUST(store);
        if (expect)
                MUST(OSSL_STORE_expect(store, expect));
        while (!OSSL_STORE_eof(store)) {
                OSSL_STORE_INFO *info = OSSL_STORE_load(store);

                MUST(info || OSSL_STORE_eof(store));
                if (!info)
                        break;
                keys_seen += OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY ||
                             OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PUBKEY;
                certificates_seen += OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_CERT;
                OSSL_STORE_INFO_free(info);
        }
        OSSL_STORE_close(store);
        assert_int_equal(keys_seen, n_keys);
        assert_int_equal(certificates_seen, n_certificates);
}

static void store_gives_what_is_expected(void **state)
{
        static const char *const uris[] = {
                "certbroker:certificate/rsa",
                "certbroker://certificate/ec",
                "certbroker:certificate/ed25519?generation=3",
                "certbroker:backend/to-ec384",
                "certbroker://backend/to-rsa",
        };

        for (size_t i = 0; i < N(uris); i++) {
                store_counts(uris[i], 0, 1, 2);
                store_counts(uris[i], OSSL_STORE_INFO_PKEY, 1, 0);
                store_counts(uris[i], OSSL_STORE_INFO_CERT, 0, 2);
        }
}

static void store_key_signs(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                char uri[128];
                OSSL_STORE_CTX *store;
                OSSL_STORE_INFO *info;
                EVP_PKEY *key;

                snprintf(uri, sizeof(uri), "certbroker:certificate/%s", keys[i].name);
                store = OSSL_STORE_open(uri, NULL, NULL, NULL, NULL);
                MUST(store && OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY));
                info = OSSL_STORE_load(store);
                MUST(info);
                key = OSSL_STORE_INFO_get1_PKEY(info);
                OSSL_STORE_INFO_free(info);
                OSSL_STORE_close(store);
                MUST(key);
                assert_string_equal(provider_of(key), "certbroker");
                MUST(signs(key, keys[i].name,
                           keys[i].base_id == EVP_PKEY_ED25519 ? NULL : "SHA256"));
                EVP_PKEY_free(key);
        }
}

static void store_refuses_bad_uris(void **state)
{
        static const struct {
                const char *uri, *reason;
        } cases[] = {
                { "certbroker:", "not a certbroker URI" },
                { "certbroker:certificate/", "not a certbroker URI" },
                { "certbroker:certificate/../rsa", "not a certbroker URI" },
                { "certbroker:certificate/r%73a", "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=", "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=0", "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=99999999999999999999",
                  "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=3&x", "not a certbroker URI" },
                { "certbroker:certificate/rsa#x", "not a certbroker URI" },
                { "certbroker:backend/to-rsa?generation=3", "not a certbroker URI" },
                { "certbroker:source/hsm", "not a certbroker URI" },
                { "certbroker:certificate/-rsa", "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=2", "not the current generation" },
                { "certbroker:certificate/none", "not found by certbrokerd" },
        };

        for (size_t i = 0; i < N(cases); i++) {
                bool found = false;
                unsigned long code;

                assert_null(OSSL_STORE_open(cases[i].uri, NULL, NULL, NULL, NULL));
                while ((code = ERR_get_error())) {
                        const char *reason = ERR_reason_error_string(code);

                        found |= reason && strcmp(reason, cases[i].reason) == 0;
                }
                if (!found)
                        fail_msg("%s: not \"%s\"", cases[i].uri, cases[i].reason);
        }
}

/* ------------------------------------------------------------------ TLS */

static SSL_CTX *tls_context(const char *name, int version, bool is_server)
{
        SSL_CTX *context = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());

        MUST(context);
        MUST(SSL_CTX_set_min_proto_version(context, version) &&
             SSL_CTX_set_max_proto_version(context, version));
        MUST(SSL_CTX_load_verify_locations(context, file("ca", ".crt"), NULL));
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        MUST(SSL_CTX_use_certificate_chain_file(context, file(name, ".crt")) == 1);
        MUST(SSL_CTX_use_PrivateKey_file(context, file(name, ".key"), SSL_FILETYPE_PEM) == 1);
        MUST(SSL_CTX_check_private_key(context) == 1);
        assert_no_errors();
        return context;
}

static void shake_hands(SSL_CTX *server_context, SSL_CTX *client_context)
{
        SSL *server = SSL_new(server_context), *client = SSL_new(client_context);
        BIO *server_bio, *client_bio;
        int s = 0, c = 0;

        MUST(BIO_new_bio_pair(&server_bio, 0, &client_bio, 0));
        SSL_set_bio(server, server_bio, server_bio);
        SSL_set_bio(client, client_bio, client_bio);
        for (unsigned i = 0; i < 20 && (s != 1 || c != 1); i++) {
                if (c != 1)
                        c = SSL_connect(client);
                if (s != 1)
                        s = SSL_accept(server);
        }
        MUST(s == 1 && c == 1);
        assert_int_equal(SSL_get_verify_result(server), X509_V_OK);
        assert_int_equal(SSL_get_verify_result(client), X509_V_OK);
        SSL_free(server);
        SSL_free(client);
}

static void tls_with_keys_on_both_sides(void **state)
{
        static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

        for (size_t v = 0; v < N(versions); v++)
                for (size_t i = 0; i < N(keys); i++) {
                        SSL_CTX *server = tls_context(keys[i].name, versions[v], true);
                        SSL_CTX *client =
                                tls_context(keys[N(keys) - 1 - i].name, versions[v], false);

                        /* P-256 for the exchange: a key of the program's that is of a type that we have too. */
                        MUST(SSL_CTX_set1_groups_list(client, i % 2 ? "P-256:P-384:P-521"
                                                                    : "X25519:P-256:P-384:P-521"));
                        shake_hands(server, client);
                        SSL_CTX_free(server);
                        SSL_CTX_free(client);
                }
}

/* ------------------------------------------------------------------ */

#define CASE(function)                                                                             \
        {                                                                                          \
#function, function, NULL, NULL, NULL                                              \
        }

static const struct CMUnitTest cases[] = {
        CASE(load_needs_no_broker),         CASE(parameters_are_answered_locally),
        CASE(certificate_matches_its_key),  CASE(private_half_is_refused),
        CASE(copies_sign_like_the_first),   CASE(files_may_hold_more),
        CASE(broken_files_are_refused),     CASE(der_is_read_too),
        CASE(messages_are_signed),          CASE(messages_come_in_parts),
        CASE(size_is_told_locally),         CASE(pss_takes_numbers_and_words),
        CASE(other_pss_is_refused),         CASE(pss_by_controls),
        CASE(digests_are_signed),           CASE(a_digest_info_is_signed),
        CASE(other_digests_are_refused),    CASE(the_handle_verifies),
        CASE(nobody_there_fails_fast),      CASE(workers_sign_with_the_masters_key),
        CASE(workers_exit_cleanly),         CASE(threads_share_a_key),
        CASE(forks_while_threads_sign),     CASE(contexts_come_and_go),
        CASE(other_keys_are_left_alone),    CASE(order_of_providers_does_not_matter),
        CASE(store_gives_what_is_expected), CASE(store_key_signs),
        CASE(store_refuses_bad_uris),       CASE(tls_with_keys_on_both_sides),
};

int main(int argc, char **argv)
{
        OSSL_PROVIDER *provider;
        int failed;

        if (argc == 2 && strcmp(argv[1], "--list") == 0) {
                for (size_t i = 0; i < N(cases); i++)
                        puts(cases[i].name);
                return 0;
        }
        if (argc != 2) {
                fprintf(stderr, "usage: test-provider CASE|--list\n");
                return 2;
        }

        judge = OSSL_LIB_CTX_new();
        provider = OSSL_PROVIDER_load(judge, "default");
        if (!provider)
                return 2;
        cmocka_set_test_filter(argv[1]);
        failed = cmocka_run_group_tests_name("provider", cases, NULL, NULL);
        OSSL_PROVIDER_unload(provider);
        OSSL_LIB_CTX_free(judge);
        return failed;
}
