/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and identifiers, taken apart by libcurl's own parser, so that what is checked is what is
 * asked. Invariant: an identifier that is handed out names an object of the configured vault, and holds
 * nothing but letters, digits and dashes: it can be put into a path as it is.
 */
#include "source/azure-key-vault/address.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"

#define URL_MAX   2048
#define SHOWN_MAX 200

static const char *const kind_words[_OBJECT_KIND_N] = {
        [OBJECT_CERTIFICATE] = "certificates",
        [OBJECT_KEY] = "keys",
        [OBJECT_SECRET] = "secrets",
};

typedef struct Parts {
        char *scheme, *user, *password, *host, *port, *path, *query, *fragment;
} Parts;

static void parts_deinit(Parts *parts)
{
        char **all[] = { &parts->scheme, &parts->user, &parts->password, &parts->host,
                         &parts->port,   &parts->path, &parts->query,    &parts->fragment };

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                curl_free(TAKE(*all[i]));
}

static void curlu_freep(CURLU **place)
{
        curl_url_cleanup(*place);
}

static int parts_read(const char *url, Parts *parts)
{
        CLEANUP(curlu_freep) CURLU *u = curl_url();

        if (!u)
                return -ENOMEM;
        if (strlen(url) > URL_MAX || !utf8_is_valid(url, strlen(url)) ||
            curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
                return -EINVAL;
        curl_url_get(u, CURLUPART_SCHEME, &parts->scheme, 0);
        curl_url_get(u, CURLUPART_USER, &parts->user, 0);
        curl_url_get(u, CURLUPART_PASSWORD, &parts->password, 0);
        curl_url_get(u, CURLUPART_HOST, &parts->host, 0);
        curl_url_get(u, CURLUPART_PORT, &parts->port, CURLU_NO_DEFAULT_PORT);
        curl_url_get(u, CURLUPART_PATH, &parts->path, 0);
        curl_url_get(u, CURLUPART_QUERY, &parts->query, 0);
        curl_url_get(u, CURLUPART_FRAGMENT, &parts->fragment, 0);
        return parts->scheme && parts->host && *parts->host ? 0 : -EINVAL;
}

/* What is wrong with it, as the end of a sentence; NULL: nothing. */
static const char *refuse_parts(const Parts *parts, bool plain)
{
        if (strcmp(parts->scheme, "https") != 0 && !(plain && strcmp(parts->scheme, "http") == 0))
                return "must begin with https://";
        if (parts->user || parts->password)
                return "must not have credentials in it";
        if (parts->query)
                return "must not have a query";
        if (parts->fragment)
                return "must not have a fragment";
        for (const char *p = parts->host; *p; p++)
                if (!isalnum((unsigned char)*p) && !strchr(".-:[]", *p))
                        return "has a host name that no vault has";
        return NULL;
}

static void lower(char *text)
{
        for (; *text; text++)
                *text = (char)tolower((unsigned char)*text);
}

void address_deinit(Address *address)
{
        free(address->origin);
        free(address->host);
        *address = (Address){ 0 };
}

static int origin_of(const Parts *parts, char **ret_origin)
{
        char *origin;
        int n;

        n = asprintf(&origin, "%s://%s%s%s", parts->scheme, parts->host, parts->port ? ":" : "",
                     string_or_empty(parts->port));
        if (n < 0)
                return -ENOMEM;
        lower(origin);
        *ret_origin = origin;
        return 0;
}

int address_parse(const char *url, const char *what, bool plain, Address *ret_address,
                  Failure *failure)
{
        CLEANUP(parts_deinit) Parts parts = { 0 };
        CLEANUP(address_deinit) Address address = { 0 };
        const char *why = NULL;
        int r = parts_read(url, &parts);

        if (r == -ENOMEM)
                return r;
        if (r < 0)
                why = "is no URL";
        if (!why)
                why = refuse_parts(&parts, plain);
        if (!why && parts.path && strcmp(parts.path, "/") != 0)
                why = "must not have a path";
        if (why)
                return fail(failure, CB_INVALID_ARGUMENT, "%s '%.*s' %s", what, SHOWN_MAX, url,
                            why);
        r = origin_of(&parts, &address.origin);
        if (r == 0)
                r = string_set(&address.host, parts.host);
        if (r < 0)
                return r;
        lower(address.host);
        *ret_address = address;
        address = (Address){ 0 };
        return 0;
}

/* --- identifiers --- */

static bool is_word(const char *text, size_t n, size_t n_max)
{
        if (n == 0 || n > n_max)
                return false;
        for (size_t i = 0; i < n; i++)
                if (!isascii(text[i]) || (!isalnum((unsigned char)text[i]) && text[i] != '-'))
                        return false;
        return true;
}

bool object_name_is_valid(const char *name)
{
        return is_word(name, strlen(name), OBJECT_NAME_MAX);
}

int object_name_of(const char *id, char ret_name[OBJECT_NAME_MAX + 1], Failure *failure)
{
        size_t n = strlen(id);

        if (n == 0 || n > OBJECT_NAME_MAX)
                return fail(failure, CB_INVALID_ARGUMENT, "a vault's names have 1 to %d characters",
                            OBJECT_NAME_MAX);
        for (size_t i = 0; i <= n; i++)
                ret_name[i] = strchr("._", id[i]) && id[i] ? '-' : id[i];
        if (!object_name_is_valid(ret_name))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "a vault's names are of letters, digits and dashes; choose another id");
        return 0;
}

