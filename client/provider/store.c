/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store behind `certbroker:` URIs: the key's handle, then the certificate, then its chain.
 *
 * Opening asks the broker once; what it said is kept and handed out one object at a time. Nobody is
 * ever asked for a PIN. An OSSL_STORE expectation leaves out what is not wanted.
 */
#include "operations.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/params.h>
#include <openssl/store.h>
#include <openssl/x509.h>

#include "broker.h"
#include "key.h"
#include "provider.h"

typedef struct Store {
        Provider *provider;
        cb_credential *credential;
        Uri key; /* pinned to the generation */
        int expected;
        size_t position; /* 0: the key; then the chain's certificates from 1 */
} Store;

DEFINE_CLEANUP(X509 *, X509_free)

static int store_close(void *context)
{
        Store *store = context;

        if (store)
                cb_credential_free(store->credential);
        free(store);
        return 1;
}

static inline void store_closep(Store **store)
{
        store_close(*store);
}

static bool store_check(const Store *store)
{
        const cb_credential *credential = store->credential;

        if (credential->n_chain == 0) {
                RAISE(store->provider, CB_PENDING,
                      "certificate %s has a key and no certificate yet", credential->id);
                return false;
        }
        return true;
}

static void *store_open(void *provider, const char *text)
{
        CLEANUP(store_closep) Store *store = calloc(1, sizeof(*store));
        Uri uri;

        if (!store) {
                RAISE(provider, REASON_SYSTEM, "no memory for a store");
                return NULL;
        }
        store->provider = provider;

        if (uri_parse(text, &uri) != 0) {
                RAISE(provider, REASON_BAD_URI,
                      "want certbroker:certificate/ID, certbroker:certificate/ID?generation=N or "
                      "certbroker:backend/NAME");
                return NULL;
        }

        if (!broker_get(provider, &uri, &store->credential) || !store_check(store))
                return NULL;
        if (uri_parse(store->credential->key, &store->key) != 0 ||
            store->key.kind != URI_CERTIFICATE) {
                RAISE(provider, REASON_BAD_ANSWER, "the broker's key reference cannot be read");
                return NULL;
        }

        return TAKE(store);
}

static const OSSL_PARAM *store_settable_params(void *provider)
{
        static const OSSL_PARAM params[] = {
                OSSL_PARAM_int(OSSL_STORE_PARAM_EXPECT, NULL),
                OSSL_PARAM_END,
        };
        return params;
}

static int store_set_params(void *context, const OSSL_PARAM params[])
{
        const OSSL_PARAM *expect = OSSL_PARAM_locate_const(params, OSSL_STORE_PARAM_EXPECT);
        Store *store = context;

        return !expect || OSSL_PARAM_get_int(expect, &store->expected);
}

static bool store_wants(const Store *store, size_t position)
{
        switch (store->expected) {
        case 0:
                return true;
        case OSSL_STORE_INFO_PKEY:
        case OSSL_STORE_INFO_PUBKEY:
                return position == 0;
        case OSSL_STORE_INFO_CERT:
                return position > 0;
        default:
                return false;
        }
}

static void store_skip(Store *store)
{
        while (store->position <= store->credential->n_chain &&
               !store_wants(store, store->position))
                store->position++;
}

static int store_eof(void *context)
{
        Store *store = context;

        store_skip(store);
        return store->position > store->credential->n_chain;
}

static int store_give_certificate(const cb_bytes *der, OSSL_CALLBACK *callback, void *argument)
{
        int type = OSSL_OBJECT_CERT;
        OSSL_PARAM params[] = {
                OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &type),
                OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, der->data, der->n),
                OSSL_PARAM_construct_end(),
        };

        return callback(params, argument);
}

/* The key of the chain's leaf; the broker keeps the two together. */
static int store_make_key(Store *store, Key **ret_key)
{
        const cb_bytes *leaf = &store->credential->chain[0];
        CLEANUP(X509_freep) X509 *certificate = NULL;
        const uint8_t *p = leaf->data;
        uint8_t *spki = NULL;
        int n, ok;

        certificate = X509_new_ex(provider_libctx(store->provider), PROVIDER_OTHERS);
        if (!certificate || !d2i_X509(&certificate, &p, (long)leaf->n) ||
            (n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &spki)) <= 0) {
                RAISE(store->provider, REASON_BAD_CERTIFICATE, "certificate %s cannot be read",
                      store->credential->id);
                return 0;
        }

        /*
         * libcrypto takes a key with a private half for a
         * private key, and throws it away unless that is wanted.
         */
        ok = (store->expected == OSSL_STORE_INFO_PUBKEY ? key_new_half : key_new)(
                store->provider, &store->key, spki, (size_t)n, ret_key);
        OPENSSL_free(spki);
        return ok;
}

static int store_give_key(Store *store, OSSL_CALLBACK *callback, void *argument)
{
        CLEANUP(key_unrefp) Key *key = NULL;
        int type = OSSL_OBJECT_PKEY;
        OSSL_PARAM params[4];
        char name[16];

        if (!store_make_key(store, &key))
                return 0;

        snprintf(name, sizeof(name), "%s", key_type_name(key_type(key)));
        params[0] = OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &type);
        params[1] = OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, name, 0);
        params[2] =
                OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_REFERENCE, &key, sizeof(key));
        params[3] = OSSL_PARAM_construct_end();
        return callback(params, argument);
}

static int store_load(void *context, OSSL_CALLBACK *callback, void *argument,
                      OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_argument)
{
        Store *store = context;
        size_t position;

        if (store_eof(store))
                return 0;

        position = store->position++;
        if (position == 0)
                return store_give_key(store, callback, argument);
        return store_give_certificate(&store->credential->chain[position - 1], callback, argument);
}

#define FUNCTION(id, function)                                                                     \
        {                                                                                          \
                OSSL_FUNC_STORE_##id, (void (*)(void))(function)                                   \
        }

static const OSSL_DISPATCH store_functions[] = {
        FUNCTION(OPEN, store_open),
        FUNCTION(SETTABLE_CTX_PARAMS, store_settable_params),
        FUNCTION(SET_CTX_PARAMS, store_set_params),
        FUNCTION(LOAD, store_load),
        FUNCTION(EOF, store_eof),
        FUNCTION(CLOSE, store_close),
        { 0, NULL },
};

static const OSSL_ALGORITHM algorithms[] = {
        { "certbroker", "provider=certbroker", store_functions, "certificates of certbrokerd" },
        { NULL },
};

const OSSL_ALGORITHM *store_algorithms(void)
{
        return algorithms;
}
