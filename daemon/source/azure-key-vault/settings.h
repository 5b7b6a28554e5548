/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of one source, read once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/failure.h"
#include "source/azure-key-vault/address.h"

typedef enum AuthKind {
        AUTH_MANAGED_IDENTITY,
        AUTH_WORKLOAD_IDENTITY,
        AUTH_CLIENT_SECRET,
        AUTH_CLIENT_CERTIFICATE,
        _AUTH_KIND_N
} AuthKind;

typedef struct Settings {
        char *name;
        Address vault;
        AuthKind auth;
        char *client_id, *tenant_id, *secret_file, *token_file;
        char *certificate; /* id in this broker */
        Address authority;
        Address imds;
        char *resource; /* NULL: as the vault's challenge says */
        bool resource_is_given;
        uint64_t refresh_usec;
        bool local; /* signing */
        char *ca_file, *proxy, *api_version;
} Settings;

int settings_read(char *const *pairs, Settings *ret_settings, Failure *failure);
