/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures: OpenSSL's calls, turned into an algorithm of the contract and an input for it.
 *
 * Every init, every parameter and the probe for the size are local and cheap: libssl makes dozens of
 * them to find out what a key can do. The broker is asked in sign_input() alone. Messages are hashed
 * here; they come through sign_message() or a final. Verification is the native public key's.
 *
 * A message that is known as a whole passes through sign_message(), in one piece: what is to be told
 * from its content, as that it is a TLS 1.3 CertificateVerify, is told there.
 */
#include "operations.h"

#include <limits.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/proverr.h>
#include <openssl/rsa.h>
#include <string.h>
#include <strings.h>

#include "algorithm.h"
#include "digest.h"
#include "key.h"
#include "provider.h"

/* The most that the broker takes for Ed25519, whose input is the message. */
#define MESSAGE_MAX 65536

/* RSA_PSS_SALTLEN_AUTO_DIGEST_MAX of OpenSSL 3.1, and the last of these values. */
#define SALT_AUTO_DIGEST_MAX (-4)
#define SALT_LOWEST          SALT_AUTO_DIGEST_MAX

typedef struct Signature {
        Provider *provider;
        KeyType type;
        Key *key;
        int operation; /* EVP_PKEY_OP_… of the last init, 0: none */
        bool hashes;   /* it is given messages, and hashes them */
        const Digest *digest;
        const Digest *mgf1; /* NULL: as digest */
        Padding padding;
        int salt; /* bytes, or one of RSA_PSS_SALTLEN_… */
        EVP_MD_CTX *hash;
} Signature;

CLEANUP_FUNCTION(EVP_PKEY_CTX, EVP_PKEY_CTX_free);

/* ------------------------------------------------------------------ the context */

static void signature_free(void *context)
{
        Signature *signature = context;

        if (!signature)
                return;
        EVP_MD_CTX_free(signature->hash);
        key_unref(signature->key);
        free(signature);
}

static inline void signature_freep(Signature **signature)
{
        signature_free(*signature);
}

static void *signature_new(Provider *provider, KeyType type)
{
        Signature *signature = calloc(1, sizeof(*signature));

        if (!signature)
                return NULL;
        signature->provider = provider;
        signature->type = type;
        signature->padding = type == KEY_RSA ? PADDING_PKCS1 : PADDING_NONE;
        signature->salt = RSA_PSS_SALTLEN_DIGEST;
        return signature;
}

static void *signature_new_rsa(void *provider, const char *properties)
{
        return signature_new(provider, KEY_RSA);
}

static void *signature_new_ecdsa(void *provider, const char *properties)
{
        return signature_new(provider, KEY_EC);
}

static void *signature_new_ed25519(void *provider, const char *properties)
{
        return signature_new(provider, KEY_ED25519);
}

static void *signature_dup(void *context)
{
        const Signature *from = context;
        CLEANUP(signature_freep) Signature *to = malloc(sizeof(*to));

        if (!to)
                return NULL;

        *to = *from;
        to->hash = NULL;
        if (to->key)
                key_ref(to->key);
        if (from->hash) {
                to->hash = EVP_MD_CTX_new();
                if (!to->hash || !EVP_MD_CTX_copy_ex(to->hash, from->hash))
                        return NULL;
        }

        return TAKE(to);
}

/* ------------------------------------------------------------------ parameters */

static int signature_set_digest(Signature *signature, const char *name)
{
        const Digest *digest = digest_find_by_name(name);

        if (!digest) {
                RAISE(signature->provider, REASON_DIGEST,
                      "%s: SHA-256, SHA-384, SHA-512 and, where it is granted, SHA-1 are what "
                      "signs%s",
                      name,
                      strcasecmp(name, "MD5-SHA1") == 0 ? "; TLS 1.0 and 1.1 need another key"
                                                        : "");
                return 0;
        }
        if (signature->hash && digest != signature->digest) {
                RAISE(signature->provider, REASON_STATE,
                      "the digest was chosen when hashing began");
                return 0;
        }

        signature->digest = digest;
        return 1;
}

