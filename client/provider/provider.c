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
 * are listed: see others.c.
 */
#include "provider.h"

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
#include "others.h"

typedef struct Core {
        OSSL_FUNC_core_new_error_fn *new_error;
        OSSL_FUNC_core_set_error_debug_fn *set_error_debug;
        OSSL_FUNC_core_vset_error_fn *vset_error;
        OSSL_FUNC_core_get_params_fn *get_params;
} Core;

struct Provider {
        const OSSL_CORE_HANDLE *handle;
        Core core;
        Others *others;
        OSSL_LIB_CTX *libctx;
        Broker *broker;
        _Atomic(EVP_MD *) digests[_DIGEST_ID_N];
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
        REASON(REASON_TOO_EARLY, "key read too early"),
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

/* ------------------------------------------------------------------ operations */

static const struct {
        int operation;
        const OSSL_ALGORITHM *(*algorithms)(void);
        bool after_others;
} operations[] = {
        { OSSL_OP_KEYMGMT, keymgmt_algorithms, true },
        { OSSL_OP_SIGNATURE, signature_algorithms, true },
        { OSSL_OP_DECODER, decoder_algorithms, false },
        { OSSL_OP_STORE, store_algorithms, false },
};

static const OSSL_ALGORITHM *provider_query(void *context, int operation, int *no_cache)
{
        Provider *provider = context;

        *no_cache = 0;
        for (size_t i = 0; i < ELEMENTSOF(operations); i++) {
                if (operations[i].operation != operation)
                        continue;
                if (!operations[i].after_others || others_were_asked(provider->others, operation))
                        return operations[i].algorithms();
                *no_cache = 1;
        }
        return NULL;
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
        others_free(provider->others);
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

/*
 * For the public halves and for hashing, by the program's other providers: a child of its own context. Of
 * an OpenSSL that is not ours that cannot be, for what the two versions know of each other's keys
 * differs: there it is our libcrypto's own default provider.
 */
static OSSL_LIB_CTX *provider_new_libctx(const Provider *provider, const OSSL_DISPATCH *in)
{
        return others_are_of_our_libcrypto(provider->others)
                       ? OSSL_LIB_CTX_new_child(provider->handle, in)
                       : OSSL_LIB_CTX_new_from_dispatch(provider->handle, in);
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
        provider->others = others_new(handle, in);
        provider->libctx = provider->others ? provider_new_libctx(provider, in) : NULL;
        if (!provider->libctx || broker_new(provider_bus(provider), &provider->broker) != 0) {
                RAISE(provider, REASON_SYSTEM, "no memory for the provider");
                return 0;
        }

        *ret_functions = provider_functions;
        *ret_provider = TAKE(provider);
        return 1;
}
