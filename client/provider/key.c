/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key of a certificate: the id and the generation that the broker signs with, and the public half
 * as a native EVP_PKEY in the provider's own library context, which answers every question about
 * parameters, sizes, equality and verification.
 *
 * There is no private half in this process; nothing here may ask the broker, but key_sign() and key_sign_tls(). A key is
 * immutable once made and counted, so that threads and duplicated EVP_PKEYs share it.
 */
#include "key.h"

#include <openssl/asn1.h>
#include <openssl/core_dispatch.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <string.h>

#include "broker.h"
#include "provider.h"

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(OSSL_PARAM *, OSSL_PARAM_free)

struct Key {
        atomic_uint refs;
        Provider *provider;
        KeyType type;
        char *id; /* NULL: there is only a public half */
        uint64_t generation;
        EVP_PKEY *public;
        KeySizes sizes;
};

static const struct {
        const char *name;
        uint8_t oid[9];
        size_t n_oid;
} types[_KEY_TYPE_N] = {
        [KEY_RSA] = { "RSA", { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01 }, 9 },
        [KEY_EC] = { "EC", { 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01 }, 7 },
        [KEY_ED25519] = { "ED25519", { 0x2b, 0x65, 0x70 }, 3 },
};

const char *key_type_name(KeyType type)
{
        return types[type].name;
}

/* Steps into, or onto the content of, the DER element at *p; its length, or -1 unless it is a `tag`. */
static long der_enter(const uint8_t **p, const uint8_t *end, int tag)
{
        int found, class;
        long n;

        if (end <= *p || ASN1_get_object(p, &n, &found, &class, end - *p) & 0x81)
                return -1;
        return found == tag && class == V_ASN1_UNIVERSAL ? n : -1;
}

KeyType key_type_of(const uint8_t *spki, size_t n_spki)
{
        const uint8_t *p = spki, *end = spki + n_spki;
        long n;

        if (der_enter(&p, end, V_ASN1_SEQUENCE) < 0 || der_enter(&p, end, V_ASN1_SEQUENCE) < 0)
                return _KEY_TYPE_N;

        n = der_enter(&p, end, V_ASN1_OBJECT);
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (n == (long)types[i].n_oid && memcmp(p, types[i].oid, types[i].n_oid) == 0)
                        return (KeyType)i;

        return _KEY_TYPE_N;
}

Key *key_new_public(Provider *provider, KeyType type)
{
        Key *key = calloc(1, sizeof(*key));

        if (!key) {
                RAISE(provider, REASON_SYSTEM, "no memory for a key");
                return NULL;
        }

        atomic_init(&key->refs, 1);
        key->provider = provider;
        key->type = type;
        return key;
}

/* Takes over `public` where it is of the key's type. One without sizes is half of one, for want of memory. */
static bool key_take_public(Key *key, EVP_PKEY **public)
{
        KeySizes sizes;

        if (!*public || !EVP_PKEY_is_a(*public, types[key->type].name))
                return false;

        sizes = (KeySizes){ EVP_PKEY_get_bits(*public), EVP_PKEY_get_security_bits(*public),
                            EVP_PKEY_get_size(*public) };
        if (sizes.bits <= 0 || sizes.security_bits < 0 || sizes.signature <= 0)
                return false;

        key->sizes = sizes;
        key->public = TAKE(*public);
        return true;
}

int key_new_half(Provider *provider, const Uri *uri, const uint8_t *spki, size_t n_spki,
                 Key **ret_key)
{
        CLEANUP(key_unrefp) Key *key = NULL;
        CLEANUP(EVP_PKEY_freep) EVP_PKEY *public = NULL;
        KeyType type = key_type_of(spki, n_spki);
        const uint8_t *p = spki;

        if (type == _KEY_TYPE_N) {
                RAISE(provider, REASON_KEY_TYPE,
                      "certificate %s: its key is neither RSA, EC nor Ed25519", uri->name);
                return 0;
        }

        key = key_new_public(provider, type);
        if (!key)
                return 0;

        public = d2i_PUBKEY_ex(NULL, &p, (long)n_spki, provider_libctx(provider), PROVIDER_OTHERS);
        if (p != spki + n_spki || !key_take_public(key, &public)) {
                RAISE(provider, REASON_BAD_REFERENCE,
                      "certificate %s: the public half of its key cannot be read", uri->name);
                return 0;
        }

        *ret_key = TAKE(key);
        return 1;
}

