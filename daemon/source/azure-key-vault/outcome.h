/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer of the vault means: to a caller, to the gate, and for another try. */
#pragma once

#include "source/azure-key-vault/vault.h"

/*
 * The one translation of statuses and error codes; `answer` is none of the 200s. *ret_lacking: it is the
 * call's permission that is lacking.
 */
int outcome_of(const VaultCall *call, const HttpAnswer *answer, bool *ret_lacking,
               Failure *failure);
/* The same where there was no answer. host: the vault's. */
int outcome_of_fault(const VaultCall *call, const char *host, const HttpAnswer *answer,
                     Failure *failure);
GateOutcome outcome_for_gate(const HttpAnswer *answer);
