/* SPDX-License-Identifier: Apache-2.0 */
/* What the identity was seen to be allowed, and what not: pure, its owner has the lock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum Permission {
        PERMISSION_NONE, /* of what needs none, or is not worth telling */
        PERMISSION_CERTIFICATES_GET,
        PERMISSION_SECRETS_GET,
        PERMISSION_KEYS_GET,
        PERMISSION_KEYS_SIGN,
        PERMISSION_CERTIFICATES_CREATE,
        PERMISSION_CERTIFICATES_IMPORT,
        PERMISSION_CERTIFICATES_UPDATE,
        PERMISSION_CERTIFICATES_DELETE,
        _PERMISSION_N
} Permission;

typedef struct Permissions {
        uint32_t had, lacking; /* bits */
} Permissions;

const char *permission_name(Permission permission); /* "keys/sign" */
const char *permission_role(Permission permission); /* the role of Azure that gives it */
/* true: this is news. */
bool permissions_note(Permissions *permissions, Permission permission, bool had);
/* "permissions seen: …; lacking: secrets/get (role Key Vault Secrets User)"; "" where none is known. */
void permissions_text(const Permissions *permissions, char *ret_text, size_t n);
