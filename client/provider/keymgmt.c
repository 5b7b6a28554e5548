/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What OpenSSL may ask of a key: its parameters, whether it is the same as another, its public half.
 *
 * The private half is refused, whoever asks: libcrypto offers a key to other providers by exporting all
 * of it, and a public half that passed for the whole would make wrong signatures there. Keys of
 * others are taken in as far as their public half goes, so that X509_check_private_key() can compare
 * in either direction; with a private half they stay where they are.
 */
#include "operations.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>

#include "key.h"
#include "provider.h"

static void *keymgmt_load(const void *reference, size_t n_reference)
{
        Key *const *source = reference;
        Key *key;

        if (n_reference != sizeof(key) || !*source)
                return NULL;

        /* The reference is the decoder's or the store's own pointer: taking the key clears it. */
        key = *source;
        *(Key **)(uintptr_t)reference = NULL;
        return key;
}

static void keymgmt_free(void *key)
{
        key_unref(key);
}

static void *keymgmt_dup(const void *key, int selection)
{
        return key_ref((Key *)(uintptr_t)key);
}

static void *keymgmt_new_rsa(void *provider)
{
        return key_new_public(provider, KEY_RSA);
}

static void *keymgmt_new_ec(void *provider)
{
        return key_new_public(provider, KEY_EC);
}

static void *keymgmt_new_ed25519(void *provider)
{
        return key_new_public(provider, KEY_ED25519);
}

static int keymgmt_has(const void *key, int selection)
{
        if (!key)
                return 0;
        if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) && !key_has_private(key))
                return 0;
        if ((selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) && !key_public(key))
                return 0;
        return 1;
}

static int keymgmt_match(const void *one, const void *other, int selection)
{
        EVP_PKEY *a = key_public(one), *b = key_public(other);

        if (!a || !b)
                return 0;
        if (selection & OSSL_KEYMGMT_SELECT_KEYPAIR)
                return EVP_PKEY_eq(a, b) == 1;
        return key_type(one) != KEY_EC || EVP_PKEY_parameters_eq(a, b) == 1;
}

/* 1: it is one of the sizes, and was set; 0: it is none. */
static int set_size(const KeySizes *sizes, OSSL_PARAM *param)
{
        if (strcmp(param->key, OSSL_PKEY_PARAM_BITS) == 0)
                return OSSL_PARAM_set_int(param, sizes->bits);
        if (strcmp(param->key, OSSL_PKEY_PARAM_SECURITY_BITS) == 0)
                return OSSL_PARAM_set_int(param, sizes->security_bits);
        if (strcmp(param->key, OSSL_PKEY_PARAM_MAX_SIZE) == 0)
                return OSSL_PARAM_set_int(param, sizes->signature);
        return 0;
}

/* libcrypto asks for the sizes as it makes a handle, which has 0 bits where that fails: no memory is taken for them. */
static int keymgmt_get_params(void *key, OSSL_PARAM params[])
{
        bool whole = true;

        if (!key_public(key))
                return 0;
        for (OSSL_PARAM *param = params; param->key; param++)
                whole &= set_size(key_sizes(key), param) == 1;
        return whole || EVP_PKEY_get_params(key_public(key), params);
}

static int keymgmt_import(void *key, int selection, const OSSL_PARAM params[])
{
        return key_import(key, selection, params);
}

static int keymgmt_export(void *key, int selection, OSSL_CALLBACK *callback, void *argument)
{
        OSSL_PARAM *params = NULL;
        int wanted = EVP_PKEY_KEY_PARAMETERS, ok;

        if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) {
                RAISE(key_provider(key), REASON_PRIVATE_HALF,
                      "the private half of this key never leaves its source");
                return 0;
        }
        if (!key_public(key))
                return 0;

        if (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY || key_type(key) != KEY_EC)
                wanted = EVP_PKEY_PUBLIC_KEY;
        if (EVP_PKEY_todata(key_public(key), wanted, &params) <= 0)
                return 0;

        ok = callback(params, argument);
        OSSL_PARAM_free(params);
        return ok;
}

#define COMMON_PARAMS                                                                              \
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),                                                \
                OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),                               \
                OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL)
