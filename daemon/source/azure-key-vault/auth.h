/* SPDX-License-Identifier: Apache-2.0 */
/* The ways to an access token, a file each; the table of them is in auth.c. */
#pragma once

#include "source/azure-key-vault/vault.h"

#define ASSERTION_MAX (16 * 1024)

typedef struct AuthJob {
        Vault *vault;
        const char *resource;
        const char *claims; /* that the token must have: JSON; NULL: none */
        uint64_t deadline_usec;
        TokenAnswer *answer;
        Failure *failure;
} AuthJob;

int auth_fetch(const AuthJob *job);

/* auth-identity.c */
int auth_managed_identity(const AuthJob *job);
/* auth-entra.c */
int auth_client_secret(const AuthJob *job);
int auth_workload_identity(const AuthJob *job);
/* assertion: a JWT, ours or a federated one. */
int auth_entra_assertion(const AuthJob *job, Secret *assertion);
/* The token endpoint's URL. Owned; NULL: no memory. */
char *auth_entra_url(const Settings *settings);
/* auth-certificate.c */
int auth_client_certificate(const AuthJob *job);

/* Sends the request, and reads the token out of its answer; `who` is for the sentences. */
int auth_ask(const AuthJob *job, const HttpRequest *request, const char *who);
/* The outcome of an answer that is no token. */
int auth_refusal(const AuthJob *job, const HttpAnswer *answer, const char *who);