static const struct {
        const char *name;
        int number;
        Padding padding;
} paddings[] = {
        { OSSL_PKEY_RSA_PAD_MODE_PKCSV15, RSA_PKCS1_PADDING, PADDING_PKCS1 },
        { OSSL_PKEY_RSA_PAD_MODE_PSS, RSA_PKCS1_PSS_PADDING, PADDING_PSS },
};

/* libssl gives the number, programs of the command line the name. */
static int signature_set_padding(Signature *signature, const OSSL_PARAM *param)
{
        const char *name = NULL;
        int number = -1;

        if (param->data_type == OSSL_PARAM_UTF8_STRING
                    ? !OSSL_PARAM_get_utf8_string_ptr(param, &name)
                    : !OSSL_PARAM_get_int(param, &number))
                return 0;

        for (size_t i = 0; i < ELEMENTS(paddings); i++)
                if (name ? strcmp(name, paddings[i].name) == 0 : number == paddings[i].number) {
                        signature->padding = paddings[i].padding;
                        return 1;
                }

        RAISE(signature->provider, REASON_PADDING,
              "an RSA key signs with PKCS #1 v1.5 or PSS padding");
        return 0;
}

static const struct {
        const char *name;
        int salt;
} salts[] = {
        { OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST, RSA_PSS_SALTLEN_DIGEST },
        { OSSL_PKEY_RSA_PSS_SALT_LEN_MAX, RSA_PSS_SALTLEN_MAX },
        { OSSL_PKEY_RSA_PSS_SALT_LEN_AUTO, RSA_PSS_SALTLEN_AUTO },
        { "auto-digestmax", SALT_AUTO_DIGEST_MAX },
};

static int signature_set_salt(Signature *signature, const OSSL_PARAM *param)
{
        const char *name;
        char *end;
        long number;

        if (param->data_type != OSSL_PARAM_UTF8_STRING)
                return OSSL_PARAM_get_int(param, &signature->salt);
        if (!OSSL_PARAM_get_utf8_string_ptr(param, &name))
                return 0;

        for (size_t i = 0; i < ELEMENTS(salts); i++)
                if (strcmp(name, salts[i].name) == 0) {
                        signature->salt = salts[i].salt;
                        return 1;
                }

        number = strtol(name, &end, 10);
        if (end == name || *end != '\0' || number < SALT_LOWEST || number > INT_MAX)
                return 0;
        signature->salt = (int)number;
        return 1;
}

static int signature_set_rsa_params(Signature *signature, const OSSL_PARAM params[])
{
        const OSSL_PARAM *param;
        const char *name;

        param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
        if (param && !signature_set_padding(signature, param))
                return 0;

        param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
        if (param && !signature_set_salt(signature, param))
                return 0;

        param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
        if (param) {
                if (!OSSL_PARAM_get_utf8_string_ptr(param, &name))
                        return 0;
                signature->mgf1 = digest_find_by_name(name);
                if (!signature->mgf1) {
                        RAISE(signature->provider, REASON_DIGEST, "MGF1 with %s is not supported",
                              name);
                        return 0;
                }
        }

        return 1;
}

static int signature_set_params(void *context, const OSSL_PARAM params[])
{
        Signature *signature = context;
        const OSSL_PARAM *param;
        const char *name;

        if (!params)
                return 1;
        if (signature->type == KEY_RSA && !signature_set_rsa_params(signature, params))
                return 0;

        param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST);
        if (!param)
                return 1;
        return OSSL_PARAM_get_utf8_string_ptr(param, &name) &&
               signature_set_digest(signature, name);
}

static const OSSL_PARAM *signature_settable_params(void *context, void *provider)
{
        static const OSSL_PARAM params[] = {
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
                OSSL_PARAM_END,
        };
        return params;
}

static int param_set_name(OSSL_PARAM *param, const char *name, int number)
{
        if (!param)
                return 1;
        return param->data_type == OSSL_PARAM_UTF8_STRING || param->data_type == OSSL_PARAM_UTF8_PTR
                       ? OSSL_PARAM_set_utf8_string(param, name)
                       : OSSL_PARAM_set_int(param, number);
}

