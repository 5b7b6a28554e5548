/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of the keys of this vault, by their versioned ids, so that a signature is one request. */
#pragma once

#include "source/azure-key-vault/vault.h"

/* As <openssl/types.h> has it. */
typedef struct evp_pkey_st EVP_PKEY;

typedef struct KeyKnown {
        KeyType type;
        uint32_t algorithms;
        unsigned cost; /* of a signature, in units of the gate */
        Bytes spki;
        EVP_PKEY *private_key; /* NULL: it stays in the vault */
} KeyKnown;

void key_known_deinit(KeyKnown *known);

/* Bits: what the vault can do with a key of this type, or we with one that was fetched. */
uint32_t vault_keys_algorithms(const Vault *vault, KeyType type);
unsigned vault_keys_cost(KeyType type, bool hsm);

/* Asks the vault where nothing is known; one asks, the others wait. signs: as VaultCall has it. A copy. */
int vault_keys_get(Vault *vault, const Identifier *key, const char *uri, bool signs,
                   uint64_t deadline_usec, KeyKnown *ret_known, Failure *failure);
/* Takes what a look-up has found; private_key is referenced anew. */
int vault_keys_learn(Vault *vault, const char *uri, const KeyKnown *known);
void vault_keys_forget(Vault *vault, const char *uri);
bool vault_keys_have_private(Vault *vault);
void vault_keys_wipe(Vault *vault);

/* The private half of an exportable key, out of its secret; spki: whose it must be. */
int vault_keys_fetch_private(Vault *vault, const Identifier *key, const Bytes *spki, bool signs,
                             uint64_t deadline_usec, EVP_PKEY **ret_key, Failure *failure);
