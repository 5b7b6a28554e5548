/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures, and which of them this token can make. */
#pragma once

#include "core/algorithm.h"
#include "source/pkcs11/keys.h"

/* What the key's type allows and the token has a mechanism for. */
uint32_t token_algorithms(const Token *token, KeyType type);

/* The signature as the wire has it (ECDSA in DER). input: digest or message, of a length that fits. */
int key_sign(Session *session, const Key *key, Algorithm algorithm, const Bytes *input,
             Bytes *ret_signature, Failure *failure);

/*
 * CKA_ALWAYS_AUTHENTICATE: a log-in for this one operation, after it was begun and before the call that does it.
 * Nothing for other keys. The session's operation is lost where it fails.
 */
int key_authenticate(Session *session, const Key *key, Failure *failure);
