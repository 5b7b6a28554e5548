/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing and judging of challenges. Invariant: nothing in a challenge chooses where a token is asked
 * for: authority and tenant are the configuration's, and one that names others is refused.
 */
#include "source/azure-key-vault/challenge.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"
#include "source/azure-key-vault/address.h"

#define VALUE_MAX 1024
#define SHOWN_MAX 120

void challenge_deinit(Challenge *challenge)
{
        free(challenge->authority);
        free(challenge->resource);
        free(challenge->tenant);
        *challenge = (Challenge){ 0 };
}

static const char *skip(const char *p, const char *characters)
{
        return p + strspn(p, characters);
}

/* name=value or name="value" (RFC 9110, 11.2). NULL: no more, or nothing that can be read. */
static const char *next_parameter(const char *p, char name[64], char value[VALUE_MAX])
{
        size_t n;

        p = skip(p, ", \t");
        n = strcspn(p, "= \t,\"");
        if (n == 0 || n >= 64 || p[n] != '=')
                return NULL;
        memcpy(name, p, n);
        name[n] = '\0';
        p += n + 1;
        if (*p == '"') {
                p++;
                n = strcspn(p, "\"\\");
                if (p[n] != '"' || n >= VALUE_MAX)
                        return NULL;
                memcpy(value, p, n);
                value[n] = '\0';
                return p + n + 1;
        }
        n = strcspn(p, ", \t");
        if (n >= VALUE_MAX)
                return NULL;
        memcpy(value, p, n);
        value[n] = '\0';
        return p + n;
}

static int take_parameter(Challenge *challenge, const char *name, const char *value)
{
        static const char scope_end[] = "/.default";
        size_t n = strlen(value), n_end = sizeof(scope_end) - 1;

        if (strcasecmp(name, "authorization") == 0 || strcasecmp(name, "authorization_uri") == 0)
                return string_set(&challenge->authority, value);
        if (strcasecmp(name, "resource") != 0 && strcasecmp(name, "scope") != 0)
                return 0;
        if (n > n_end && strcmp(value + n - n_end, scope_end) == 0)
                n -= n_end;
        free(challenge->resource);
        challenge->resource = strndup(value, n);
        return challenge->resource ? 0 : -ENOMEM;
}

static int take_tenant(Challenge *challenge)
{
        const char *p = strstr(challenge->authority, "://");

        p = p ? strchr(p + 3, '/') : NULL;
        if (!p || !p[1])
                return 0;
        challenge->tenant = strndup(p + 1, strcspn(p + 1, "/?#"));
        return challenge->tenant ? 0 : -ENOMEM;
}

/* What follows the scheme, at the beginning of the line or after another challenge's comma. */
static const char *find_bearer(const char *line)
{
        bool quoted = false, begins = true;

        for (const char *p = line; *p; p++) {
                if (begins && !quoted && strncasecmp(p, "Bearer", 6) == 0 &&
                    (p[6] == ' ' || p[6] == '\t'))
                        return p + 6;
                if (*p == '"')
                        quoted = !quoted;
                if (*p != ' ' && *p != '\t')
                        begins = *p == ',' && !quoted;
        }
        return NULL;
}

static int parse_line(const char *line, Challenge *challenge)
{
        const char *bearer = find_bearer(line);
        char name[64], value[VALUE_MAX];
        int r = 0;

        if (!bearer)
                return -EINVAL;
        for (const char *p = bearer; r == 0 && (p = next_parameter(p, name, value));)
                r = take_parameter(challenge, name, value);
        if (r == 0 && challenge->authority)
                r = take_tenant(challenge);
        return r;
}

int challenge_parse(const char *header, Challenge *ret_challenge, Failure *failure)
{
        CLEANUP(challenge_deinit) Challenge challenge = { 0 };
        const char *line = string_or_empty(header);
        int r = -EINVAL;

        while (*line && r == -EINVAL) {
                CLEANUP(freep) char *one = strndup(line, strcspn(line, "\n"));

                if (!one)
                        return -ENOMEM;
                line = skip(line + strlen(one), "\n");
                r = parse_line(one, &challenge);
        }
        if (r == -ENOMEM)
                return r;
        if (r < 0 || !challenge.resource || !*challenge.resource)
                return fail(failure, CB_SOURCE_DENIED,
                            "the vault refuses us, with a challenge that cannot be read; is it a "
                            "key vault?");
        *ret_challenge = challenge;
        challenge = (Challenge){ 0 };
        return 0;
}

static bool same_resource(const char *a, const char *b)
{
        size_t n_a = strlen(a), n_b = strlen(b);

        n_a -= n_a > 0 && a[n_a - 1] == '/';
        n_b -= n_b > 0 && b[n_b - 1] == '/';
        return n_a == n_b && strncasecmp(a, b, n_a) == 0;
}

/* A tenant may be configured by a name of its domain; the challenge has its number. */
static bool is_number(const char *tenant)
{
        return strlen(tenant) == 36 && strspn(tenant, "0123456789abcdefABCDEF-") == 36;
}

int challenge_verify(const Challenge *challenge, const char *host, const char *resource,
                     const char *tenant, Failure *failure)
{
        CLEANUP(freep) char *shown = NULL;

        shown = text_escape(challenge->resource, strlen(challenge->resource), SHOWN_MAX);
        if (!(resource && same_resource(resource, challenge->resource)) &&
            !resource_covers(challenge->resource, host))
                return fail(failure, CB_SOURCE_DENIED,
                            "the vault's challenge asks for a token for '%s', to which %s does not "
                            "belong: no token is sent; check the source's uri and resource",
                            string_or_empty(shown), host);
        if (challenge->authority && strncasecmp(challenge->authority, "https://", 8) != 0)
                return fail(failure, CB_SOURCE_DENIED,
                            "the vault's challenge names an authority that is not https: no token "
                            "is sent");
        if (tenant && challenge->tenant && is_number(tenant) &&
            strcasecmp(tenant, challenge->tenant) != 0) {
                freep(&shown);
                shown = text_escape(challenge->tenant, strlen(challenge->tenant), SHOWN_MAX);
                return fail(failure, CB_SOURCE_DENIED,
                            "the vault belongs to tenant '%s', and this source's tenant-id is "
                            "'%s': no token is sent",
                            string_or_empty(shown), tenant);
        }
        return 0;
}
