/* SPDX-License-Identifier: Apache-2.0 */
/* Forks, threads, library contexts, and the program's other keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test-provider.h"
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

void workers_sign_with_the_masters_key(void **state)
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
void workers_exit_cleanly(void **state)
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

void threads_share_a_key(void **state)
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

void forks_while_threads_sign(void **state)
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
void contexts_come_and_go(void **state)
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
void other_keys_are_left_alone(void **state)
{
        OSSL_PROVIDER *base = OSSL_PROVIDER_load(NULL, "base");

        MUST(base);
        MUST(OSSL_PROVIDER_available(NULL, "certbroker"));
        others_stay_where_they_are(NULL);
        EVP_PKEY_free(load("ec"));
        others_stay_where_they_are(NULL);
        OSSL_PROVIDER_unload(base);
}

static pthread_barrier_t barrier;

static void *make_a_key(void *libctx)
{
        pthread_barrier_wait(&barrier);
        return EVP_PKEY_Q_keygen(libctx, NULL, "EC", "P-256");
}

/* The first that ask for a key's functions do so all together. */
void threads_begin_at_once(void **state)
{
        for (unsigned i = 0; i < 25; i++) {
                OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
                OSSL_PROVIDER *first = OSSL_PROVIDER_load(libctx, "certbroker");
                OSSL_PROVIDER *second = OSSL_PROVIDER_load(libctx, "default");
                pthread_t threads[4];
                void *made;

                MUST(first && second);
                assert_int_equal(pthread_barrier_init(&barrier, NULL, N(threads)), 0);
                for (size_t j = 0; j < N(threads); j++)
                        assert_int_equal(
                                pthread_create(&threads[j], NULL, make_a_key, libctx), 0);
                for (size_t j = 0; j < N(threads); j++) {
                        pthread_join(threads[j], &made);
                        assert_non_null(made);
                        assert_string_equal(provider_of(made), "default");
                        EVP_PKEY_free(made);
                }
                pthread_barrier_destroy(&barrier);
                OSSL_PROVIDER_unload(second);
                OSSL_PROVIDER_unload(first);
                OSSL_LIB_CTX_free(libctx);
        }
}

/*
 * A program with an OpenSSL of its own, where default is not asked before us, cannot have our key before it
 * has used others: it is told so, and its own keys are no worse for it.
 */
static void too_early(OSSL_LIB_CTX *libctx)
{
#ifdef OWN_OPENSSL
        assert_null(load_in(libctx, file("rsa", ".key")));
        assert_non_null(strstr(ERR_reason_error_string(ERR_peek_error()), "too early"));
        ERR_clear_error();
#endif
}

void order_of_providers_does_not_matter(void **state)
{
        for (unsigned key_first = 0; key_first < 2; key_first++) {
                OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
                OSSL_PROVIDER *first = OSSL_PROVIDER_load(libctx, "certbroker");
                OSSL_PROVIDER *second = OSSL_PROVIDER_load(libctx, "default");
                EVP_PKEY *key;

                MUST(first && second);
                if (!key_first)
                        others_stay_where_they_are(libctx);
                else
                        too_early(libctx);
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
