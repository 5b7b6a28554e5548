/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Permissions as the vault's answers show them: what was done was allowed, what was refused for want of
 * a permission is lacking until it is seen to be had. It asks nothing by itself.
 */
#include "source/azure-key-vault/permission.h"

#include <stdio.h>
#include <string.h>

#include "base/macro.h"

static const struct {
        const char *name, *role;
} rows[_PERMISSION_N] = {
        [PERMISSION_NONE] = { "", "" },
        [PERMISSION_CERTIFICATES_GET] = { "certificates/get", "Key Vault Certificate User" },
        [PERMISSION_SECRETS_GET] = { "secrets/get", "Key Vault Secrets User" },
        [PERMISSION_KEYS_GET] = { "keys/get", "Key Vault Crypto User" },
        [PERMISSION_KEYS_SIGN] = { "keys/sign", "Key Vault Crypto User" },
        [PERMISSION_CERTIFICATES_CREATE] = { "certificates/create",
                                             "Key Vault Certificates Officer" },
        [PERMISSION_CERTIFICATES_IMPORT] = { "certificates/import",
                                             "Key Vault Certificates Officer" },
        [PERMISSION_CERTIFICATES_UPDATE] = { "certificates/update",
                                             "Key Vault Certificates Officer" },
        [PERMISSION_CERTIFICATES_DELETE] = { "certificates/delete",
                                             "Key Vault Certificates Officer" },
};

const char *permission_name(Permission permission)
{
        return rows[permission].name;
}

const char *permission_role(Permission permission)
{
        return rows[permission].role;
}

bool permissions_note(Permissions *permissions, Permission permission, bool had)
{
        Permissions before = *permissions;
        uint32_t bit = UINT32_C(1) << permission;

        if (permission == PERMISSION_NONE)
                return false;
        permissions->had = had ? permissions->had | bit : permissions->had & ~bit;
        permissions->lacking = had ? permissions->lacking & ~bit : permissions->lacking | bit;
        return permissions->had != before.had || permissions->lacking != before.lacking;
}

static void append(char *text, size_t n, const char *part)
{
        size_t n_old = strlen(text);

        snprintf(text + n_old, n - n_old, "%s", part);
}

void permissions_text(const Permissions *permissions, char *ret_text, size_t n)
{
        bool first = true;

        *ret_text = '\0';
        for (Permission p = PERMISSION_NONE + 1; p < _PERMISSION_N; p++) {
                if (!(permissions->had & UINT32_C(1) << p))
                        continue;
                append(ret_text, n, first ? "permissions seen: " : ", ");
                append(ret_text, n, rows[p].name);
                first = false;
        }
        first = true;
        for (Permission p = PERMISSION_NONE + 1; p < _PERMISSION_N; p++) {
                if (!(permissions->lacking & UINT32_C(1) << p))
                        continue;
                if (first)
                        append(ret_text, n, *ret_text ? "; lacking: " : "permissions lacking: ");
                append(ret_text, n, first ? "" : ", ");
                append(ret_text, n, rows[p].name);
                append(ret_text, n, " (role ");
                append(ret_text, n, rows[p].role);
                append(ret_text, n, ")");
                first = false;
        }
}
