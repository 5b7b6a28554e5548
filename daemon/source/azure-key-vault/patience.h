/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patience with what was made a moment ago: a vault is many machines, and learns of a new key on one after the
 * other. For some seconds "not found" is no answer, nor is a failure that may pass.
 */
#pragma once

#include "source/azure-key-vault/vault.h"

#define PATIENCE_SEC 8

typedef struct Patience {
        uint64_t until_usec;    /* 0: it is not new: none */
        uint64_t deadline_usec; /* the caller's, which is kept in any case */
        unsigned n;             /* how often it was waited for */
} Patience;

Patience patience_begin(bool is_new, uint64_t deadline_usec);
/* Sleeps, where what ended with this status is worth another try. false: it is not, or not any more. */
bool patience_wait(Patience *patience, int status);
