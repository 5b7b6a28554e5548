/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer of the vault means: to a caller, to the gate, and for another try. */
#pragma once

#include "source/azure-key-vault/vault.h"

/* The one translation of statuses and error codes; `answer` is none of the 200s. */
int outcome_of(Vault *vault, const VaultCall *call, const HttpAnswer *answer, Failure *failure);
/* The same of a request that got no answer. */
int outcome_of_fault(Vault *vault, const HttpAnswer *answer, Failure *failure);
GateOutcome outcome_for_gate(const HttpAnswer *answer);
