/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a URI says that its key is: the token of a pkcs11: URI (RFC 7512), the host of a vault's
 * identifier. A source that is somewhere else for certain need not be asked, so that one which is away does
 * not hide what another says. In doubt it is asked: only a source knows what it serves.
 */
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define HOST_PREFIX "https://"
#define TOKEN_MAX   128

/* The value of `token`, percent-decoded; false: it is not said, or cannot be read. */
static bool token_of(const char *uri, char ret_token[TOKEN_MAX])
{
        static const char name[] = "token=";
        size_t n_path = strcspn(uri, "?"), n = 0;
        const char *p = strchr(uri, ':');

        while (p && p < uri + n_path && strncmp(p + 1, name, strlen(name)) != 0)
                p = strpbrk(p + 1, ";?");
        if (!p || p >= uri + n_path)
                return false;
        for (p += 1 + strlen(name); *p && !strchr(";?", *p); p++) {
                char pair[3] = { 0 };

                if (n == TOKEN_MAX - 1)
                        return false;
                ret_token[n] = *p;
                if (*p == '%') {
                        memcpy(pair, p + 1, strnlen(p + 1, 2));
                        if (hex_decode(pair, (uint8_t *)&ret_token[n], 1) < 0)
                                return false;
                        p += 2;
                }
                n++;
        }
        ret_token[n] = '\0';
        return true;
}

static bool is_other_token(const char *a, const char *b)
{
        char token_a[TOKEN_MAX], token_b[TOKEN_MAX];

        return token_of(a, token_a) && token_of(b, token_b) && strcmp(token_a, token_b) != 0;
}

/* Without the port, which may be there or not where it is the usual one. */
static bool is_other_host(const char *a, const char *b)
{
        size_t n_prefix = strlen(HOST_PREFIX), n_a, n_b;

        if (strncasecmp(a, HOST_PREFIX, n_prefix) != 0 ||
            strncasecmp(b, HOST_PREFIX, n_prefix) != 0)
                return false;
        a += n_prefix;
        b += n_prefix;
        n_a = strcspn(a, ":/?#");
        n_b = strcspn(b, ":/?#");
        return n_a != n_b || strncasecmp(a, b, n_a) != 0;
}

bool place_is_other(const char *source_uri, const char *uri)
{
        return is_other_token(source_uri, uri) || is_other_host(source_uri, uri);
}
