/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program sees of the provider through libcrypto and libssl, against a fake broker.
 *
 * test-provider CASE runs one case; --list names them. The environment has OPENSSL_CONF, CERTBROKER_BUS, and
 * CERTBROKER_TEST_FOLDER with the fake broker's files. Signatures are judged by the default provider in a
 * library context where certbroker is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test-provider.h"

const uint8_t message[N_MESSAGE] = "What the broker never sees, but for its digest";
static OSSL_LIB_CTX *judge;

const TestKey keys[N_KEYS] = {
        { "rsa", "RSA", NULL, EVP_PKEY_RSA, 2048, 256 },
        { "rsa3072", "RSA", NULL, EVP_PKEY_RSA, 3072, 384 },
        { "ec", "EC", "prime256v1", EVP_PKEY_EC, 256, 72 },
        { "ec384", "EC", "secp384r1", EVP_PKEY_EC, 384, 104 },
        { "ec521", "EC", "secp521r1", EVP_PKEY_EC, 521, 139 },
        { "ed25519", "ED25519", NULL, EVP_PKEY_ED25519, 256, 64 },
};

/* ------------------------------------------------------------------ helpers */

void print_errors_and_fail(const char *what)
{
        ERR_print_errors_fp(stderr);
        fail_msg("%s", what);
}

const char *file(const char *name, const char *suffix)
{
        static __thread char path[4][512];
        static __thread unsigned next;
        char *place = path[next++ % 4];

        snprintf(place, sizeof(path[0]), "%s/%s%s", getenv("CERTBROKER_TEST_FOLDER"), name, suffix);
        return place;
}

EVP_PKEY *load_in(OSSL_LIB_CTX *libctx, const char *path)
{
        BIO *bio = BIO_new_file(path, "r");
        EVP_PKEY *key;

        assert_non_null(bio);
        key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL);
        BIO_free(bio);
        return key;
}

EVP_PKEY *load(const char *name)
{
        EVP_PKEY *key = load_in(NULL, file(name, ".key"));

        MUST(key);
        return key;
}

X509 *load_certificate(const char *name)
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
EVP_PKEY *load_public(const char *name)
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

const char *provider_of(const EVP_PKEY *key)
{
        return OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(key));
}

/* Whether the judge accepts it. params: for PSS. */
int is_right(const char *name, const char *digest, const OSSL_PARAM *params, const uint8_t *given,
             size_t n_given)
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

int sign_with(EVP_PKEY *key, const char *digest, const OSSL_PARAM *params, uint8_t *out, size_t *n)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        int ok;

        ok = EVP_DigestSignInit_ex(context, NULL, digest, NULL, NULL, key, params) == 1 &&
             EVP_DigestSign(context, out, n, message, sizeof(message)) == 1;
        EVP_MD_CTX_free(context);
        return ok;
}

int signs(EVP_PKEY *key, const char *name, const char *digest)
{
        uint8_t out[1024];
        size_t n = sizeof(out);

        return sign_with(key, digest, NULL, out, &n) && is_right(name, digest, NULL, out, n);
}

unsigned count_descriptors(void)
{
        DIR *directory = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(directory);
        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

uint64_t now_msec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void assert_no_errors(void)
{
        if (ERR_peek_error())
                print_errors_and_fail("an error was left behind");
}

int child_status(pid_t child)
{
        int status;

        assert_int_equal(waitpid(child, &status, 0), child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
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
        CASE(forks_while_threads_sign),     CASE(the_programs_descriptors_are_left_alone),
        CASE(contexts_come_and_go),         CASE(other_keys_are_left_alone),
        CASE(threads_begin_at_once),        CASE(order_of_providers_does_not_matter),
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
