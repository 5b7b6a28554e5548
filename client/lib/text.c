/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What D-Bus lets a string, a path and a name be ("Valid Object Paths", "Valid Names", UTF-8 in the
 * specification). A bus disconnects whoever sends anything else, so it is looked at before; and
 * what comes in is looked at too, since callers are promised UTF-8.
 */
#include "text.h"

#include <stdint.h>
#include <string.h>

#include "visible.h"

#define NAME_LENGTH_MAX 255

/*
 * The length of the sequence at p, of which n bytes are there; 0: none (RFC 3629, table 3-7 of
 * Unicode).
 */
static size_t sequence_length(const uint8_t *p, size_t n)
{
        size_t length = p[0] < 0x80   ? 1
                        : p[0] < 0xc2 ? 0
                        : p[0] < 0xe0 ? 2
                        : p[0] < 0xf0 ? 3
                        : p[0] < 0xf5 ? 4
                                      : 0;

        if (length == 0 || length > n || p[0] == 0)
                return 0;
        for (size_t i = 1; i < length; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
            (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
                return 0;
        return length;
}

bool text_is_utf8(const char *text, size_t n)
{
        const uint8_t *p = (const uint8_t *)text;

        while (n > 0) {
                size_t length = sequence_length(p, n);

                if (length == 0)
                        return false;
                p += length;
                n -= length;
        }
        return true;
}

static uint32_t code_point(const uint8_t *p, size_t length)
{
        uint32_t code = length == 1 ? p[0] : p[0] & (0x7fu >> length);

        for (size_t i = 1; i < length; i++)
                code = code << 6 | (p[i] & 0x3fu);
        return code;
}

void text_make_harmless(char *text)
{
        uint8_t *p = (uint8_t *)text;
        size_t n = strlen(text);

        while (n > 0) {
                size_t length = sequence_length(p, n);

                if (length == 0 || !is_visible(code_point(p, length))) {
                        length = length == 0 ? 1 : length;
                        memset(p, '?', length);
                }
                p += length;
                n -= length;
        }
}

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

bool text_is_path(const char *text)
{
        if (!text || text[0] != '/')
                return false;
        if (text[1] == '\0')
                return true;
        for (const char *p = text; *p; p++) {
                if (*p == '/' && (p[1] == '/' || p[1] == '\0'))
                        return false;
                if (*p != '/' && !is_letter(*p) && !is_digit(*p))
                        return false;
        }
        return true;
}

bool text_is_name(const char *text, bool dotted)
{
        bool begins = true, has_dot = false;

        if (!text || strlen(text) > NAME_LENGTH_MAX)
                return false;
        for (const char *p = text; *p; p++) {
                if (*p == '.') {
                        if (begins || !dotted)
                                return false;
                        has_dot = begins = true;
                } else if (is_letter(*p) || (is_digit(*p) && !begins)) {
                        begins = false;
                } else {
                        return false;
                }
        }
        return !begins && has_dot == dotted;
}
