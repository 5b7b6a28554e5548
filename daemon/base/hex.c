/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hexadecimal. The decoder takes exactly the digits that it was told to expect, and touches its output
 * only when all of them are right.
 */
#include "base/hex.h"

#include <errno.h>
#include <string.h>

static void encode(const uint8_t *data, size_t n, const char *digits, char *ret_text)
{
        for (size_t i = 0; i < n; i++) {
                ret_text[2 * i] = digits[data[i] >> 4];
                ret_text[2 * i + 1] = digits[data[i] & 15];
        }
        ret_text[2 * n] = '\0';
}

void hex_encode_upper(const uint8_t *data, size_t n, char *ret_text)
{
        encode(data, n, "0123456789ABCDEF", ret_text);
}

void hex_encode_lower(const uint8_t *data, size_t n, char *ret_text)
{
        encode(data, n, "0123456789abcdef", ret_text);
}

static int digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

int hex_decode(const char *text, uint8_t *ret_data, size_t n)
{
        size_t n_digits = 0;

        while (digit(text[n_digits]) >= 0)
                n_digits++;
        if (text[n_digits] != '\0' || n_digits % 2 != 0 || n_digits / 2 != n)
                return -EINVAL;

        for (size_t i = 0; i < n; i++)
                ret_data[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
        return 0;
}
