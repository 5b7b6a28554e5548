/* SPDX-License-Identifier: Apache-2.0 */
/* Thumbprints of certificates, as people type and paste them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/failure.h"
#include "core/digest.h"

/*
 * SHA-1 or SHA-256 in hex, any case, as dialogs and tools show it: with colons or dashes after each pair or without them,
 * with blanks and invisible characters anywhere, after `SHA256:`, `sha1 Fingerprint=`, `Thumbprint:` and the like. ret_n is
 * 20 or 32. False: it is none, and the text of `why` (or NULL) continues "it": "has 39 hex digits, where …".
 */
bool thumbprint_parse(const char *text, uint8_t ret_digest[DIGEST_LENGTH_MAX], size_t *ret_n,
                      Failure *why);
