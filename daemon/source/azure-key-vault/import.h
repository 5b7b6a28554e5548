/* SPDX-License-Identifier: Apache-2.0 */
/* What puts something into the vault, or takes it away. */
#pragma once

#include "source/azure-key-vault/vault.h"

int import_run(Vault *vault, const DriverCall *call, WireReply *reply);

int generate_run(Vault *vault, const DriverCall *call, WireReply *reply);
/* A pending key's request; for other keys CB_NOT_SUPPORTED: they can sign one. */
int generate_request(Vault *vault, const DriverCall *call, WireReply *reply);
int generate_install(Vault *vault, const DriverCall *call, WireReply *reply);

/* Ends the operation that is pending; one that is gone is no failure. */
int generate_drop(Vault *vault, const char *uri, uint64_t deadline_usec, Failure *failure);

int destroy_run(Vault *vault, const DriverCall *call, WireReply *reply);

/* CB_ALREADY_EXISTS where the vault has a certificate of this name. */
int import_check_free(Vault *vault, const char *name, uint64_t deadline_usec, Failure *failure);