static int signature_get_params(void *context, OSSL_PARAM params[])
{
        Signature *signature = context;
        const Digest *digest = signature->digest, *mgf1 = signature->mgf1 ?: digest;
        const Algorithm *algorithm = algorithm_find(signature->type, signature->padding, digest);
        OSSL_PARAM *param;

        param = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID);
        if (param &&
            (!algorithm || !OSSL_PARAM_set_octet_string(param, algorithm->der, algorithm->n_der)))
                return 0;

        param = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST);
        if (param && !OSSL_PARAM_set_utf8_string(param, digest ? digest->name : ""))
                return 0;
        if (signature->type != KEY_RSA)
                return 1;

        param = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
        if (param && !OSSL_PARAM_set_utf8_string(param, mgf1 ? mgf1->name : ""))
                return 0;

        for (size_t i = 0; i < ELEMENTS(paddings); i++)
                if (paddings[i].padding == signature->padding &&
                    !param_set_name(OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PAD_MODE),
                                    paddings[i].name, paddings[i].number))
                        return 0;

        return param_set_name(OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN),
                              OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST, RSA_PSS_SALTLEN_DIGEST);
}

static const OSSL_PARAM *signature_gettable_params(void *context, void *provider)
{
        static const OSSL_PARAM params[] = {
                OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
                OSSL_PARAM_END,
        };
        return params;
}

/* ------------------------------------------------------------------ signing */

/*
 * The algorithm for what was asked, or NULL with an error raised. The contract has PSS in one form: a salt as
 * long as the digest, which is also what "automatic" gets, and MGF1 with the digest itself.
 */
static const Algorithm *signature_algorithm(const Signature *signature, const Digest *digest)
{
        const Algorithm *algorithm = algorithm_find(signature->type, signature->padding, digest);

        if (!algorithm) {
                RAISE(signature->provider, REASON_DIGEST,
                      "%s keys do not sign %s with this padding", key_type_name(signature->type),
                      digest ? digest->name : "without a digest");
                return NULL;
        }
        if (signature->padding != PADDING_PSS)
                return algorithm;

        if (signature->salt != RSA_PSS_SALTLEN_DIGEST && signature->salt != RSA_PSS_SALTLEN_AUTO &&
            signature->salt != SALT_AUTO_DIGEST_MAX && signature->salt != (int)digest->size) {
                RAISE(signature->provider, REASON_SALT,
                      "a PSS salt is as long as the digest: set rsa_pss_saltlen to digest");
                return NULL;
        }
        if (signature->mgf1 && signature->mgf1 != digest) {
                RAISE(signature->provider, REASON_SALT, "MGF1 has the signature's digest, %s",
                      digest->name);
                return NULL;
        }
        return algorithm;
}

/* Answers the probe for the size: 1; 0: go on; -1: there is too little room. */
static int signature_probe(const Signature *signature, const uint8_t *out, size_t *ret_n,
                           size_t n_room)
{
        size_t max = key_max_size(signature->key);

        if (!out) {
                *ret_n = max;
                return 1;
        }
        if (n_room < max) {
                RAISE(signature->provider, REASON_ROOM, "a signature takes %zu bytes", max);
                return -1;
        }
        return 0;
}

static int sign_input(const Signature *signature, const Digest *digest, const uint8_t *input,
                      size_t n_input, uint8_t *out, size_t *ret_n)
{
        const Algorithm *algorithm = signature_algorithm(signature, digest);

        *ret_n = key_max_size(signature->key);
        return algorithm && key_sign(signature->key, algorithm->name, input, n_input, out, ret_n);
}

static bool signature_is_ready(const Signature *signature, int operation, bool hashes)
{
        if (signature->key && signature->operation == operation && signature->hashes == hashes)
                return true;

        RAISE(signature->provider, REASON_STATE, "the operation was not begun");
        return false;
}