static int take_kind(const char *word, size_t n, Identifier *identifier)
{
        for (ObjectKind kind = 0; kind < _OBJECT_KIND_N; kind++)
                if (strlen(kind_words[kind]) == n && strncasecmp(kind_words[kind], word, n) == 0) {
                        identifier->kind = kind;
                        return 0;
                }
        return CB_INVALID_ARGUMENT;
}

/* "/KIND/NAME[/VERSION]" → identifier; NULL, or what is wrong. */
static const char *take_path(const char *path, Identifier *identifier)
{
        const char *name, *version;
        size_t n;

        n = strcspn(path + 1, "/");
        if (*path != '/' || take_kind(path + 1, n, identifier) != 0 || path[1 + n] != '/')
                return "must have the path /certificates/NAME or /certificates/NAME/VERSION";
        name = path + 1 + n + 1;
        n = strcspn(name, "/");
        if (!is_word(name, n, OBJECT_NAME_MAX))
                return "has a name that no vault allows: 1 to 127 letters, digits and dashes";
        memcpy(identifier->name, name, n);
        version = name[n] == '/' ? name + n + 1 : "";
        n = strlen(version);
        if (n > 0 && !is_word(version, n, OBJECT_VERSION_MAX))
                return "has a version that no vault gives";
        memcpy(identifier->version, version, n);
        identifier->pending = identifier->kind == OBJECT_CERTIFICATE &&
                              strcasecmp(identifier->version, "pending") == 0;
        return NULL;
}

int identifier_parse(const Address *vault, const char *uri, Identifier *ret_identifier,
                     Failure *failure)
{
        CLEANUP(parts_deinit) Parts parts = { 0 };
        CLEANUP(freep) char *origin = NULL;
        Identifier identifier = { 0 };
        const char *why = NULL;
        int r = parts_read(uri, &parts);

        if (r == -ENOMEM)
                return r;
        if (r < 0)
                why = "is no URL";
        if (!why)
                why = refuse_parts(&parts, false);
        if (!why && origin_of(&parts, &origin) < 0)
                return -ENOMEM;
        if (!why && strcmp(origin, vault->origin) != 0)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "'%.*s' is not in this source's vault, which is %s", SHOWN_MAX, uri,
                            vault->origin);
        if (!why)
                why = take_path(string_or_empty(parts.path), &identifier);
        if (why)
                return fail(failure, CB_INVALID_ARGUMENT, "'%.*s' %s", SHOWN_MAX, uri, why);
        *ret_identifier = identifier;
        return 0;
}

bool identifier_has_name(const Address *vault, const char *uri, const char *name)
{
        Identifier identifier = { 0 };
        Failure ignored = { 0 };

        return identifier_parse(vault, uri, &identifier, &ignored) == 0 &&
               strcasecmp(identifier.name, name) == 0;
}

char *identifier_uri(const Address *vault, ObjectKind kind, const char *name, const char *version)
{
        char *uri;

        if (asprintf(&uri, "%s/%s/%s%s%s", vault->origin, kind_words[kind], name,
                     *version ? "/" : "", version) < 0)
                return NULL;
        return uri;
}

bool resource_covers(const char *resource, const char *host)
{
        CLEANUP(parts_deinit) Parts parts = { 0 };
        size_t n_host = strlen(host), n;

        if (parts_read(resource, &parts) < 0 || refuse_parts(&parts, false))
                return false;
        n = strlen(parts.host);
        if (n_host == n)
                return strcasecmp(host, parts.host) == 0;
        /* A single label, like "net", covers nothing: nobody has a vault's audience of that name. */
        return strchr(parts.host, '.') && n_host > n && host[n_host - n - 1] == '.' &&
               strcasecmp(host + n_host - n, parts.host) == 0;
}
