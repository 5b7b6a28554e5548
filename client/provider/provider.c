/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OpenSSL 3 provider `certbroker`: keys and certificates that certbrokerd holds, for programs that
 * know nothing of it.
 *
 * Loaded into programs of others: it connects to nothing before the first signature or look-up, holds
 * no lock of its own, registers nothing for exit, and teardown frees memory and closes
 * descriptors only. The module is linked to stay in memory (-z nodelete), so that no thread returns
 * into code that is gone.
 *
 * Keys that are not ours stay with the program's other providers, whatever the order in which they
 * are listed: see provider_let_others_first().
 */
#include "provider.h"

#include <dlfcn.h>
#include <openssl/bio.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#include "broker.h"
#include "build-config.h"
#include "macro.h"
#include "operations.h"

typedef struct Core {
        OSSL_FUNC_core_new_error_fn *new_error;
        OSSL_FUNC_core_set_error_debug_fn *set_error_debug;
        OSSL_FUNC_core_vset_error_fn *vset_error;
        OSSL_FUNC_core_get_params_fn *get_params;
        OSSL_FUNC_core_get_libctx_fn *get_libctx;
} Core;

struct Provider {
        const OSSL_CORE_HANDLE *handle;
        Core core;
        OSSL_LIB_CTX *libctx;  /* a child of the program's */
        OSSL_LIB_CTX *program; /* the program's own; NULL is the default one */
        bool may_call_program;
        Broker *broker;
        _Atomic(EVP_MD *) digests[_DIGEST_ID_N];
        atomic_uint asked; /* a bit for each operation that the others were asked for */
};

/* The type wants its texts writable. */
#define REASON(id, text)                                                                           \
        {                                                                                          \
                id, (char[])                                                                       \
                {                                                                                  \
                        text                                                                       \
                }                                                                                  \
        }

static const OSSL_ITEM reasons[] = {
        REASON(CB_FAILED, "certbrokerd failed"),
        REASON(CB_NOT_FOUND, "not found by certbrokerd"),
        REASON(CB_ALREADY_EXISTS, "exists already in certbrokerd"),
        REASON(CB_INVALID_ARGUMENT, "invalid argument to certbrokerd"),
        REASON(CB_ACCESS_DENIED, "access denied by certbrokerd"),
        REASON(CB_IN_USE, "in use in certbrokerd"),
        REASON(CB_NOT_SUPPORTED, "not supported by certbrokerd"),
        REASON(CB_EXPIRED, "certificate expired"),
        REASON(CB_DISABLED, "certificate disabled"),
        REASON(CB_PENDING, "certificate pending"),
        REASON(CB_SOURCE_UNAVAILABLE, "key source unavailable"),
        REASON(CB_SOURCE_LOCKED, "key source locked"),
        REASON(CB_SOURCE_DENIED, "denied by the key source"),
        REASON(CB_THROTTLED, "throttled by the key source"),
        REASON(CB_RATE_LIMITED, "rate limited by certbrokerd"),
        REASON(CB_LIMIT_EXCEEDED, "too many requests in flight"),
        REASON(CB_TIMED_OUT, "no answer in time from certbrokerd"),
        REASON(CB_BAD_PASSPHRASE, "bad passphrase"),
        REASON(CB_BAD_BUNDLE, "bad bundle"),
        REASON(CB_KEY_MISMATCH, "key mismatch"),
        REASON(CB_UNREACHABLE, "certbrokerd cannot be reached"),
        REASON(REASON_SYSTEM, "system error"),
        REASON(REASON_BAD_URI, "not a certbroker URI"),
        REASON(REASON_BAD_REFERENCE, "bad key reference"),
        REASON(REASON_BAD_CERTIFICATE, "bad certificate"),
        REASON(REASON_BAD_ANSWER, "bad answer from certbrokerd"),
        REASON(REASON_KEY_TYPE, "unsupported key type"),
        REASON(REASON_PRIVATE_HALF, "private key not available"),
        REASON(REASON_DIGEST, "unsupported digest"),
        REASON(REASON_PADDING, "unsupported padding"),
        REASON(REASON_SALT, "unsupported PSS parameters"),
        REASON(REASON_INPUT, "bad input to be signed"),
        REASON(REASON_ROOM, "signature buffer too small"),
        REASON(REASON_STATE, "operation not initialized"),
        REASON(REASON_DENIED_SIGN, "access denied by certbrokerd (TLS 1.2, like all but TLS 1.3, "
                                   "needs the operation use)"),
        { 0, NULL },
};

