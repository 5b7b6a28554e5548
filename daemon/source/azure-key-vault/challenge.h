/* SPDX-License-Identifier: Apache-2.0 */
/* The challenge of a vault (WWW-Authenticate: Bearer …), and whether it may be believed. */
#pragma once

#include "base/failure.h"

typedef struct Challenge {
        char *authority; /* as the vault has it: compared, never used */
        char *resource;  /* NULL: none is named, as where a token is refused that was sent */
        char *tenant;    /* the authority's first path segment; NULL: none, or any */
        char *error;     /* "insufficient_claims", "invalid_token"; NULL: none */
        char *claims;    /* that a new token must have: JSON in base64; NULL: none */
} Challenge;

void challenge_deinit(Challenge *challenge);
/*
 * header: one value a line, with any number of challenges in each (RFC 9110, 11.6.1). Of several for Bearer it
 * is the first that names a resource. CB_SOURCE_DENIED where there is none that can be read.
 */
int challenge_parse(const char *header, Challenge *ret_challenge, Failure *failure);
/* Its claims as JSON, as a token endpoint takes them. *ret_claims: NULL where there are none that can be read. */
int challenge_claims(const Challenge *challenge, char **ret_claims);
/*
 * Does it ask for what the configuration allows? resource: the configured one, NULL: none; then the
 * challenge's, if it names one, must cover the vault's host. tenant: the configured one, NULL: any.
 */
int challenge_verify(const Challenge *challenge, const char *host, const char *resource,
                     const char *tenant, Failure *failure);
