/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON and base64 as they come from a vault. Invariants: the depth is known before the parser recurses;
 * a value is of the type that is asked for, or a failure names its path and never its value; lengths are
 * the caller's. Memory of the parser is wiped when it is given back, since keys and tokens pass through.
 */
#include "source/azure-key-vault/json.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_MAX 64

static void wiping_free(void *p)
{
        if (p)
                explicit_bzero(p, malloc_usable_size(p));
        free(p);
}

void json_init(void)
{
        json_set_alloc_funcs(malloc, wiping_free);
}

void json_freep(json_t **place)
{
        json_decref(*place);
}

/* Brackets outside of strings; whether they match is the parser's business. */
static bool is_too_deep(const char *text, size_t n)
{
        size_t depth = 0;
        bool quoted = false;

        for (size_t i = 0; i < n; i++) {
                if (quoted) {
                        if (text[i] == '\\')
                                i++;
                        else
                                quoted = text[i] != '"';
                        continue;
                }
                quoted = text[i] == '"';
                if (text[i] == '{' || text[i] == '[')
                        depth++;
                else if ((text[i] == '}' || text[i] == ']') && depth > 0)
                        depth--;
                if (depth > JSON_DEPTH_MAX)
                        return true;
        }
        return false;
}

int json_read_object(const void *text, size_t n, const char *what, json_t **ret_root,
                     Failure *failure)
{
        CLEANUP(json_freep) json_t *root = NULL;
        json_error_t error;

        if (is_too_deep(text, n))
                return fail(failure, CB_FAILED, "%s is nested too deeply to be one", what);
        root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
        if (!root)
                return fail(failure, CB_FAILED, "%s is no JSON, or was cut (at byte %d of %zu)",
                            what, error.position, n);
        if (!json_is_object(root))
                return fail(failure, CB_FAILED, "%s is no JSON object", what);
        *ret_root = TAKE(root);
        return 0;
}

const json_t *json_view_find(const JsonView *view, const char *path)
{
        const json_t *value = view->root;

        while (value && *path) {
                char segment[SEGMENT_MAX];
                size_t n = strcspn(path, ".");

                if (n >= SEGMENT_MAX || !json_is_object(value))
                        return NULL;
                memcpy(segment, path, n);
                segment[n] = '\0';
                value = json_object_get(value, segment);
                path += n + (path[n] == '.');
        }
        return json_is_null(value) ? NULL : value;
}

static int refuse(const JsonView *view, const char *path, const char *wanted)
{
        return fail(view->failure, CB_FAILED, "%s: '%s' is not %s", view->what, path, wanted);
}

int json_view_string(const JsonView *view, const char *path, const char **ret_string)
{
        const json_t *value = json_view_find(view, path);

        if (!value)
                return 0;
        if (!json_is_string(value))
                return refuse(view, path, "text");
        *ret_string = json_string_value(value);
        return 0;
}

int json_view_needed_string(const JsonView *view, const char *path, const char **ret_string)
{
        const char *string = NULL;
        int r = json_view_string(view, path, &string);

        if (r == 0 && !string)
                r = fail(view->failure, CB_FAILED, "%s has no '%s'", view->what, path);
        if (r == 0)
                *ret_string = string;
        return r;
}

int json_view_bool(const JsonView *view, const char *path, bool *ret_bool)
{
        const json_t *value = json_view_find(view, path);

        if (!value)
                return 0;
        if (!json_is_boolean(value))
                return refuse(view, path, "true or false");
        *ret_bool = json_is_true(value);
        return 0;
}

int json_view_number(const JsonView *view, const char *path, uint64_t *ret_number)
{
        const json_t *value = json_view_find(view, path);
        const char *text;
        char *end;

        if (!value)
                return 0;
        if (json_is_integer(value) && json_integer_value(value) >= 0) {
                *ret_number = (uint64_t)json_integer_value(value);
                return 0;
        }
        text = json_string_value(value);
        if (text && *text >= '0' && *text <= '9') {
                unsigned long long number;

                errno = 0;
                number = strtoull(text, &end, 10);
                if (errno == 0 && *end == '\0') {
                        *ret_number = number;
                        return 0;
                }
        }
        return refuse(view, path, "a whole number");
}

static int view_decode(const JsonView *view, const char *path, bool url, size_t n_max,
                       Bytes *ret_bytes)
{
        CLEANUP(freep) uint8_t *data = NULL;
        const char *text = NULL;
        size_t n;
        int r = json_view_string(view, path, &text);

        if (r != 0 || !text)
                return r;
        n = strlen(text);
        if (n / 4 * 3 > n_max)
                return refuse(view, path, "of a length that makes sense");
        data = malloc(n + 1);
        if (!data)
                return -ENOMEM;
        if (base64_decode(text, n, url, data, &n) < 0)
                return refuse(view, path, url ? "base64url" : "base64");
        bytes_deinit(ret_bytes);
        return bytes_set(ret_bytes, data, n);
}

int json_view_base64(const JsonView *view, const char *path, size_t n_max, Bytes *ret_bytes)
{
        return view_decode(view, path, false, n_max, ret_bytes);
}

int json_view_base64url(const JsonView *view, const char *path, size_t n_max, Bytes *ret_bytes)
{
        return view_decode(view, path, true, n_max, ret_bytes);
}

/* --- base64 --- */

static int digit_value(char c, bool url)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        if (c == (url ? '-' : '+'))
                return 62;
        return c == (url ? '_' : '/') ? 63 : -1;
}

int base64_decode(const char *text, size_t n, bool url, uint8_t *ret_data, size_t *ret_n)
{
        uint32_t group = 0;
        size_t n_pad = 0, n_out = 0, n_bits = 0;

        while (n > 0 && text[n - 1] == '=' && n_pad < 2) {
                n--;
                n_pad++;
        }
        if (n % 4 == 1 || ((n_pad > 0 || !url) && (n + n_pad) % 4 != 0))
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                int value = digit_value(text[i], url);

                if (value < 0)
                        return -EINVAL;
                group = group << 6 | (uint32_t)value;
                n_bits += 6;
                if (n_bits >= 8) {
                        n_bits -= 8;
                        ret_data[n_out++] = (uint8_t)(group >> n_bits);
                }
        }
        if (group & ((1u << n_bits) - 1))
                return -EINVAL; /* one value has one form */
        *ret_n = n_out;
        return 0;
}

size_t base64_room(size_t n)
{
        return (n + 2) / 3 * 4 + 1;
}

void base64_encode(const uint8_t *data, size_t n, bool url, char *ret_text)
{
        static const char plain[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        static const char safe[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        const char *digits = url ? safe : plain;
        char *p = ret_text;

        for (size_t i = 0; i < n; i += 3) {
                size_t left = MIN(n - i, (size_t)3);
                uint32_t group = (uint32_t)data[i] << 16 |
                                 (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                                 (left > 2 ? data[i + 2] : 0);

                for (size_t k = 0; k < 4; k++) {
                        if (k <= left)
                                *p++ = digits[group >> (18 - 6 * k) & 63];
                        else if (!url)
                                *p++ = '=';
                }
        }
        *p = '\0';
}
