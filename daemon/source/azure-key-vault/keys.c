/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Known keys. Invariants: an entry is of one version of one key, which never changes, so it needs no end;
 * at most one thread asks the vault for the same key; a private half is in libcrypto's locked heap, was
 * proven to be the public one's, and is freed (and wiped) with its entry.
 */
#include "source/azure-key-vault/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pki/bundle.h"
#include "pki/private-key.h"
#include "pki/signature.h"
#include "pki/x509.h"
#include "source/azure-key-vault/lookup.h"

#define KEYS_MAX 4096

typedef struct KeyEntry {
        KeyKnown known;
        bool loading;
} KeyEntry;

void key_known_deinit(KeyKnown *known)
{
        bytes_deinit(&known->spki);
        pki_private_key_freep(&known->private_key);
        *known = (KeyKnown){ 0 };
}

static int known_copy(const KeyKnown *known, KeyKnown *ret_copy)
{
        KeyKnown copy = *known;
        int r;

        copy.spki = (Bytes){ 0 };
        r = bytes_set(&copy.spki, known->spki.data, known->spki.n);
        if (r < 0)
                return r;
        if (known->private_key)
                copy.private_key = pki_private_key_ref(known->private_key);
        *ret_copy = copy;
        return 0;
}

static const Algorithm curve_algorithms[_DIGEST_N] = {
        [DIGEST_SHA256] = ALGORITHM_ECDSA_SHA256,
        [DIGEST_SHA384] = ALGORITHM_ECDSA_SHA384,
        [DIGEST_SHA512] = ALGORITHM_ECDSA_SHA512,
};

uint32_t vault_keys_algorithms(const Vault *vault, KeyType type)
{
        const KeyTypeRow *row = key_type_row(type);

        if (vault->settings.local)
                return algorithms_of_key(type);
        if (row->family == KEY_EC)
                return ALGORITHM_BIT(curve_algorithms[row->curve_digest]);
        if (row->family != KEY_RSA)
                return 0;
        return algorithms_of_key(type) & ~ALGORITHM_BIT(ALGORITHM_RSA_PKCS1_SHA1);
}

/* As the service counts them: a 4096-bit key costs it eight times a 2048-bit one, an HSM twice. */
unsigned vault_keys_cost(KeyType type, bool hsm)
{
        unsigned cost = type == KEY_TYPE_RSA_4096 ? 8 : type == KEY_TYPE_RSA_3072 ? 4 : 1;

        return hsm ? 2 * cost : cost;
}

/* --- asking the vault --- */

static int spki_of_certificate(Vault *vault, const Identifier *key, bool signs,
                               uint64_t deadline_usec, Bytes *ret_spki, Failure *failure)
{
        CLEANUP(freep)
        char *uri =
                identifier_uri(&vault->settings.vault, OBJECT_CERTIFICATE, key->name, key->version);
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        CLEANUP(certificate_answer_deinit) CertificateAnswer certificate = { 0 };
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = { .method = "GET",
                           .uri = uri,
                           .permission = PERMISSION_CERTIFICATES_GET,
                           .signs = signs,
                           .deadline_usec = deadline_usec };
        int r;

        if (!uri)
                return -ENOMEM;
        r = vault_call(vault, &call, &answer, failure);
        if (r == 0)
                r = certificate_answer_parse(answer.body.data, answer.body.n, &certificate,
                                             failure);
        if (r == 0)
                r = pki_certificate_facts(certificate.leaf.data, certificate.leaf.n, &facts,
                                          failure);
        return r == 0 ? bytes_set(ret_spki, facts.spki.data, facts.spki.n) : r;
}

static int spki_of_key(Vault *vault, const char *uri, bool signs, uint64_t deadline_usec,
                       Bytes *ret_spki, Failure *failure)
{
        CLEANUP(key_answer_deinit) KeyAnswer key = { 0 };
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = { .method = "GET",
                           .uri = uri,
                           .permission = PERMISSION_KEYS_GET,
                           .signs = signs,
                           .deadline_usec = deadline_usec };
        int r;

        r = vault_call(vault, &call, &answer, failure);
        if (r == 0)
                r = key_answer_parse(answer.body.data, answer.body.n, &key, failure);
        if (r == 0 && key.type == KEY_TYPE_NONE)
                r = fail(failure, CB_NOT_SUPPORTED, "%s is of no kind that is supported", uri);
        return r == 0 ? bytes_set(ret_spki, key.spki.data, key.spki.n) : r;
}

