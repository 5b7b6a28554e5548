/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of things. Invariant: what identifier_is_valid() and source_name_is_valid() let through is short
 * ASCII without a slash, so it may go into paths, labels and messages as it is; every object has exactly
 * one path, and object_path_decode() takes no other spelling of it.
 */
#include "core/identifier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/strings.h"
#include "core/digest.h"

#define SOURCE_NAME_LENGTH_MAX 63

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_hex_digit(char c)
{
        return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Nothing but letters, digits and these; the first one a letter, or a digit where that is allowed. */
static bool is_name(const char *text, size_t n_max, const char *others, bool digit_first)
{
        size_t n = 0;

        if (!is_letter(text[0]) && !(digit_first && is_digit(text[0])))
                return false;
        for (; text[n] != '\0'; n++)
                if (n >= n_max ||
                    (!is_letter(text[n]) && !is_digit(text[n]) && !strchr(others, text[n])))
                        return false;
        return true;
}

/* Bare hex of a thumbprint's length is a thumbprint, never a name. */
static bool is_bare_thumbprint(const char *text)
{
        size_t n = 0;

        while (is_hex_digit(text[n]))
                n++;
        return text[n] == '\0' && (n == THUMBPRINT_SHA1_TEXT - 1 || n == THUMBPRINT_TEXT - 1);
}

bool identifier_is_valid(const char *text)
{
        return is_name(text, IDENTIFIER_LENGTH_MAX, "._-", true) && !is_bare_thumbprint(text);
}

bool source_name_is_valid(const char *text)
{
        return is_name(text, SOURCE_NAME_LENGTH_MAX, "_-", false);
}

static const struct {
        const char *word;
        const char *prefix; /* of its paths */
        bool (*name_is_valid)(const char *name);
} kinds[_OBJECT_KIND_N] = {
        [OBJECT_MANAGER] = { "manager", NULL, NULL },
        [OBJECT_CERTIFICATE] = { "certificate", OBJECT_ROOT "/certificate/", identifier_is_valid },
        [OBJECT_BACKEND] = { "backend", OBJECT_ROOT "/backend/", identifier_is_valid },
        [OBJECT_SOURCE] = { "source", OBJECT_ROOT "/source/", source_name_is_valid },
};

const char *object_kind_word(ObjectKind kind)
{
        return kinds[kind].word;
}

/* sd_bus_path_encode(3): each byte but letters, and digits that are not first, becomes _xx. */
static void label_encode(const char *name, char *out)
{
        if (*name == '\0')
                *out++ = '_';
        for (const char *p = name; *p != '\0'; p++) {
                if (is_letter(*p) || (p > name && is_digit(*p))) {
                        *out++ = *p;
                        continue;
                }
                *out++ = '_';
                hex_encode_lower((const uint8_t *)p, 1, out);
                out += 2;
        }
        *out = '\0';
}

void object_path_encode(ObjectKind kind, const char *name, char *ret_path)
{
        const char *prefix = kinds[kind].prefix;

        if (!prefix) {
                memcpy(ret_path, OBJECT_ROOT, sizeof(OBJECT_ROOT));
                return;
        }
        assert_always(strlen(name) <= IDENTIFIER_LENGTH_MAX);
        label_encode(name, mempcpy(ret_path, prefix, strlen(prefix)));
}

/* The reverse, for what fits a name; false for what label_encode() would not have written. */
static bool label_decode(const char *label, char ret_name[IDENTIFIER_LENGTH_MAX + 1])
{
        size_t n = 0;

        for (const char *p = label; *p != '\0'; p++) {
                if (n >= IDENTIFIER_LENGTH_MAX)
                        return false;
                if (*p != '_') {
                        ret_name[n++] = *p;
                        continue;
                }
                char pair[3] = { p[1], p[1] != '\0' ? p[2] : '\0', '\0' };
                if (hex_decode(pair, (uint8_t *)&ret_name[n], 1) < 0)
                        return false;
                n++;
                p += 2;
        }
        ret_name[n] = '\0';
        return true;
}

int object_path_decode(const char *path, ObjectKind *ret_kind, char *ret_name)
{
        char name[IDENTIFIER_LENGTH_MAX + 1], canonical[OBJECT_PATH_MAX];

        if (strcmp(path, OBJECT_ROOT) == 0) {
                *ret_kind = OBJECT_MANAGER;
                ret_name[0] = '\0';
                return 0;
        }
        for (ObjectKind kind = OBJECT_CERTIFICATE; kind < _OBJECT_KIND_N; kind++) {
                size_t n_prefix = strlen(kinds[kind].prefix);

                if (strncmp(path, kinds[kind].prefix, n_prefix) != 0)
                        continue;
                if (!label_decode(path + n_prefix, name) || !kinds[kind].name_is_valid(name))
                        return -ENOENT;
                object_path_encode(kind, name, canonical);
                if (strcmp(canonical, path) != 0)
                        return -ENOENT;
                *ret_kind = kind;
                memcpy(ret_name, name, sizeof(name));
                return 0;
        }
        return -ENOENT;
}

int object_not_found(Failure *failure, ObjectKind kind, const char *name)
{
        CLEANUP(freep) char *escaped = text_escape(name, strlen(name), IDENTIFIER_LENGTH_MAX);

        return fail(failure, CB_NOT_FOUND,
                    "%s '%s' was not found: it does not exist, or you may not read it; "
                    "'certbroker %s list' shows those that you may read",
                    object_kind_word(kind), string_or_empty(escaped), object_kind_word(kind));
}
