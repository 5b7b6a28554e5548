/* SPDX-License-Identifier: Apache-2.0 */
/* A credential in a gateway's own words. Pure: text in, text out. */
#pragma once

#include <stddef.h>

#include <certbroker/certbroker.h>

typedef struct Gateway Gateway;

typedef struct GatewayFiles {
        const char *backend;     /* its name */
        const char *chain, *key; /* absolute */
} GatewayFiles;

/* "nginx" or "haproxy"; NULL for any other. */
const Gateway *gateway_find(const char *name);

/* Can it use these two files? NULL, or why not. */
const char *gateway_check_files(const Gateway *gateway, const GatewayFiles *files);

#define GATEWAY_WHY_MAX 400

/*
 * The directives with which it presents the certificate and verifies the backend exactly as the credential
 * says, or more. CB_NOT_SUPPORTED: it cannot verify that much; why, and what to do about it, is in ret_why then.
 * -ENOMEM. The caller frees the text.
 */
int gateway_write(const Gateway *gateway, const GatewayFiles *files,
                  const cb_credential *credential, char **ret_text, char ret_why[GATEWAY_WHY_MAX]);
