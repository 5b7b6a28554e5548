/* SPDX-License-Identifier: Apache-2.0 */
/* Credential: what a gateway gets for a backend, from memory alone. */
#pragma once

#include "base/failure.h"
#include "broker/sources/sources.h"
#include "core/catalog.h"

/* Borrowed from the catalog but for key_uri: valid until the loop's next turn. */
typedef struct Credential {
        const Certificate *certificate;
        const Generation *generation;
        const Backend *backend;
        char key_uri[256]; /* certbroker:certificate/ID?generation=N */
        bool stale;        /* the source does not serve now: the chain is what was last seen */
        bool validate_chain, validate_name; /* as in force now */
} Credential;

/*
 * The generation (0: the current one) whose chain may be told: the current one whatever its state, as one that waits
 * for its NotBefore; another while it may sign. Borrowed as above.
 */
int generation_resolve(const Catalog *catalog, const char *id, uint64_t number, uint64_t now_sec,
                       const Generation **ret_generation, Failure *failure);
int credential_resolve(const Catalog *catalog, const Sources *sources, const Backend *backend,
                       uint64_t now_sec, Credential *ret_credential, Failure *failure);