OSSL_LIB_CTX *provider_libctx(Provider *provider)
{
        return provider->libctx;
}

Broker *provider_broker(Provider *provider)
{
        return provider->broker;
}

void provider_raise(Provider *provider, const char *file, int line, const char *function,
                    unsigned reason, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        provider->core.new_error(provider->handle);
        provider->core.set_error_debug(provider->handle, file, line, function);
        provider->core.vset_error(provider->handle, reason, format, arguments);
        va_end(arguments);
}

const EVP_MD *provider_md(Provider *provider, const Digest *digest)
{
        _Atomic(EVP_MD *) *slot = &provider->digests[digest->id];
        EVP_MD *md = atomic_load_explicit(slot, memory_order_acquire), *seen = NULL;

        if (md)
                return md;

        /* A fetch takes libcrypto's locks; once for all signatures, then never again. */
        md = EVP_MD_fetch(provider->libctx, digest->name, PROVIDER_OTHERS);
        if (!md) {
                RAISE(provider, REASON_DIGEST,
                      "no active provider has %s: activate default in openssl.cnf", digest->name);
                return NULL;
        }
        if (atomic_compare_exchange_strong(slot, &seen, md))
                return md;

        EVP_MD_free(md);
        return seen;
}

/* ------------------------------------------------------------------ not to come first */

static __thread bool asking_others;

/*
 * Where a program fetches "EC" without saying whose, libcrypto takes the first implementation that it
 * has heard of, and it hears of them in the order of its list of providers: which OpenSSL 3.0 sorts by name,
 * so that certbroker comes before default, as soon as the program loads or looks for any further
 * provider. Ours can neither make keys nor take in private ones: ECDHE would end. So before
 * answering the first query of an operation we have the core ask everybody else, and answer the
 * queries of that round with nothing, uncached. The core holds no lock while it queries.
 */
static void provider_let_others_first(Provider *provider, int operation)
{
        EVP_KEYMGMT *keymgmt = NULL;
        EVP_SIGNATURE *signature = NULL;

        if (!provider->may_call_program || atomic_load(&provider->asked) & (1u << operation))
                return;

        asking_others = true;
        ERR_set_mark();
        if (operation == OSSL_OP_KEYMGMT)
                keymgmt = EVP_KEYMGMT_fetch(provider->program, "RSA", NULL);
        else
                signature = EVP_SIGNATURE_fetch(provider->program, "RSA", NULL);
        EVP_KEYMGMT_free(keymgmt);
        EVP_SIGNATURE_free(signature);
        ERR_pop_to_mark();
        asking_others = false;

        atomic_fetch_or(&provider->asked, 1u << operation);
}

static const OSSL_ALGORITHM *provider_query(void *context, int operation, int *no_cache)
{
        Provider *provider = context;

        *no_cache = 0;
        if (asking_others) {
                *no_cache = 1;
                return NULL;
        }

        switch (operation) {
        case OSSL_OP_KEYMGMT:
                provider_let_others_first(provider, operation);
                return keymgmt_algorithms();
        case OSSL_OP_SIGNATURE:
                provider_let_others_first(provider, operation);
                return signature_algorithms();
        case OSSL_OP_DECODER:
                return decoder_algorithms();
        case OSSL_OP_STORE:
                return store_algorithms();
        default:
                return NULL;
        }
}

/*
 * The program's library context, if it may be called: a program that has libcrypto linked in shares
 * none with the libcrypto that this module is linked to.
 */
static void provider_find_program(Provider *provider)
{
        Dl_info theirs, ours;

        if (!provider->core.get_libctx ||
            !dladdr((void *)(uintptr_t)provider->core.new_error, &theirs) ||
            !dladdr((void *)(uintptr_t)EVP_KEYMGMT_fetch, &ours) ||
            theirs.dli_fbase != ours.dli_fbase)
                return;

        provider->program = (OSSL_LIB_CTX *)provider->core.get_libctx(provider->handle);
        provider->may_call_program = true;
}