static int signature_init(Signature *signature, int operation, bool hashes, Key *key,
                          const OSSL_PARAM params[])
{
        if (key && key_type(key) != signature->type)
                return 0;
        if (key) {
                key_unref(signature->key);
                signature->key = key_ref(key);
        }
        if (!signature->key || !key_public(signature->key)) {
                RAISE(signature->provider, REASON_STATE, "no key is set");
                return 0;
        }

        EVP_MD_CTX_free(signature->hash);
        signature->hash = NULL;
        signature->operation = operation;
        signature->hashes = hashes;
        return signature_set_params(signature, params);
}

static int signature_sign_init(void *context, void *key, const OSSL_PARAM params[])
{
        return signature_init(context, EVP_PKEY_OP_SIGN, false, key, params);
}

/*
 * EVP_PKEY_sign() without a digest: PKCS #1 v1.5 is then given a DigestInfo that the caller made, and the
 * others a bare digest that is told by its length. A set digest demands its own length.
 */
static const Digest *signature_told_digest(const Signature *signature, const uint8_t **input,
                                           size_t *n_input)
{
        const Digest *digest = signature->digest;

        if (!digest && signature->padding == PADDING_PKCS1) {
                digest = digest_find_by_info(*input, *n_input);
                if (digest) {
                        *input += digest->n_info;
                        *n_input = digest->size;
                }
        } else if (!digest) {
                digest = digest_find_by_size(*n_input);
        }

        if (!digest || *n_input != digest->size) {
                RAISE(signature->provider, REASON_INPUT, "%zu bytes are not %s%s%s", *n_input,
                      digest ? "a digest of " : "the digest of a known algorithm",
                      digest ? digest->name : "",
                      signature->padding == PADDING_PKCS1 && !digest ? " in a DigestInfo" : "");
                return NULL;
        }
        return digest;
}

static int signature_sign(void *context, uint8_t *out, size_t *ret_n, size_t n_room,
                          const uint8_t *input, size_t n_input)
{
        Signature *signature = context;
        const Digest *digest;
        int r;

        if (!signature_is_ready(signature, EVP_PKEY_OP_SIGN, false))
                return 0;
        r = signature_probe(signature, out, ret_n, n_room);
        if (r != 0)
                return r > 0;

        digest = signature_told_digest(signature, &input, &n_input);
        return digest && sign_input(signature, digest, input, n_input, out, ret_n);
}

/* ------------------------------------------------------------------ hashing, then signing or verifying */

static int hash_begin(Signature *signature)
{
        const EVP_MD *md = provider_md(signature->provider, signature->digest);

        signature->hash = EVP_MD_CTX_new();
        return md && signature->hash && EVP_DigestInit_ex2(signature->hash, md, NULL);
}

static int signature_digest_init(Signature *signature, int operation, const char *name, Key *key,
                                 const OSSL_PARAM params[])
{
        if (!signature_init(signature, operation, true, key, NULL))
                return 0;

        if (signature->type == KEY_ED25519) {
                if (name && *name) {
                        RAISE(signature->provider, REASON_DIGEST,
                              "Ed25519 keys sign messages, not a %s digest", name);
                        return 0;
                }
                return signature_set_params(signature, params);
        }

        if (!signature_set_digest(signature, name && *name ? name : "SHA256"))
                return 0;
        return signature_set_params(signature, params);
}

static int signature_digest_sign_init(void *context, const char *name, void *key,
                                      const OSSL_PARAM params[])
{
        return signature_digest_init(context, EVP_PKEY_OP_SIGNCTX, name, key, params);
}

static int signature_digest_update(void *context, const uint8_t *data, size_t n_data)
{
        Signature *signature = context;

        if (!signature->hashes || !signature->digest) {
                RAISE(signature->provider, REASON_STATE, "the operation was not begun");
                return 0;
        }
        if (!signature->hash && !hash_begin(signature))
                return 0;
        return EVP_DigestUpdate(signature->hash, data, n_data);
}

static int hash_end(Signature *signature, uint8_t digest[static EVP_MAX_MD_SIZE])
{
        unsigned n;
        int ok;

        if (!signature->hash && !hash_begin(signature))
                return 0;

        ok = EVP_DigestFinal_ex(signature->hash, digest, &n) && n == signature->digest->size;
        EVP_MD_CTX_free(signature->hash);
        signature->hash = NULL;
        return ok;
}

