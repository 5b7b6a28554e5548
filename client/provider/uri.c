/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads `certbroker:` URIs. Ids and names are of letters, digits and `._-` alone, so nothing is ever
 * percent-encoded, and whatever else is there is refused rather than guessed at.
 */
#include "uri.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "macro.h"

static const char *const kinds[_URI_KIND_N] = {
        [URI_CERTIFICATE] = "certificate/",
        [URI_BACKEND] = "backend/",
};

static const char *skip(const char *text, const char *prefix)
{
        size_t n = strlen(prefix);

        return strncasecmp(text, prefix, n) == 0 ? text + n : NULL;
}

static bool is_alphanumeric(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static size_t name_length(const char *text)
{
        size_t n = 0;

        if (!is_alphanumeric(text[0]))
                return 0;

        while (is_alphanumeric(text[n]) || (text[n] != '\0' && strchr("._-", text[n])))
                n++;

        return n;
}

static int parse_generation(const char *text, uint64_t *ret_generation)
{
        uint64_t value = 0;

        if (text[0] < '1' || text[0] > '9')
                return -EINVAL;

        for (; *text; text++) {
                unsigned digit = (unsigned char)*text - '0';

                if (digit > 9 || __builtin_mul_overflow(value, UINT64_C(10), &value) ||
                    __builtin_add_overflow(value, (uint64_t)digit, &value))
                        return -EINVAL;
        }

        *ret_generation = value;
        return 0;
}

int uri_parse(const char *text, Uri *ret_uri)
{
        Uri uri = { .kind = _URI_KIND_N };
        const char *rest, *after;
        size_t n;

        text = skip(text, "certbroker:");
        if (!text)
                return -EINVAL;
        if (strncmp(text, "//", 2) == 0)
                text += 2;

        rest = NULL;
        for (size_t i = 0; i < ELEMENTSOF(kinds) && !rest; i++) {
                rest = skip(text, kinds[i]);
                uri.kind = (UriKind)i;
        }
        if (!rest)
                return -EINVAL;

        n = name_length(rest);
        if (n == 0 || n >= sizeof(uri.name))
                return -EINVAL;
        memcpy(uri.name, rest, n);

        rest += n;
        if (*rest != '\0') {
                after = uri.kind == URI_CERTIFICATE ? skip(rest, "?generation=") : NULL;
                if (!after || parse_generation(after, &uri.generation) != 0)
                        return -EINVAL;
        }

        *ret_uri = uri;
        return 0;
}