/* ------------------------------------------------------------------ coming and going */

static const OSSL_PARAM *provider_gettable_params(void *provider)
{
        static const OSSL_PARAM params[] = {
                OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_NAME, NULL, 0),
                OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_VERSION, NULL, 0),
                OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_BUILDINFO, NULL, 0),
                OSSL_PARAM_int(OSSL_PROV_PARAM_STATUS, NULL),
                OSSL_PARAM_END,
        };
        return params;
}

static int provider_get_params(void *provider, OSSL_PARAM params[])
{
        OSSL_PARAM *name = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME);
        OSSL_PARAM *version = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_VERSION);
        OSSL_PARAM *build = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_BUILDINFO);
        OSSL_PARAM *status = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);

        return (!name || OSSL_PARAM_set_utf8_ptr(name, "certbroker: keys held by certbrokerd")) &&
               (!version || OSSL_PARAM_set_utf8_ptr(version, PROJECT_VERSION)) &&
               (!build || OSSL_PARAM_set_utf8_ptr(build, PROJECT_VERSION)) &&
               (!status || OSSL_PARAM_set_int(status, 1));
}

static const OSSL_ITEM *provider_get_reasons(void *provider)
{
        return reasons;
}

static void provider_free(void *context)
{
        Provider *provider = context;

        if (!provider)
                return;
        for (size_t i = 0; i < ELEMENTSOF(provider->digests); i++)
                EVP_MD_free(atomic_load(&provider->digests[i]));
        OSSL_LIB_CTX_free(provider->libctx);
        broker_free(provider->broker);
        free(provider);
}

static inline void provider_freep(Provider **provider)
{
        provider_free(*provider);
}

static const struct {
        int id;
        size_t offset;
} core_functions[] = {
        { OSSL_FUNC_CORE_NEW_ERROR, offsetof(Core, new_error) },
        { OSSL_FUNC_CORE_SET_ERROR_DEBUG, offsetof(Core, set_error_debug) },
        { OSSL_FUNC_CORE_VSET_ERROR, offsetof(Core, vset_error) },
        { OSSL_FUNC_CORE_GET_PARAMS, offsetof(Core, get_params) },
        { OSSL_FUNC_CORE_GET_LIBCTX, offsetof(Core, get_libctx) },
};

static bool core_find(const OSSL_DISPATCH *in, Core *core)
{
        for (; in->function_id != 0; in++)
                for (size_t i = 0; i < ELEMENTSOF(core_functions); i++)
                        if (core_functions[i].id == in->function_id)
                                *(void (**)(void))((char *)core + core_functions[i].offset) =
                                        in->function;

        return core->new_error && core->set_error_debug && core->vset_error && core->get_params;
}

/* `bus` from the provider's section of openssl.cnf; it wins over $CERTBROKER_BUS. */
static const char *provider_bus(const Provider *provider)
{
        char *bus = NULL;
        OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_ptr("bus", &bus, 0),
                OSSL_PARAM_construct_end(),
        };

        return provider->core.get_params(provider->handle, params) && bus && *bus ? bus : NULL;
}

static const OSSL_DISPATCH provider_functions[] = {
        { OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))provider_free },
        { OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))provider_gettable_params },
        { OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))provider_get_params },
        { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))provider_query },
        { OSSL_FUNC_PROVIDER_GET_REASON_STRINGS, (void (*)(void))provider_get_reasons },
        { 0, NULL },
};

OSSL_provider_init_fn OSSL_provider_init __attribute__((__visibility__("default")));

int OSSL_provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                       const OSSL_DISPATCH **ret_functions, void **ret_provider)
{
        CLEANUP(provider_freep) Provider *provider = calloc(1, sizeof(*provider));

        if (!provider || !core_find(in, &provider->core))
                return 0;

        provider->handle = handle;
        provider_find_program(provider);
        provider->libctx = OSSL_LIB_CTX_new_child(handle, in);
        if (!provider->libctx || broker_new(provider_bus(provider), &provider->broker) != 0) {
                RAISE(provider, REASON_SYSTEM, "no memory for the provider");
                return 0;
        }

        *ret_functions = provider_functions;
        *ret_provider = TAKE(provider);
        return 1;
}
