/* SPDX-License-Identifier: Apache-2.0 */
/* A gateway's two files: the chain, and the key file, a reference to a key and its public half. Both PEM. */
#pragma once

#include <certbroker/certbroker.h>

typedef struct x509_st X509; /* OpenSSL's */

#define KEY_FILE_LABEL "CERTBROKER KEY REFERENCE"

/*
 * PEM with the reference to `uri` and the public key of leaf (nothing of which is secret), with
 * some lines before it that say what it is; comment NULL: without them. The caller frees it with
 * free(3). -ENOMEM.
 */
int keyfile_encode(const char *uri, X509 *leaf, const char *comment, char **ret_text,
                   size_t *ret_n);

/* What a certificate's key file says before its BEGIN. -ENOMEM. */
int keyfile_comment(const char *id, const char *uri, char **ret_comment);

/*
 * The two files of a credential that has a chain. The
 * caller frees the text. -EBADMSG: no certificate; -ENOMEM.
 */
int keyfile_of(const cb_credential *credential, char **ret_text);
int keyfile_chain(const cb_credential *credential, char **ret_text);
