/* SPDX-License-Identifier: Apache-2.0 */
/* The challenge of a vault (WWW-Authenticate: Bearer …), and whether it may be believed. */
#pragma once

#include "base/failure.h"

typedef struct Challenge {
        char *authority; /* as the vault has it: compared, never used */
        char *resource;
        char *tenant; /* the authority's first path segment; NULL: none */
} Challenge;

void challenge_deinit(Challenge *challenge);
/* header: one value a line. CB_SOURCE_DENIED where there is no Bearer challenge that can be read. */
int challenge_parse(const char *header, Challenge *ret_challenge, Failure *failure);
/*
 * Does it ask for what the configuration allows? resource: the configured one, NULL: none; then the
 * challenge's must cover the vault's host. tenant: the configured one, NULL: any.
 */
int challenge_verify(const Challenge *challenge, const char *host, const char *resource,
                     const char *tenant, Failure *failure);
