/* SPDX-License-Identifier: Apache-2.0 */
/* Between vault.c, which sends requests, and door.c, which sees to what lets them in. */
#pragma once

#include "source/azure-key-vault/vault.h"

/* One request, with all that may have to be done again. */
typedef struct Attempts {
        const VaultCall *call;
        char *url, *key;
        unsigned n, n_conflicts;
        bool refused;        /* a token was, once */
        bool entered, trial; /* at its object; which had failed, so that one try is enough */
} Attempts;

/* What the answer means, whatever it is but a success; a permission that is lacking is noted. */
int vault_outcome(Vault *vault, const VaultCall *call, const HttpAnswer *answer, Failure *failure);
/* For the gate, and for its object. attempts: NULL of a probe. */
void vault_note_answer(Vault *vault, const Attempts *attempts, bool with_token,
                       const HttpAnswer *answer, const Failure *failure);
/* 401 to this token. 0: a new one may be asked for. */
int vault_refuse_token(Vault *vault, const HttpAnswer *answer, const Token *token,
                       Failure *failure);
