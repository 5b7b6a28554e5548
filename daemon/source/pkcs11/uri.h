/* SPDX-License-Identifier: Apache-2.0 */
/* pkcs11: URIs (RFC 7512): which token, which key. */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "base/failure.h"

struct p11_kit_uri;
struct _CK_TOKEN_INFO;

void uri_freep(struct p11_kit_uri **place);

/*
 * A URI that selects a token or a key. CB_INVALID_ARGUMENT: it does not parse, has attributes that are
 * not understood, or a PIN or module in it (neither is a caller's to say).
 */
int uri_parse(const char *text, struct p11_kit_uri **ret_uri, Failure *failure);
bool uri_selects_object(struct p11_kit_uri *uri); /* has object, id or type */

/* What a key is found by on the token. */
typedef struct Locator {
        Bytes id;    /* CKA_ID; n 0: any */
        Bytes label; /* CKA_LABEL; n 0: any */
        bool no_id;  /* the key that is meant had no CKA_ID, so it is none of our making */
} Locator;

void locator_deinit(Locator *locator);
/*
 * From a URI for a private key. CB_INVALID_ARGUMENT as uri_parse(), and where it names neither id nor
 * object, or is for another type of object; CB_NOT_FOUND: it is for another token than this.
 * strict: every attribute of the token must match; else the label alone, so that a token that was
 * restored on other hardware (another serial number) still has its keys.
 */
int locator_parse(const char *text, const struct _CK_TOKEN_INFO *token, bool strict,
                  Locator *ret_locator, Failure *failure);
/* The other way: token's label and serial number, type=private, and what the locator has. Owned. */
int locator_format(const Locator *locator, const struct _CK_TOKEN_INFO *token, char **ret_text);