static int signature_digest_sign_final(void *context, uint8_t *out, size_t *ret_n, size_t n_room)
{
        Signature *signature = context;
        uint8_t digest[EVP_MAX_MD_SIZE];
        int r;

        if (!signature_is_ready(signature, EVP_PKEY_OP_SIGNCTX, true))
                return 0;
        r = signature_probe(signature, out, ret_n, n_room);
        if (r != 0)
                return r > 0;

        return hash_end(signature, digest) && sign_input(signature, signature->digest, digest,
                                                         signature->digest->size, out, ret_n);
}

static int sign_message(Signature *signature, const uint8_t *message, size_t n_message,
                        uint8_t *out, size_t *ret_n)
{
        uint8_t digest[EVP_MAX_MD_SIZE];

        if (!signature->digest) {
                if (n_message > MESSAGE_MAX) {
                        RAISE(signature->provider, REASON_INPUT,
                              "an Ed25519 message has at most %d bytes", MESSAGE_MAX);
                        return 0;
                }
                return sign_input(signature, NULL, message, n_message, out, ret_n);
        }

        return signature_digest_update(signature, message, n_message) &&
               hash_end(signature, digest) &&
               sign_input(signature, signature->digest, digest, signature->digest->size, out,
                          ret_n);
}

static int signature_digest_sign(void *context, uint8_t *out, size_t *ret_n, size_t n_room,
                                 const uint8_t *message, size_t n_message)
{
        Signature *signature = context;
        int r;

        if (!signature_is_ready(signature, EVP_PKEY_OP_SIGNCTX, true))
                return 0;
        r = signature_probe(signature, out, ret_n, n_room);
        if (r != 0)
                return r > 0;

        return sign_message(signature, message, n_message, out, ret_n);
}

/* ------------------------------------------------------------------ verifying */

static int verify_set_params(const Signature *signature, EVP_PKEY_CTX *native)
{
        if (signature->digest) {
                const EVP_MD *md = provider_md(signature->provider, signature->digest);

                if (!md || EVP_PKEY_CTX_set_signature_md(native, md) <= 0)
                        return 0;
        }
        if (signature->padding == PADDING_PSS) {
                int salt = signature->salt == SALT_AUTO_DIGEST_MAX ? RSA_PSS_SALTLEN_AUTO
                                                                   : signature->salt;

                if (EVP_PKEY_CTX_set_rsa_padding(native, RSA_PKCS1_PSS_PADDING) <= 0 ||
                    EVP_PKEY_CTX_set_rsa_pss_saltlen(native, salt) <= 0)
                        return 0;
                if (signature->mgf1 &&
                    EVP_PKEY_CTX_set_rsa_mgf1_md_name(native, signature->mgf1->name, NULL) <= 0)
                        return 0;
        }
        return 1;
}

