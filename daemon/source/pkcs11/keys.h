/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys by locator. A key is searched for once and its handle kept, for a search costs more the more
 * objects there are: on SoftHSM 15 µs each.
 */
#pragma once

#include "core/algorithm.h"
#include "source/pkcs11/session.h"
#include "source/pkcs11/uri.h"

typedef struct Key {
        CK_OBJECT_HANDLE handle;
        KeyType type;
        bool always_authenticate;
} Key;

/* From the kept ones, or by a search. CB_NOT_FOUND; CB_INVALID_ARGUMENT where it fits several keys. */
int keys_find(Session *session, const char *key_uri, Key *ret_key, Failure *failure);
void keys_forget(Token *token, const char *key_uri);
void keys_clear(Token *token);
void keys_clear_locked(Token *token);

/* Exactly one private key; what for: the URI, for the sentence. */
int keys_search(Session *session, const Locator *locator, const char *uri,
                CK_OBJECT_HANDLE *ret_handle, Failure *failure);
/* Its type and what it needs. CB_NOT_SUPPORTED: none of ours. */
int keys_read(Session *session, CK_OBJECT_HANDLE handle, Key *ret_key, Failure *failure);
