/* SPDX-License-Identifier: Apache-2.0 */
/* Hexadecimal. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* ret_text holds 2 * n + 1 characters. */
void hex_encode_upper(const uint8_t *data, size_t n, char *ret_text);
void hex_encode_lower(const uint8_t *data, size_t n, char *ret_text);
/* Any case, exactly 2 * n digits, else -EINVAL. */
int hex_decode(const char *text, uint8_t *ret_data, size_t n);
