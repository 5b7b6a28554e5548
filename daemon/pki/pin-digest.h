/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A salted digest by which a PIN that a token has refused is known again, without keeping the PIN.
 * Slow on purpose (PBKDF2), for a PIN is short.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/secret.h"

#define PIN_DIGEST_LENGTH      32
#define PIN_DIGEST_SALT_LENGTH 16

/* context: what the PIN belongs to; the same PIN of another token has another digest. */
int pin_digest(Secret *pin, const uint8_t salt[PIN_DIGEST_SALT_LENGTH], const Bytes *context,
               uint8_t ret_digest[PIN_DIGEST_LENGTH]);
bool pin_digest_equal(const uint8_t a[PIN_DIGEST_LENGTH], const uint8_t b[PIN_DIGEST_LENGTH]);
