/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `backend check` share: one connection, and what was seen on it. */
#pragma once

#include <certbroker/certbroker.h>
#include <stdbool.h>

#include "cli.h"

#define THUMBPRINT_MAX 65

typedef struct Check {
        const char *name; /* of the backend */
        cb_credential *credential;
        char *host, *port, *path;

        struct ossl_lib_ctx_st *context;
        struct ossl_provider_st *providers[2];
        struct ssl_ctx_st *tls;
        struct ssl_st *ssl;
        struct x509_st *certificate; /* ours */
        struct stack_st_X509 *chain;
        struct evp_pkey_st *key;

        /* what was seen */
        char *subject, *issuer;
        char thumbprint[THUMBPRINT_MAX];
        bool presented, self_signed, accepted, asked, refused_by_us;
        const char *chain_result, *name_result, *pin_result; /* "ok", "not verified", or why not */
        char *matched_name;
        struct json_t *issuers; /* of certificates that the backend would take, as it says */
        char answer[128];       /* the first line of what the backend answered */
} Check;

/* Says what was presented and verified, as a table or as JSON. outcome not 0: why it failed. */
int check_tell(Cli *cli, const Check *check, int outcome, const char *why);
