/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys that stay in this process, of a vault that lets us sign: where all that is secret of one lies while it
 * signs. The kernel says of each mapping whether it is locked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>
#include <pthread.h>
#include <sys/mman.h>

#include "issue.h"
#include "pki/bundle.h"
#include "pki/private-key.h"

#define PIECE 32 /* of a prime; more would be no other number's */

static const uint8_t digest[32] = "thirty-two bytes to be signed  ";

/* Inverted: this copy is not to be found. libcrypto has the last byte first. */
static void prime_of(EVP_PKEY *key, const char *name, uint8_t ret_inverted[PIECE])
{
        uint8_t raw[256];
        BIGNUM *prime = NULL;

        assert_true(EVP_PKEY_get_bn_param(key, name, &prime));
        assert_int_equal(BN_bn2lebinpad(prime, raw, 128), 128);
        BN_clear_free(prime);
        for (size_t i = 0; i < PIECE; i++)
                ret_inverted[i] = raw[i] ^ 0xff;
        explicit_bzero(raw, sizeof(raw));
}

static unsigned count_in(const uint8_t *from, size_t n, const uint8_t *inverted)
{
        unsigned n_found = 0;

        for (size_t i = 0; i + PIECE <= n; i++) {
                size_t k = 0;

                while (k < PIECE && (from[i + k] ^ inverted[k]) == 0xff)
                        k++;
                n_found += k == PIECE;
        }
        return n_found;
}

/* In what this process can write, but for this function's own reading. Locked or not, as "VmFlags:" says. */
static unsigned count_in_memory(const uint8_t *inverted, bool locked)
{
        FILE *smaps = fopen("/proc/self/smaps", "re");
        int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
        size_t n_room = 16 << 20;
        uint8_t *room =
                mmap(NULL, n_room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        unsigned long from = 0, to = 0, a, b;
        char line[1024], mode[5], last_mode[5] = "";
        unsigned n_found = 0;

        assert_true(smaps && mem >= 0 && room != MAP_FAILED);
        while (fgets(line, sizeof(line), smaps)) {
                ssize_t n;

                if (sscanf(line, "%lx-%lx %4s", &a, &b, mode) == 3) {
                        from = a;
                        to = b;
                        memcpy(last_mode, mode, sizeof(mode));
                }
                if (strncmp(line, "VmFlags:", 8) != 0 || last_mode[1] != 'w' ||
                    from == (unsigned long)room || to - from > n_room ||
                    (strstr(line, " lo") != NULL) != locked)
                        continue;
                n = pread(mem, room, to - from, (off_t)from);
                n_found += n > 0 ? count_in(room, (size_t)n, inverted) : 0;
                explicit_bzero(room, to - from);
        }
        munmap(room, n_room);
        close(mem);
        fclose(smaps);
        return n_found;
}

static void *sign_often(void *key)
{
        for (unsigned i = 0; i < 5; i++) {
                CLEANUP(bytes_deinit) Bytes signature = { 0 };

                if (pki_private_key_sign(key, ALGORITHM_RSA_PKCS1_SHA256,
                                         &(Bytes){ (uint8_t *)(uintptr_t)digest, 32 },
                                         &signature) != 0)
                        return NULL;
        }
        return key;
}

static void primes_are_in_locked_memory_alone(void **state)
{
        static const char *const names[] = { OSSL_PKEY_PARAM_RSA_FACTOR1,
                                             OSSL_PKEY_PARAM_RSA_FACTOR2 };
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        Bytes data = issue_read_data("rsa-pkcs1.pem");
        Secret *secret = NULL;
        Failure failure = { 0 };
        pthread_t thread;
        void *signed_there;

        EVP_PKEY *other = issue_rsa(2048);

        /* What libcrypto makes once, for all keys, is there then: a sanitizer does not look into the locked heap. */
        assert_non_null(sign_often(other));
        EVP_PKEY_free(other);
        assert_int_equal(pki_private_keys_lock(), 0);
        assert_int_equal(secret_new(data.n, &secret), 0);
        memcpy(secret_data(secret), data.data, data.n);
        secret_set_length(secret, data.n);
        explicit_bzero(data.data, data.n);
        bytes_deinit(&data);
        assert_int_equal(pki_bundle_parse(secret, NULL, (uint64_t)time(NULL), &bundle, &failure), 0);
        secret_free(secret);
        assert_non_null(sign_often(bundle.key));
        assert_int_equal(pthread_create(&thread, NULL, sign_often, bundle.key), 0);
        pthread_join(thread, &signed_there);
        assert_non_null(signed_there);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                uint8_t inverted[PIECE];

                prime_of(bundle.key, names[i], inverted);
                assert_true(count_in_memory(inverted, true) > 0); /* the search does find it */
                assert_int_equal(count_in_memory(inverted, false), 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(primes_are_in_locked_memory_alone),
        };

        return cmocka_run_group_tests(tests, issue_setup, NULL);
}
