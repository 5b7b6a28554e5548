/* SPDX-License-Identifier: Apache-2.0 */
/* Is what a vault answers for the latest version of a name older than what it has answered before? */
#pragma once

#include "source/azure-key-vault/vault.h"

/*
 * key: of the version that the vault says is the latest, which it made at created_sec. current: the key that the broker
 * has, or NULL; a process that has just begun has seen no other. CB_FAILED: it is older, and not to be taken.
 */
int newest_check(Vault *vault, const char *current, const Identifier *key, uint64_t created_sec,
                 uint64_t deadline_usec, Failure *failure);