int vault_keys_fetch_private(Vault *vault, const Identifier *key, const Bytes *spki, bool signs,
                             uint64_t deadline_usec, EVP_PKEY **ret_key, Failure *failure)
{
        CLEANUP(freep)
        char *uri = identifier_uri(&vault->settings.vault, OBJECT_SECRET, key->name, key->version);
        CLEANUP(secret_answer_deinit) SecretAnswer secret = { 0 };
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = { .method = "GET",
                           .uri = uri,
                           .permission = PERMISSION_SECRETS_GET,
                           .signs = signs,
                           .secret = true,
                           .deadline_usec = deadline_usec };
        const void *body;
        size_t n;
        int r;

        if (!uri || pki_private_keys_lock() < 0)
                return fail(failure, -ENOMEM,
                            "no memory can be locked for private keys; raise "
                            "the limit (LimitMEMLOCK)");
        r = vault_call(vault, &call, &answer, failure);
        if (r != 0)
                return r;
        body = http_answer_body(&answer, &n);
        r = secret_answer_parse(body, n, &secret, failure);
        if (r == 0)
                r = pki_bundle_parse(secret.value, NULL, clock_realtime_sec(), &bundle, failure);
        if (r > 0 && r != CB_BAD_BUNDLE)
                return lookup_explain_secret(key->name, r, failure);
        if (r == CB_BAD_BUNDLE)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the key of %s/%s cannot be had, so that it cannot sign locally: is it "
                            "exportable? Else configure signing = \"remote\"",
                            key->name, key->version);
        if (r == 0 && !bytes_equal(&bundle.spki, spki))
                r = fail(failure, CB_KEY_MISMATCH,
                         "the secret of %s/%s holds another key than its certificate's", key->name,
                         key->version);
        if (r == 0)
                *ret_key = TAKE(bundle.key);
        return r;
}

static int load(Vault *vault, const Identifier *key, const char *uri, bool signs,
                uint64_t deadline_usec, KeyKnown *ret_known, Failure *failure)
{
        CLEANUP(key_known_deinit) KeyKnown known = { 0 };
        int r;

        r = spki_of_certificate(vault, key, signs, deadline_usec, &known.spki, failure);
        if (r == CB_SOURCE_DENIED) {
                *failure = (Failure){ 0 };
                r = spki_of_key(vault, uri, signs, deadline_usec, &known.spki, failure);
        }
        if (r == 0)
                r = pki_key_type(&known.spki, &known.type, failure);
        if (r == 0 && vault->settings.local)
                r = vault_keys_fetch_private(vault, key, &known.spki, signs, deadline_usec,
                                             &known.private_key, failure);
        if (r != 0)
                return r;
        known.algorithms = vault_keys_algorithms(vault, known.type);
        known.cost = vault_keys_cost(known.type, false);
        *ret_known = known;
        known = (KeyKnown){ 0 };
        return 0;
}

/* --- the collection --- */

static void drop_locked(Keys *keys, const char *uri)
{
        KeyEntry *entry = map_find(&keys->entries, uri);

        if (!entry || entry->loading)
                return;
        map_remove(&keys->entries, uri);
        keys->n_private -= entry->known.private_key != NULL;
        key_known_deinit(&entry->known);
        free(entry);
}

/* Takes `known` on success. */
static int put_locked(Keys *keys, const char *uri, KeyKnown *known)
{
        KeyEntry *entry = map_find(&keys->entries, uri);
        int r;

        if (!entry) {
                if (keys->entries.n >= KEYS_MAX)
                        drop_locked(keys, keys->entries.entries[0].key);
                entry = calloc(1, sizeof(*entry));
                if (!entry)
                        return -ENOMEM;
                r = map_put(&keys->entries, uri, entry);
                if (r < 0) {
                        free(entry);
                        return r;
                }
        }
        keys->n_private -= entry->known.private_key != NULL;
        key_known_deinit(&entry->known);
        entry->known = *known;
        *known = (KeyKnown){ 0 };
        keys->n_private += entry->known.private_key != NULL;
        return 0;
}

