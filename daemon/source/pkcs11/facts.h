/* SPDX-License-Identifier: Apache-2.0 */
/* What there is on the token about one private key: its public half, its certificates, its properties. */
#pragma once

#include "source/pkcs11/keys.h"
#include "source/pkcs11/object.h"

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
/* Also of a key whose public half is gone, and all that was beside it: `spki` is empty then. */
int key_facts_find_rest(Session *session, const char *key_uri, KeyFacts *ret_facts,
                        Failure *failure);
/* A signature with the key over something random, that the public key accepts. */
int key_trial(Session *session, const Key *key, const Bytes *spki, Failure *failure);

/* Facts → reply, but for the chain. */
int key_facts_reply(const Token *token, const KeyFacts *facts, WireReply *reply);
