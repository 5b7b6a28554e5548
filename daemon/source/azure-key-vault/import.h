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
/* Disables a version that was made a moment ago. ret_told: what was done, for who asked for it; NULL: not needed. */
int destroy_take_back(Vault *vault, const Identifier *version, uint64_t deadline_usec,
                      char **ret_told, Failure *failure);
/* Has the certificate of this name a version that is enabled? */
int destroy_find_enabled(Vault *vault, const char *name, uint64_t deadline_usec, bool *ret_has,
                         Failure *failure);

/*
 * May this name be written to? A new id's only where the vault has no certificate of that name: else CB_ALREADY_EXISTS.
 * One that has a key (request->key_uri) only its own: CB_INVALID_ARGUMENT.
 */
int import_check_name(Vault *vault, const WireRequest *request, const char *name,
                      uint64_t deadline_usec, Failure *failure);
/* Is the leaf valid now? Else CB_PENDING, with the verb by which it is given again, or CB_EXPIRED. */
int import_check_dates(const BytesList *chain, const char *verb, Failure *failure);
