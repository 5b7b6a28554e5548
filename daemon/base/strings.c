/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text: lists of strings, globs, and what other people's bytes become before we pass them on. libdbus
 * ends the process over a string that is not UTF-8, and a terminal or a log obeys control characters:
 * text from outside goes through text_escape(), a line of our own with such text in it through
 * text_clean_to(). Nothing here recurses or depends on the locale.
 */
#include "base/strings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "visible.h"

char **strv_free(char **strv)
{
        for (char **p = strv; p && *p; p++)
                free(*p);
        free(strv);
        return NULL;
}

int strv_append(char ***strv, const char *string)
{
        size_t n = strv_length(*strv);
        char **grown;
        char *copy = strdup(string);

        if (!copy)
                return -ENOMEM;
        grown = reallocarray(*strv, n + 2, sizeof(*grown));
        if (!grown) {
                free(copy);
                return -ENOMEM;
        }
        grown[n] = copy;
        grown[n + 1] = NULL;
        *strv = grown;
        return 0;
}

int strv_copy(char *const *strv, char ***ret_copy)
{
        CLEANUP(strv_freep) char **copy = NULL;

        if (strv) {
                copy = calloc(strv_length(strv) + 1, sizeof(*copy));
                if (!copy)
                        return -ENOMEM;
        }
        for (size_t i = 0; strv && strv[i]; i++) {
                copy[i] = strdup(strv[i]);
                if (!copy[i])
                        return -ENOMEM;
        }
        *ret_copy = TAKE(copy);
        return 0;
}

int strv_pack(char *const *strv, char ***ret_packed)
{
        size_t n = strv_length(strv), size = (n + 1) * sizeof(char *);
        char **packed, *p;

        for (size_t i = 0; i < n; i++)
                size += strlen(strv[i]) + 1;
        packed = strv ? malloc(size) : NULL;
        if (strv && !packed)
                return -ENOMEM;
        p = packed ? (char *)(packed + n + 1) : NULL;
        for (size_t i = 0; i < n; i++) {
                size_t n_text = strlen(strv[i]) + 1;

                packed[i] = memcpy(p, strv[i], n_text);
                p += n_text;
        }
        if (packed)
                packed[n] = NULL;
        *ret_packed = packed;
        return 0;
}

bool strv_contains(char *const *strv, const char *string)
{
        for (; strv && *strv; strv++)
                if (strcmp(*strv, string) == 0)
                        return true;
        return false;
}

bool strv_equal(char *const *a, char *const *b)
{
        size_t n = strv_length(a);

        if (n != strv_length(b))
                return false;
        for (size_t i = 0; i < n; i++)
                if (strcmp(a[i], b[i]) != 0)
                        return false;
        return true;
}

size_t strv_length(char *const *strv)
{
        size_t n = 0;

        while (strv && strv[n])
                n++;
        return n;
}

char *strv_join(char *const *strv, const char *separator)
{
        size_t n = strv_length(strv), n_separator = strlen(separator), n_text = 1;
        char *text, *p;

        for (size_t i = 0; i < n; i++)
                n_text += strlen(strv[i]) + n_separator;
        text = malloc(n_text);
        if (!text)
                return NULL;

        p = text;
        for (size_t i = 0; i < n; i++) {
                if (i > 0)
                        p = mempcpy(p, separator, n_separator);
                p = mempcpy(p, strv[i], strlen(strv[i]));
        }
        *p = '\0';
        return text;
}

bool string_equal(const char *a, const char *b)
{
        return a && b ? strcmp(a, b) == 0 : a == b;
}

int string_set(char **place, const char *value)
{
        char *copy = NULL;

        if (value) {
                copy = strdup(value);
                if (!copy)
                        return -ENOMEM;
        }
        free(*place); /* after the copy: value may lie in it */
        *place = copy;
        return 0;
}

int string_format(char **place, const char *format, ...)
{
        char *text;
        va_list list;
        int n;

        va_start(list, format);
        n = vasprintf(&text, format, list);
        va_end(list);
        if (n < 0)
                return -ENOMEM;
        free(*place);
        *place = text;
        return 0;
}

const char *string_or_empty(const char *string)
{
        return string ? string : "";
}

/*
 * On a mismatch the last star takes one character more, and the rest is tried again: the stars before
 * it need no second look, so the time is at most the product of the two lengths.
 */
bool glob_match(const char *pattern, const char *string)
{
        const char *after_star = NULL, *star_string = NULL;

        while (*string != '\0') {
                if (*pattern == '*') {
                        after_star = ++pattern;
                        star_string = string;
                } else if (*pattern == '?' || *pattern == *string) {
                        pattern++;
                        string++;
                } else if (after_star) {
                        pattern = after_star;
                        string = ++star_string;
                } else {
                        return false;
                }
        }
        while (*pattern == '*')
                pattern++;
        return *pattern == '\0';
}

/*
 * One character of UTF-8 (RFC 3629: no overlong form, no surrogate, nothing over U+10FFFF). Its length,
 * or 0; *ret_wanted is the length that the first byte promises (0: no first byte).
 */
