/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing and judging of challenges. Invariant: nothing in a challenge chooses where a token is asked
 * for: authority and tenant are the configuration's, and one that names others is refused.
 * What is not of RFC 9110's grammar is no challenge.
 */
#include "source/azure-key-vault/challenge.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"
#include "source/azure-key-vault/address.h"
#include "source/azure-key-vault/json.h"

#define WORD_MAX  64
#define VALUE_MAX (8 * 1024) /* claims are long */
#define SHOWN_MAX 120

void challenge_deinit(Challenge *challenge)
{
        free(challenge->authority);
        free(challenge->resource);
        free(challenge->tenant);
        free(challenge->error);
        free(challenge->claims);
        *challenge = (Challenge){ 0 };
}

/* --- the grammar: RFC 9110, 5.6 and 11.2 to 11.6.1 --- */

static const char *skip(const char *p, const char *characters)
{
        return p + strspn(p, characters);
}

/* 5.6.2 */
static size_t token_length(const char *p)
{
        return strspn(p, "!#$%&'*+-.^_`|~0123456789"
                         "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
}

static bool is_end(const char *p)
{
        return *p == ',' || *p == '\0';
}

/* What follows a token68 (11.2), where that is what stands here; else NULL. */
static const char *skip_token68(const char *p)
{
        size_t n = strspn(p, "-._~+/0123456789"
                             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

        p = skip(p + n, "=");
        p = skip(p, " \t");
        return n > 0 && is_end(p) ? p : NULL;
}

/* 5.6.4, with its quoted pairs undone. p: after the first quote. NULL: it does not end. */
static const char *read_quoted(const char *p, char value[VALUE_MAX])
{
        size_t n = 0;

        for (; *p != '"'; p++) {
                if (*p == '\\')
                        p++;
                if (*p == '\0' || n + 1 >= VALUE_MAX)
                        return NULL;
                value[n++] = *p;
        }
        value[n] = '\0';
        return p + 1;
}

/* A token; URLs that should have been quoted are taken as well. */
static const char *read_unquoted(const char *p, char value[VALUE_MAX])
{
        size_t n = strcspn(p, ", \t\"");

        if (n >= VALUE_MAX)
                return NULL;
        memcpy(value, p, n);
        value[n] = '\0';
        return p + n;
}

/* A list's element: a scheme, or a parameter of the one before. */
typedef struct Element {
        bool is_scheme;
        char name[WORD_MAX], value[VALUE_MAX];
} Element;

/* What follows it; NULL: no more, or nothing that is of the grammar (*ret_bad). */
static const char *next_element(const char *p, Element *element, bool *ret_bad)
{
        const char *after, *token68;
        size_t n;

        p = skip(p, ", \t");
        n = token_length(p);
        *ret_bad = *p && (n == 0 || n >= WORD_MAX);
        if (*ret_bad || !*p)
                return NULL;
        memcpy(element->name, p, n);
        element->name[n] = '\0';
        after = skip(p + n, " \t");
        element->is_scheme = *after != '=';
        if (element->is_scheme) {
                token68 = after > p + n ? skip_token68(after) : NULL;
                *ret_bad = after == p + n && !is_end(after);
                return *ret_bad ? NULL : token68 ? token68 : after;
        }
        after = skip(after + 1, " \t");
        after = *after == '"' ? read_quoted(after + 1, element->value)
                              : read_unquoted(after, element->value);
        after = after ? skip(after, " \t") : NULL;
        *ret_bad = !after || !is_end(after);
        return *ret_bad ? NULL : after;
}

/* --- what is kept of it --- */

/* A parameter is there once (11.2): which of two should be believed? */
static int set_once(char **place, const char *value)
{
        return *place ? -EINVAL : string_set(place, value);
}

static int take_scope(char **place, const char *value)
{
        static const char end[] = "/.default";
        size_t n = strlen(value), n_end = sizeof(end) - 1;

        if (n > n_end && strcmp(value + n - n_end, end) == 0)
                n -= n_end;
        if (*place)
                return -EINVAL;
        *place = strndup(value, n);
        return *place ? 0 : -ENOMEM;
}

typedef struct Parsed {
        Challenge challenge;
        char *scope; /* says more exactly than a resource what is asked for */
} Parsed;

static int take_parameter(Parsed *parsed, const Element *element)
{
        Challenge *challenge = &parsed->challenge;
        const struct {
                const char *name;
                char **place;
                int (*take)(char **place, const char *value);
        } rows[] = {
                { "authorization", &challenge->authority, set_once },
                { "authorization_uri", &challenge->authority, set_once },
                { "resource", &challenge->resource, take_scope },
                { "scope", &parsed->scope, take_scope },
                { "error", &challenge->error, set_once },
                { "claims", &challenge->claims, set_once },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (strcasecmp(element->name, rows[i].name) == 0)
                        return rows[i].take(rows[i].place, element->value);
        return 0;
}

/* Of an application of several tenants: it is no tenant. */
static bool is_of_all(const char *tenant)
{
        static const char *const words[] = { "common", "organizations", "consumers" };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (strcasecmp(tenant, words[i]) == 0)
                        return true;
        return false;
}

static int take_tenant(Challenge *challenge)
{
        const char *p = strstr(challenge->authority, "://");

        p = p ? strchr(p + 3, '/') : NULL;
        if (!p || !p[1])
                return 0;
        challenge->tenant = strndup(p + 1, strcspn(p + 1, "/?#"));
        if (!challenge->tenant)
                return -ENOMEM;
        if (is_of_all(challenge->tenant))
                freep(&challenge->tenant);
        return 0;
}

/* The first that names a resource; else the first. */
static int keep(Challenge *best, bool *found, Parsed *parsed)
{
        Challenge *challenge = &parsed->challenge;
        int r = challenge->authority ? take_tenant(challenge) : 0;

        if (parsed->scope) {
                free(challenge->resource);
                challenge->resource = TAKE(parsed->scope);
        }
        if (challenge->resource && !*challenge->resource)
                freep(&challenge->resource);
        if (r == 0 && (!*found || (!best->resource && challenge->resource))) {
                challenge_deinit(best);
                *best = *challenge;
                *challenge = (Challenge){ 0 };
                *found = true;
        }
        return r;
}

static void parsed_deinit(Parsed *parsed)
{
        challenge_deinit(&parsed->challenge);
        freep(&parsed->scope);
}

/* One that is not of the grammar is left out, and what follows it, since it begins nowhere. */
static int parse_line(const char *line, Element *element, Challenge *best, bool *found)
{
        CLEANUP(parsed_deinit) Parsed parsed = { 0 };
        bool bearer = false, bad = false;
        int r = 0;

        for (const char *p = line; r == 0 && (p = next_element(p, element, &bad));) {
                if (!element->is_scheme) {
                        r = bearer ? take_parameter(&parsed, element) : 0;
                        continue;
                }
                if (bearer)
                        r = keep(best, found, &parsed);
                parsed_deinit(&parsed);
                bearer = strcasecmp(element->name, "Bearer") == 0;
        }
        if (r == 0 && bearer && !bad)
                r = keep(best, found, &parsed);
        return r == -EINVAL ? 0 : r;
}

int challenge_parse(const char *header, Challenge *ret_challenge, Failure *failure)
{
        CLEANUP(challenge_deinit) Challenge challenge = { 0 };
        CLEANUP(freep) Element *element = malloc(sizeof(*element));
        const char *line = string_or_empty(header);
        bool found = false;
        int r = element ? 0 : -ENOMEM;

        while (*line && r == 0) {
                CLEANUP(freep) char *one = strndup(line, strcspn(line, "\n"));

                if (!one)
                        return -ENOMEM;
                line = skip(line + strlen(one), "\n");
                r = parse_line(one, element, &challenge, &found);
        }
        if (r < 0)
                return r;
        if (!found)
                return fail(failure, CB_SOURCE_DENIED,
                            "the vault refuses us, with a challenge that cannot be read; is it a "
                            "key vault?");
        *ret_challenge = challenge;
        challenge = (Challenge){ 0 };
        return 0;
}

/* Only what is JSON goes on to the authority. */
int challenge_claims(const Challenge *challenge, char **ret_claims)
{
        CLEANUP(json_freep) json_t *root = NULL;
        CLEANUP(freep) uint8_t *data = NULL;
        size_t n = challenge->claims ? strlen(challenge->claims) : 0;
        Failure ignored = { 0 };

        if (n == 0)
                return 0;
        data = malloc(n);
        if (!data)
                return -ENOMEM;
        if (base64_decode(challenge->claims, n, !strpbrk(challenge->claims, "+/"), data, &n) < 0 ||
            json_read_object(data, n, "the claims", &root, &ignored) != 0)
                return 0;
        *ret_claims = json_dumps(root, JSON_COMPACT);
        return *ret_claims ? 0 : -ENOMEM;
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

        if (challenge->resource)
                shown = text_escape(challenge->resource, strlen(challenge->resource), SHOWN_MAX);
        if (challenge->resource && !(resource && same_resource(resource, challenge->resource)) &&
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