static bool wait_locked(Keys *keys, uint64_t deadline_usec)
{
        struct timespec until = { .tv_sec = (time_t)(deadline_usec / USEC_PER_SEC),
                                  .tv_nsec = (long)(deadline_usec % USEC_PER_SEC) * 1000 };

        return pthread_cond_timedwait(&keys->loaded, &keys->lock, &until) == 0;
}

/* The lock is let go while the vault is asked. */
static int load_locked(Vault *vault, const Identifier *key, const char *uri, bool signs,
                       uint64_t deadline_usec, Failure *failure)
{
        CLEANUP(key_known_deinit) KeyKnown known = { 0 };
        Keys *keys = &vault->keys;
        KeyEntry *entry;
        int r;

        r = put_locked(keys, uri, &known);
        if (r < 0)
                return r;
        entry = map_find(&keys->entries, uri);
        entry->loading = true;
        pthread_mutex_unlock(&keys->lock);
        r = load(vault, key, uri, signs, deadline_usec, &known, failure);
        pthread_mutex_lock(&keys->lock);
        entry->loading = false;
        if (r == 0)
                r = put_locked(keys, uri, &known);
        if (r != 0)
                drop_locked(keys, uri);
        pthread_cond_broadcast(&keys->loaded);
        return r;
}

static int get_locked(Vault *vault, const Identifier *key, const char *uri, bool signs,
                      uint64_t deadline_usec, KeyKnown *ret_known, Failure *failure)
{
        for (;;) {
                KeyEntry *entry = map_find(&vault->keys.entries, uri);
                int r;

                if (entry && entry->known.spki.n > 0)
                        return known_copy(&entry->known, ret_known);
                if (entry) {
                        if (!wait_locked(&vault->keys, deadline_usec))
                                return fail(failure, CB_SOURCE_UNAVAILABLE,
                                            "the vault has not told of %s in time", uri);
                        continue;
                }
                r = load_locked(vault, key, uri, signs, deadline_usec, failure);
                if (r != 0)
                        return r;
        }
}

int vault_keys_get(Vault *vault, const Identifier *key, const char *uri, bool signs,
                   uint64_t deadline_usec, KeyKnown *ret_known, Failure *failure)
{
        int r;

        pthread_mutex_lock(&vault->keys.lock);
        r = get_locked(vault, key, uri, signs, deadline_usec, ret_known, failure);
        pthread_mutex_unlock(&vault->keys.lock);
        return r;
}

int vault_keys_learn(Vault *vault, const char *uri, const KeyKnown *known)
{
        CLEANUP(key_known_deinit) KeyKnown copy = { 0 };
        KeyEntry *entry;
        int r = known_copy(known, &copy);

        if (r < 0)
                return r;
        pthread_mutex_lock(&vault->keys.lock);
        entry = map_find(&vault->keys.entries, uri);
        if (!entry || !entry->loading)
                r = put_locked(&vault->keys, uri, &copy);
        pthread_mutex_unlock(&vault->keys.lock);
        return r;
}

void vault_keys_forget(Vault *vault, const char *uri)
{
        pthread_mutex_lock(&vault->keys.lock);
        drop_locked(&vault->keys, uri);
        pthread_mutex_unlock(&vault->keys.lock);
}

bool vault_keys_have_private(Vault *vault)
{
        bool have;

        pthread_mutex_lock(&vault->keys.lock);
        have = vault->keys.n_private > 0;
        pthread_mutex_unlock(&vault->keys.lock);
        return have;
}

void vault_keys_wipe(Vault *vault)
{
        pthread_mutex_lock(&vault->keys.lock);
        MAP_FOREACH (&vault->keys.entries, e) {
                KeyEntry *entry = e->value;

                key_known_deinit(&entry->known);
        }
        vault->keys.n_private = 0;
        pthread_mutex_unlock(&vault->keys.lock);
}
