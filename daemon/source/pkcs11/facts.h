/* SPDX-License-Identifier: Apache-2.0 */
/* What there is on the token about one private key: its public half, its certificates, its properties. */
#pragma once

#include "source/pkcs11/keys.h"
#include "source/pkcs11/object.h"

/* The id that an import gives a key; its further certificates have it and a byte more. */
#define OWN_ID_LENGTH WIRE_MARK_LENGTH

typedef struct KeyFacts {
        Key key;
        Locator locator; /* its CKA_ID and CKA_LABEL, as they are */
        Bytes spki;
        bool extractable;
        bool signs; /* CKA_SIGN */
} KeyFacts;

void key_facts_deinit(KeyFacts *facts);
/* CB_NOT_SUPPORTED: a key of no type of ours, or one whose public half cannot be found out. */
int key_facts_read(Session *session, CK_OBJECT_HANDLE handle, KeyFacts *ret_facts,
                   Failure *failure);
int key_facts_find(Session *session, const char *key_uri, KeyFacts *ret_facts, Failure *failure);
/* A signature with the key over something random, that the public key accepts. */
int key_trial(Session *session, const Key *key, const Bytes *spki, Failure *failure);

/* Facts → reply, but for the chain. */
int key_facts_reply(const Token *token, const KeyFacts *facts, WireReply *reply);

/*
 * The chain of the key: its leaf (the newest where there are several) and what issued it, in order. None: empty.
 * CB_KEY_MISMATCH: certificates with the key's id, and none is for the key. *ret_missing: as pki_chain_sort().
 */
int key_chain(Session *session, const KeyFacts *facts, BytesList *ret_chain, char **ret_missing,
              Failure *failure);
char *chain_warning(const BytesList *chain,
                    const char *missing); /* NULL: nothing to warn of. Owned */

/* All certificates and public keys that are this key's alone. */
int key_certificates(Session *session, const KeyFacts *facts, ObjectList *ret_list,
                     Failure *failure);
int key_publics(Session *session, const KeyFacts *facts, ObjectList *ret_list, Failure *failure);