static size_t utf8_decode(const uint8_t *p, size_t n, uint32_t *ret_code, size_t *ret_wanted)
{
        static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        size_t wanted = p[0] < 0x80             ? 1
                        : (p[0] & 0xe0) == 0xc0 ? 2
                        : (p[0] & 0xf0) == 0xe0 ? 3
                        : (p[0] & 0xf8) == 0xf0 ? 4
                                                : 0;
        uint32_t code = wanted <= 1 ? p[0] : p[0] & (0xffu >> (wanted + 1));

        *ret_wanted = wanted;
        if (wanted == 0 || wanted > n)
                return 0;
        for (size_t i = 1; i < wanted; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                code = code << 6 | (p[i] & 0x3f);
        }
        if (code < smallest[wanted] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
                return 0;
        *ret_code = code;
        return wanted;
}

bool utf8_is_valid(const char *string, size_t n)
{
        const uint8_t *p = (const uint8_t *)string;
        uint32_t code;
        size_t wanted;

        for (size_t i = 0, length; i < n; i += length) {
                length = utf8_decode(p + i, n - i, &code, &wanted);
                if (length == 0 || code == 0)
                        return false;
        }
        return true;
}

size_t utf8_character(const char *string, size_t n, uint32_t *ret_code)
{
        size_t wanted;

        return n > 0 ? utf8_decode((const uint8_t *)string, n, ret_code, &wanted) : 0;
}

bool text_is_printable(const char *string, size_t n)
{
        const uint8_t *p = (const uint8_t *)string;
        uint32_t code;
        size_t wanted;

        for (size_t i = 0, length; i < n; i += length) {
                length = utf8_decode(p + i, n - i, &code, &wanted);
                if (length == 0 || !is_visible(code))
                        return false;
        }
        return true;
}

static char *escape_byte(char *out, uint8_t byte)
{
        static const char digits[] = "0123456789abcdef";

        *out++ = '\\';
        *out++ = 'x';
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 15];
        return out;
}

char *text_escape(const void *text, size_t n, size_t n_max)
{
        static const char ellipsis[] = "…";
        const uint8_t *p = text;
        size_t n_taken = MIN(n, n_max);
        uint32_t code = 0;
        size_t wanted = 0;
        char *escaped, *out;

        if (n_taken > (SIZE_MAX - sizeof(ellipsis)) / 4)
                return NULL;
        out = escaped = malloc(n_taken * 4 + sizeof(ellipsis));
        if (!escaped)
                return NULL;

        for (size_t i = 0, length; i < n_taken; i += length) {
                length = utf8_decode(p + i, n - i, &code, &wanted);
                if (length > n_taken - i)
                        break; /* the cut goes before a character that it would halve */
                if (length > 0 && code != '\\' && is_visible(code)) {
                        out = mempcpy(out, p + i, length);
                        continue;
                }
                length = MAX(length, (size_t)1);
                for (size_t k = 0; k < length; k++)
                        out = escape_byte(out, p[i + k]);
        }
        if (n > n_max)
                out = mempcpy(out, ellipsis, sizeof(ellipsis) - 1);
        *out = '\0';
        return escaped;
}

char *text_escape_ascii(const void *text, size_t n)
{
        const uint8_t *p = text;
        char *escaped = n < SIZE_MAX / 4 ? malloc(4 * n + 1) : NULL, *out = escaped;

        if (!escaped)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                if (p[i] >= ' ' && p[i] < 0x7f && p[i] != '\\')
                        *out++ = (char)p[i];
                else
                        out = escape_byte(out, p[i]);
        }
        *out = '\0';
        return escaped;
}

void text_clean_to(const char *text, bool cut, char *ret_text, size_t n_ret)
{
        const uint8_t *p = (const uint8_t *)text;
        size_t n = strlen(text), wanted;
        char *out = ret_text, *end = ret_text + n_ret - 1;

        for (size_t i = 0, length, room; i < n; i += length) {
                uint32_t code = 0;
                bool shown;

                length = utf8_decode(p + i, n - i, &code, &wanted);
                if (length == 0 && cut && wanted > n - i)
                        break;
                shown = length > 0 && is_visible(code);
                if (code == '\n' || code == '\t')
                        shown = true;
                length = MAX(length, (size_t)1);
                room = shown ? length : 4 * length;
                if (room > (size_t)(end - out))
                        break;
                if (code == '\n' || code == '\t')
                        *out++ = ' ';
                else if (shown)
                        out = mempcpy(out, p + i, length);
                else
                        for (size_t k = 0; k < length; k++)
                                out = escape_byte(out, p[i + k]);
        }
        *out = '\0';
}

void text_clean(char *text, bool cut)
{
        uint8_t *p = (uint8_t *)text;
        size_t n = strlen(text), length, wanted;

        for (size_t i = 0; i < n; i += length) {
                uint32_t code = 0;

                length = utf8_decode(p + i, n - i, &code, &wanted);
                if (length == 0 && cut && wanted > n - i) {
                        p[i] = '\0';
                        return;
                }
                if (length > 0 && is_visible(code))
                        continue;
                length = MAX(length, (size_t)1);
                memset(p + i, code == '\n' || code == '\t' ? ' ' : '?', length);
        }
}
