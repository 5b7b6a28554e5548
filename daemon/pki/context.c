/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library contexts, the one state that this room keeps: made once, never freed, immutable
 * after. Invariant: nothing here reads openssl.cnf, now or later in this process: the switch is
 * thrown before libcrypto would read it by itself.
 */
#include "pki/context.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

static struct {
        pthread_once_t once;
        pthread_mutex_t legacy_mutex;
        OSSL_LIB_CTX *context, *legacy;
        int error;
} state = { .once = PTHREAD_ONCE_INIT, .legacy_mutex = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local bool prefers_locked;
static _Thread_local unsigned n_failed;

void pki_prefer_locked(bool prefer)
{
        /* Where there is no locked heap, asking for it would come back here. */
        prefers_locked = prefer && CRYPTO_secure_malloc_initialized();
}

static void *wiping_malloc(size_t n, const char *file, int line)
{
        void *p = prefers_locked && n > 0 ? CRYPTO_secure_malloc(n, file, line) : NULL;

        if (p || n == 0)
                return p;
        p = malloc(n);
        n_failed += !p;
        return p;
}

unsigned pki_memory_failures(void)
{
        return n_failed;
}

int pki_memory_outcome(unsigned n_before, int r, Failure *failure)
{
        if (r <= 0 || n_failed == n_before)
                return r;
        return fail(failure, -ENOMEM, "there is no memory for it");
}

static void wiping_free(void *p, const char *file, int line)
{
        if (p && CRYPTO_secure_allocated(p)) {
                CRYPTO_secure_free(p, file, line); /* it wipes */
                return;
        }
        if (p)
                explicit_bzero(p, malloc_usable_size(p));
        free(p);
}

/* A realloc() that moves would leave the old bytes behind. */
static void *wiping_realloc(void *p, size_t n, const char *file, int line)
{
        size_t n_old = !p                           ? 0
                       : CRYPTO_secure_allocated(p) ? CRYPTO_secure_actual_size(p)
                                                    : malloc_usable_size(p);
        void *moved;

        if (p && n > 0 && n <= n_old)
                return p;
        moved = wiping_malloc(n, file, line);
        if (n > 0 && !moved)
                return NULL;
        if (p && moved)
                memcpy(moved, p, n_old);
        wiping_free(p, file, line);
        return moved;
}

static OSSL_LIB_CTX *context_new(void)
{
        OSSL_LIB_CTX *context = OSSL_LIB_CTX_new();

        if (context && OSSL_PROVIDER_load(context, "default"))
                return context;
        OSSL_LIB_CTX_free(context);
        return NULL;
}

static int setup_error(void)
{
        return n_failed > 0 ? -ENOMEM : -ENOTSUP;
}

static void init_once(void)
{
        /* Refused once libcrypto has allocated: then it goes on without. */
        CRYPTO_set_mem_functions(wiping_malloc, wiping_realloc, wiping_free);
        if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL)) {
                state.error = setup_error();
                return;
        }
        state.context = context_new();
        if (!state.context)
                state.error = setup_error();
}

int pki_init(void)
{
        pthread_once(&state.once, init_once);
        return state.error;
}

OSSL_LIB_CTX *pki_context(void)
{
        assert_always(pki_init() == 0);
        return state.context;
}

/* NULL: there is no memory for it now. A host without the provider has none later either. */
static OSSL_LIB_CTX *legacy_new(void)
{
        unsigned n_before = pki_memory_failures();
        OSSL_LIB_CTX *context = context_new();

        if (context)
                OSSL_PROVIDER_load(context, "legacy");
        if (context && pki_memory_failures() == n_before)
                return context;
        OSSL_LIB_CTX_free(context);
        return NULL;
}

OSSL_LIB_CTX *pki_context_legacy(void)
{
        OSSL_LIB_CTX *context;

        assert_always(pki_init() == 0);
        pthread_mutex_lock(&state.legacy_mutex);
        if (!state.legacy)
                state.legacy = legacy_new();
        context = state.legacy ?: state.context;
        pthread_mutex_unlock(&state.legacy_mutex);
        return context;
}