int key_new(Provider *provider, const Uri *uri, const uint8_t *spki, size_t n_spki, Key **ret_key)
{
        CLEANUP(key_unrefp) Key *key = NULL;

        if (!key_new_half(provider, uri, spki, n_spki, &key))
                return 0;

        key->id = strdup(uri->name);
        key->generation = uri->generation;
        if (!key->id) {
                RAISE(provider, REASON_SYSTEM, "no memory for a key");
                return 0;
        }

        *ret_key = TAKE(key);
        return 1;
}

int key_import(Key *key, int selection, const OSSL_PARAM *params)
{
        CLEANUP(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = NULL;
        CLEANUP(EVP_PKEY_freep) EVP_PKEY *public = NULL;
        CLEANUP(OSSL_PARAM_freep) OSSL_PARAM *copy = NULL;
        int wanted = selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY ? EVP_PKEY_PUBLIC_KEY
                                                                : EVP_PKEY_KEY_PARAMETERS;

        if (key->public || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY))
                return 0;

        copy = OSSL_PARAM_dup(params);
        context = EVP_PKEY_CTX_new_from_name(provider_libctx(key->provider), types[key->type].name,
                                             PROVIDER_OTHERS);
        if (!copy || !context || EVP_PKEY_fromdata_init(context) <= 0 ||
            EVP_PKEY_fromdata(context, &public, wanted, copy) <= 0)
                return 0;

        return key_take_public(key, &public);
}

Key *key_ref(Key *key)
{
        atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
        return key;
}

Key *key_unref(Key *key)
{
        if (!key || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) != 1)
                return NULL;

        EVP_PKEY_free(key->public);
        free(key->id);
        free(key);
        return NULL;
}

Provider *key_provider(const Key *key)
{
        return key->provider;
}

KeyType key_type(const Key *key)
{
        return key->type;
}

EVP_PKEY *key_public(const Key *key)
{
        return key->public;
}

bool key_has_private(const Key *key)
{
        return key->id != NULL;
}

const KeySizes *key_sizes(const Key *key)
{
        return &key->sizes;
}

size_t key_max_size(const Key *key)
{
        return (size_t)key->sizes.signature;
}

static bool has_private_half(const Key *key)
{
        if (!key->id)
                RAISE(key->provider, REASON_PRIVATE_HALF, "this key has a public half only");
        return key->id != NULL;
}

/* An RSA signature is as long as the modulus, always; nothing is longer than max_size. */
static int check_length(const Key *key, size_t n)
{
        const size_t max = key_max_size(key);

        if (n != 0 && n <= max && (key->type == KEY_EC || n == max))
                return 1;

        RAISE(key->provider, REASON_BAD_ANSWER,
              "certificate %s: a signature of %zu bytes from a key whose signatures have %zu",
              key->id, n, max);
        return 0;
}

int key_sign(const Key *key, const char *algorithm, const uint8_t *input, size_t n_input,
             uint8_t *signature, size_t *n_signature)
{
        size_t n = *n_signature;

        if (!has_private_half(key) ||
            !broker_sign(key->provider, key->id, key->generation, algorithm, input, n_input,
                         signature, &n) ||
            !check_length(key, n))
                return 0;

        *n_signature = n;
        return 1;
}

int key_sign_tls(const Key *key, const char *algorithm, const Tls13Verify *verify,
                 uint8_t *signature, size_t *n_signature)
{
        size_t n = *n_signature;

        if (!has_private_half(key) ||
            !broker_sign_tls(key->provider, key->id, key->generation, algorithm, verify, signature,
                             &n) ||
            !check_length(key, n))
                return 0;

        *n_signature = n;
        return 1;
}
