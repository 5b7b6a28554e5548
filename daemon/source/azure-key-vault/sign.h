/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures with keys of the vault: made there, or here with one that was fetched. */
#pragma once

#include "source/azure-key-vault/vault.h"

int sign_run(Vault *vault, const DriverCall *call, WireReply *reply);
