/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies that a vault is sent to make something: JSON, put together in locked memory where it must be. */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "core/algorithm.h"

/* "kty":…,"key_size":… or "crv":… of a policy's key_props. NULL: a type that no vault has. */
const char *policy_key_props(KeyType type);

/* For import: the key in PEM and the chain. */
int policy_import_body(Secret *key_pem, const BytesList *chain, KeyType type, bool exportable,
                       Secret **ret_body);
/* For create: the vault makes a key and a request. subject: RFC 4514; names: "DNS:…". Owned JSON. */
char *policy_create_body(KeyType type, bool exportable, const char *subject, char *const *names);
/* For merge. */
char *policy_merge_body(const BytesList *chain);
