/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that keeps the token fresh, looks for a vault that is away, and tells the source's state. */
#pragma once

#include "source/azure-key-vault/vault.h"

int vault_keeper_start(Vault *vault);
/* Somebody asks: tokens and vault are tried now. 0: it serves; else why it does not. */
int vault_keeper_refresh(Vault *vault, uint64_t deadline_usec, Failure *failure);
