/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a program fetches "EC" without saying whose, libcrypto takes the first implementation that it
 * has heard of, and it hears of them in the order of its list of providers: which OpenSSL sorts by name,
 * so that certbroker comes before default, as soon as the program loads or looks for any further
 * provider. Ours can neither make keys nor take in private ones: the program's own keys, and ECDHE, would
 * end. So we answer a query of an operation only when everybody else has been asked before. The core
 * holds no lock while it queries.
 *
 * Where the program has the libcrypto that this module is linked to, we have it ask the others from within
 * the first query. A program with an OpenSSL of its own (linked to libcrypto.a, or brought along by a Python
 * wheel) cannot be called. There the first query is left unanswered and comes again, for
 * libcrypto asks whoever gave it nothing whenever it looks for something new.
 */
#include "others.h"

#include <dlfcn.h>
#include <openssl/core_dispatch.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "macro.h"

struct Others {
        const OSSL_CORE_HANDLE *handle; /* ours */
        OSSL_FUNC_provider_register_child_cb_fn *register_callbacks;
        OSSL_FUNC_provider_deregister_child_cb_fn *deregister_callbacks;
        OSSL_FUNC_provider_name_fn *name;
        OSSL_LIB_CTX *program; /* its library context; NULL is the default one */
        bool may_call_program;
        atomic_uint passed; /* a bit for each operation of which the others were asked first */
        atomic_int asker[OSSL_OP__HIGHEST + 1]; /* the thread that was told nothing last */
};

static __thread bool asking_others;

/*
 * The program's library context, if it may be called: a program that has libcrypto linked in shares
 * none with the libcrypto that this module is linked to.
 */
static void find_program(Others *others, OSSL_FUNC_core_get_libctx_fn *get_libctx,
                         const void *core_function)
{
        Dl_info theirs, ours;

        if (!get_libctx || !dladdr(core_function, &theirs) ||
            !dladdr((void *)(uintptr_t)EVP_KEYMGMT_fetch, &ours) ||
            theirs.dli_fbase != ours.dli_fbase)
                return;

        others->program = (OSSL_LIB_CTX *)get_libctx(others->handle);
        others->may_call_program = true;
}

Others *others_new(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core)
{
        OSSL_FUNC_core_get_libctx_fn *get_libctx = NULL;
        Others *others = calloc(1, sizeof(*others));

        if (!others)
                return NULL;
        others->handle = handle;
        for (const OSSL_DISPATCH *in = core; in->function_id != 0; in++)
                switch (in->function_id) {
                case OSSL_FUNC_CORE_GET_LIBCTX:
                        get_libctx = OSSL_FUNC_core_get_libctx(in);
                        break;
                case OSSL_FUNC_PROVIDER_REGISTER_CHILD_CB:
                        others->register_callbacks = OSSL_FUNC_provider_register_child_cb(in);
                        break;
                case OSSL_FUNC_PROVIDER_DEREGISTER_CHILD_CB:
                        others->deregister_callbacks = OSSL_FUNC_provider_deregister_child_cb(in);
                        break;
                case OSSL_FUNC_PROVIDER_NAME:
                        others->name = OSSL_FUNC_provider_name(in);
                        break;
                }
        find_program(others, get_libctx, (const void *)(uintptr_t)core->function);
        return others;
}

Others *others_free(Others *others)
{
        free(others);
        return NULL;
}

bool others_are_of_our_libcrypto(const Others *others)
{
        return others->may_call_program;
}

/* ------------------------------------------------------------------ by the program's libcrypto */

static void have_them_asked(Others *others, int operation)
{
        EVP_KEYMGMT *keymgmt = NULL;
        EVP_SIGNATURE *signature = NULL;

        asking_others = true;
        ERR_set_mark();
        if (operation == OSSL_OP_KEYMGMT)
                keymgmt = EVP_KEYMGMT_fetch(others->program, "RSA", NULL);
        else
                signature = EVP_SIGNATURE_fetch(others->program, "RSA", NULL);
        EVP_KEYMGMT_free(keymgmt);
        EVP_SIGNATURE_free(signature);
        ERR_pop_to_mark();
        asking_others = false;
}

/* ------------------------------------------------------------------ by their order */

typedef struct Listed {
        const Others *others;
        bool we_are, another_follows;
} Listed;

/* Called in the order in which the core asks. */
static int on_listed(const OSSL_CORE_HANDLE *provider, void *context)
{
        static const char *const keyless[] = { "base", "legacy", "null" };
        Listed *listed = context;
        const char *name = listed->others->name(provider);

        if (provider == listed->others->handle) {
                listed->we_are = true;
                return 1;
        }
        for (size_t i = 0; i < ELEMENTSOF(keyless); i++)
                if (strcmp(name, keyless[i]) == 0)
                        return 1;
        listed->another_follows |= listed->we_are;
        return 1;
}

static int on_removed(const OSSL_CORE_HANDLE *provider, void *context)
{
        return 1;
}

static int on_properties(const char *properties, void *context)
{
        return 1;
}

/* Whoever stands before us in the core's list has been asked by the query that has come to us. */
static bool are_we_last(const Others *others)
{
        Listed listed = { .others = others };

        if (!others->register_callbacks || !others->deregister_callbacks || !others->name ||
            !others->register_callbacks(others->handle, on_listed, on_removed, on_properties,
                                        &listed))
                return false;
        others->deregister_callbacks(others->handle);
        return listed.we_are && !listed.another_follows;
}

/* A thread that asks again has gone through all of the list before; another may be in the midst of it. */
static bool has_come_again(Others *others, int operation)
{
        int self = gettid();

        return atomic_exchange(&others->asker[operation], self) == self;
}

/* ------------------------------------------------------------------ */

bool others_were_asked(Others *others, int operation)
{
        if (asking_others)
                return false;
        if (atomic_load(&others->passed) & (1u << operation))
                return true;

        if (others->may_call_program)
                have_them_asked(others, operation);
        else if (!are_we_last(others) && !has_come_again(others, operation))
                return false;

        atomic_fetch_or(&others->passed, 1u << operation);
        return true;
}