static int verify_input(const Signature *signature, const uint8_t *given, size_t n_given,
                        const uint8_t *input, size_t n_input)
{
        CLEANUP(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *native = NULL;

        native = EVP_PKEY_CTX_new_from_pkey(provider_libctx(signature->provider),
                                            key_public(signature->key), PROVIDER_OTHERS);
        if (!native || EVP_PKEY_verify_init(native) <= 0 || !verify_set_params(signature, native))
                return 0;
        return EVP_PKEY_verify(native, given, n_given, input, n_input) == 1;
}

static int signature_verify_init(void *context, void *key, const OSSL_PARAM params[])
{
        return signature_init(context, EVP_PKEY_OP_VERIFY, false, key, params);
}

static int signature_verify(void *context, const uint8_t *given, size_t n_given,
                            const uint8_t *input, size_t n_input)
{
        return signature_is_ready(context, EVP_PKEY_OP_VERIFY, false) &&
               verify_input(context, given, n_given, input, n_input);
}

static int signature_digest_verify_init(void *context, const char *name, void *key,
                                        const OSSL_PARAM params[])
{
        return signature_digest_init(context, EVP_PKEY_OP_VERIFYCTX, name, key, params);
}

static int signature_digest_verify_final(void *context, const uint8_t *given, size_t n_given)
{
        Signature *signature = context;
        uint8_t digest[EVP_MAX_MD_SIZE];

        return signature_is_ready(signature, EVP_PKEY_OP_VERIFYCTX, true) &&
               hash_end(signature, digest) &&
               verify_input(signature, given, n_given, digest, signature->digest->size);
}

/* Ed25519 alone: it has no digest, so the message must be there as a whole. */
static int signature_verify_message(void *context, const uint8_t *given, size_t n_given,
                                    const uint8_t *message, size_t n_message)
{
        Signature *signature = context;
        EVP_MD_CTX *native;
        int ok;

        if (!signature_is_ready(signature, EVP_PKEY_OP_VERIFYCTX, true))
                return 0;

        native = EVP_MD_CTX_new();
        ok = native &&
             EVP_DigestVerifyInit_ex(native, NULL, NULL, provider_libctx(signature->provider),
                                     PROVIDER_OTHERS, key_public(signature->key), NULL) &&
             EVP_DigestVerify(native, given, n_given, message, n_message) == 1;
        EVP_MD_CTX_free(native);
        return ok;
}

/* ------------------------------------------------------------------ tables */

#define FUNCTION(id, function)                                                                     \
        {                                                                                          \
                OSSL_FUNC_SIGNATURE_##id, (void (*)(void))(function)                               \
        }
#define COMMON_FUNCTIONS(type)                                                                     \
        FUNCTION(NEWCTX, signature_new_##type), FUNCTION(FREECTX, signature_free),                 \
                FUNCTION(DUPCTX, signature_dup),                                                   \
                FUNCTION(DIGEST_SIGN_INIT, signature_digest_sign_init),                            \
                FUNCTION(DIGEST_SIGN, signature_digest_sign),                                      \
                FUNCTION(DIGEST_VERIFY_INIT, signature_digest_verify_init),                        \
                FUNCTION(GET_CTX_PARAMS, signature_get_params),                                    \
                FUNCTION(GETTABLE_CTX_PARAMS, signature_gettable_params)
#define DIGEST_FUNCTIONS                                                                           \
        FUNCTION(SIGN_INIT, signature_sign_init), FUNCTION(SIGN, signature_sign),                  \
                FUNCTION(VERIFY_INIT, signature_verify_init), FUNCTION(VERIFY, signature_verify),  \
                FUNCTION(DIGEST_SIGN_UPDATE, signature_digest_update),                             \
                FUNCTION(DIGEST_SIGN_FINAL, signature_digest_sign_final),                          \
                FUNCTION(DIGEST_VERIFY_UPDATE, signature_digest_update),                           \
                FUNCTION(DIGEST_VERIFY_FINAL, signature_digest_verify_final),                      \
                FUNCTION(SET_CTX_PARAMS, signature_set_params),                                    \
                FUNCTION(SETTABLE_CTX_PARAMS, signature_settable_params)

static const OSSL_DISPATCH signature_rsa_functions[] = {
        COMMON_FUNCTIONS(rsa),
        DIGEST_FUNCTIONS,
        { 0, NULL },
};

static const OSSL_DISPATCH signature_ecdsa_functions[] = {
        COMMON_FUNCTIONS(ecdsa),
        DIGEST_FUNCTIONS,
        { 0, NULL },
};

static const OSSL_DISPATCH signature_ed25519_functions[] = {
        COMMON_FUNCTIONS(ed25519),
        FUNCTION(DIGEST_VERIFY, signature_verify_message),
        { 0, NULL },
};

static const OSSL_ALGORITHM algorithms[] = {
        { "RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=certbroker", signature_rsa_functions,
          "RSA signatures by certbrokerd" },
        { "ECDSA", "provider=certbroker", signature_ecdsa_functions,
          "ECDSA signatures by certbrokerd" },
        { "ED25519:1.3.101.112", "provider=certbroker", signature_ed25519_functions,
          "Ed25519 signatures by certbrokerd" },
        { NULL },
};

const OSSL_ALGORITHM *signature_algorithms(void)
{
        return algorithms;
}
