/* SPDX-License-Identifier: Apache-2.0 */
/* RSA-OAEP (RFC 8017, 7.1) for a token that has only the bare RSA operation: taking the padding off. */
#pragma once

#include "base/bytes.h"
#include "base/secret.h"
#include "core/algorithm.h"

/*
 * encoded: what the bare operation gave, as long as the modulus or with its leading zeros left out. Digest and MGF1
 * are the same, the label is empty. In constant time, whatever is wrong with it. CB_INVALID_ARGUMENT: no such
 * encoding; CB_NOT_SUPPORTED: no such digest.
 */
int pki_oaep_decode(Digest digest, Secret *encoded, unsigned modulus_bits, Secret **ret_message);
