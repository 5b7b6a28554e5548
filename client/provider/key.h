/* SPDX-License-Identifier: Apache-2.0 */
/* A key: the reference to a private half that the broker uses for us, and the public half itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macro.h"
#include "tls13.h"
#include "uri.h"

struct ossl_param_st;

typedef struct Provider Provider;
typedef struct Key Key;

typedef enum KeyType { KEY_RSA, KEY_EC, KEY_ED25519, _KEY_TYPE_N } KeyType;

/* Of the public half; 0: there is none. */
typedef struct KeySizes {
        int bits, security_bits, signature; /* the last in bytes */
} KeySizes;

/* OpenSSL's name of the type. */
const char *key_type_name(KeyType type);
/* Of a SubjectPublicKeyInfo, by its algorithm's identifier; _KEY_TYPE_N: none of ours. */
KeyType key_type_of(const uint8_t *spki, size_t n_spki);

/*
 * The key of a certificate's generation, with its public half in DER. No broker is asked. 1, or 0
 * with an error raised. Shared by any number of threads; it never changes.
 */
int key_new(Provider *provider, const Uri *uri, const uint8_t *spki, size_t n_spki, Key **ret_key);
/* The same without the private half: who asked for a public key is not to sign with it. */
int key_new_half(Provider *provider, const Uri *uri, const uint8_t *spki, size_t n_spki,
                 Key **ret_key);
/* A key without private half and, until key_import(), without public half. NULL, with an error raised: no memory. */
Key *key_new_public(Provider *provider, KeyType type);
int key_import(Key *key, int selection, const struct ossl_param_st *params);

Key *key_ref(Key *key);
Key *key_unref(Key *key);
DEFINE_CLEANUP(Key *, key_unref)

Provider *key_provider(const Key *key);
KeyType key_type(const Key *key);
/* The public half as a key of another provider, in provider_libctx(); NULL: there is none. */
struct evp_pkey_st *key_public(const Key *key);
bool key_has_private(const Key *key);
const KeySizes *key_sizes(const Key *key);
/* Most bytes that a signature takes. */
size_t key_max_size(const Key *key);

/* A signature by the broker; algorithm: the contract's name. 1, or 0 with an error raised. */
int key_sign(const Key *key, const char *algorithm, const uint8_t *input, size_t n_input,
             uint8_t *signature, size_t *n_signature);
int key_sign_tls(const Key *key, const char *algorithm, const Tls13Verify *verify,
                 uint8_t *signature, size_t *n_signature);