#define RSA_PARAMS                                                                                 \
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0), OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0)
#define EC_PARAMS                                                                                  \
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),                               \
                OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0)

static const OSSL_PARAM *keymgmt_rsa_gettable(void *provider)
{
        static const OSSL_PARAM params[] = {
                COMMON_PARAMS,
                OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
                RSA_PARAMS,
                OSSL_PARAM_END,
        };
        return params;
}

static const OSSL_PARAM *keymgmt_ec_gettable(void *provider)
{
        static const OSSL_PARAM params[] = {
                COMMON_PARAMS,
                OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
                EC_PARAMS,
                OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
                OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_X, NULL, 0),
                OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_Y, NULL, 0),
                OSSL_PARAM_END,
        };
        return params;
}

static const OSSL_PARAM *keymgmt_ed25519_gettable(void *provider)
{
        static const OSSL_PARAM params[] = {
                COMMON_PARAMS,
                OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
                OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                OSSL_PARAM_END,
        };
        return params;
}

static const OSSL_PARAM *keymgmt_rsa_types(int selection)
{
        static const OSSL_PARAM params[] = { RSA_PARAMS, OSSL_PARAM_END };

        return selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY ? params : NULL;
}

static const OSSL_PARAM *keymgmt_ec_types(int selection)
{
        static const OSSL_PARAM params[] = { EC_PARAMS, OSSL_PARAM_END };

        return params;
}

static const OSSL_PARAM *keymgmt_ed25519_types(int selection)
{
        static const OSSL_PARAM params[] = {
                OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                OSSL_PARAM_END,
        };

        return selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY ? params : NULL;
}

static const char *keymgmt_ec_operation(int operation)
{
        return operation == OSSL_OP_SIGNATURE ? "ECDSA" : "EC";
}

#define FUNCTION(id, function)                                                                     \
        {                                                                                          \
                OSSL_FUNC_KEYMGMT_##id, (void (*)(void))(function)                                 \
        }
#define COMMON_FUNCTIONS(type)                                                                     \
        FUNCTION(NEW, keymgmt_new_##type), FUNCTION(FREE, keymgmt_free),                           \
                FUNCTION(LOAD, keymgmt_load), FUNCTION(DUP, keymgmt_dup),                          \
                FUNCTION(HAS, keymgmt_has), FUNCTION(MATCH, keymgmt_match),                        \
                FUNCTION(GET_PARAMS, keymgmt_get_params),                                          \
                FUNCTION(GETTABLE_PARAMS, keymgmt_##type##_gettable),                              \
                FUNCTION(IMPORT, keymgmt_import), FUNCTION(IMPORT_TYPES, keymgmt_##type##_types),  \
                FUNCTION(EXPORT, keymgmt_export), FUNCTION(EXPORT_TYPES, keymgmt_##type##_types)

static const OSSL_DISPATCH keymgmt_rsa_functions[] = {
        COMMON_FUNCTIONS(rsa),
        { 0, NULL },
};

static const OSSL_DISPATCH keymgmt_ec_functions[] = {
        COMMON_FUNCTIONS(ec),
        FUNCTION(QUERY_OPERATION_NAME, keymgmt_ec_operation),
        { 0, NULL },
};

static const OSSL_DISPATCH keymgmt_ed25519_functions[] = {
        COMMON_FUNCTIONS(ed25519),
        { 0, NULL },
};

/* The names are those of the default provider: EVP_PKEY_get_base_id() follows from them. */
static const OSSL_ALGORITHM algorithms[] = {
        { "RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=certbroker", keymgmt_rsa_functions,
          "RSA keys held by certbrokerd" },
        { "EC:id-ecPublicKey:1.2.840.10045.2.1", "provider=certbroker", keymgmt_ec_functions,
          "EC keys held by certbrokerd" },
        { "ED25519:1.3.101.112", "provider=certbroker", keymgmt_ed25519_functions,
          "Ed25519 keys held by certbrokerd" },
        { NULL },
};

const OSSL_ALGORITHM *keymgmt_algorithms(void)
{
        return algorithms;
}
