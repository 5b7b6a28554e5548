/* SPDX-License-Identifier: Apache-2.0 */
/* From a certificate's identifier to chain and key. */
#pragma once

#include "source/azure-key-vault/vault.h"

int lookup_run(Vault *vault, const DriverCall *call, WireReply *reply);
/* Key facts of a certificate that the vault has just answered: of import and merge. */
int lookup_fill(Vault *vault, const CertificateAnswer *certificate, uint64_t deadline_usec,
                WireReply *reply);
/* Of a secret that was answered and cannot be read with this status: a sentence that speaks of the vault. */
int lookup_explain_secret(const char *name, int status, Failure *failure);
/* GET of one certificate; 404 only after it was said twice. */
int lookup_certificate(Vault *vault, const Identifier *identifier, uint64_t deadline_usec,
                       CertificateAnswer *ret_certificate, Failure *failure);
