/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a URI says that its key is: the token of a pkcs11: URI (RFC 7512), the host of a vault's
 * identifier. A source that is somewhere else for certain need not be asked, so that one which is away does
 * not hide what another says. In doubt it is asked: only a source knows what it serves.
 */
#include <errno.h>
#include <stdio.h>
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

/* --- places of keys --- */

/* The host and the NAME of https://HOST/KIND/NAME/VERSION; false: it is of another form. */
typedef struct VaultPlace {
        const char *host, *name;
        size_t n_host, n_name;
} VaultPlace;

static bool vault_place(const char *uri, VaultPlace *ret_place)
{
        static const char port[] = ":443"; /* may be there or not */
        VaultPlace place = { 0 };
        const char *kind;

        if (strncasecmp(string_or_empty(uri), HOST_PREFIX, strlen(HOST_PREFIX)) != 0)
                return false;
        place.host = uri + strlen(HOST_PREFIX);
        kind = strchr(place.host, '/');
        place.name = kind ? strchr(kind + 1, '/') : NULL;
        if (!place.name)
                return false;
        place.n_host = (size_t)(kind - place.host);
        if (place.n_host > strlen(port) && strncmp(kind - strlen(port), port, strlen(port)) == 0)
                place.n_host -= strlen(port);
        place.name++;
        place.n_name = strcspn(place.name, "/");
        *ret_place = place;
        return true;
}

bool place_is_named(const char *uri)
{
        VaultPlace place;

        return vault_place(uri, &place);
}

bool place_is_same(const char *a, const char *b)
{
        VaultPlace x, y;

        if (!a || !b)
                return false;
        if (!vault_place(a, &x) || !vault_place(b, &y))
                return string_equal(a, b);
        return x.n_host == y.n_host && strncasecmp(x.host, y.host, x.n_host) == 0 &&
               x.n_name == y.n_name && strncasecmp(x.name, y.name, x.n_name) == 0;
}

/* The value of `id` as it stands in a pkcs11: URI; NULL: none, or not one of our length. */
static const char *mark_of(const char *uri)
{
        const char *p = uri ? strstr(uri, "id=") : NULL;

        while (p && (p == uri || !strchr(":;", p[-1])))
                p = strstr(p + 1, "id=");
        return p && strcspn(p + 3, ";?") == (size_t)3 * WIRE_MARK_LENGTH ? p + 3 : NULL;
}

bool place_has_same_mark(const char *a, const char *b)
{
        const char *x = mark_of(a), *y = mark_of(b);

        return x && y && strncasecmp(x, y, (size_t)3 * WIRE_MARK_LENGTH) == 0;
}

/* A key vault's names have neither `.` nor `_`: its driver writes both as `-`, so that ids may meet there. */
int place_of_new(const char *driver, const char *source_uri, const char *id, char **ret_uri)
{
        CLEANUP(freep) char *uri = NULL;
        size_t n_prefix = strlen(HOST_PREFIX);

        if (!string_equal(driver, "azure-key-vault") ||
            strncasecmp(string_or_empty(source_uri), HOST_PREFIX, n_prefix) != 0)
                return 0;
        if (asprintf(&uri, "%.*s/certificates/%s",
                     (int)(n_prefix + strcspn(source_uri + n_prefix, "/?#")), source_uri, id) < 0) {
                uri = NULL;
                return -ENOMEM;
        }
        for (char *p = uri + strlen(uri) - strlen(id); *p; p++) {
                if (*p == '.' || *p == '_')
                        *p = '-';
        }
        *ret_uri = TAKE(uri);
        return 0;
}
