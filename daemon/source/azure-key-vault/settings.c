/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of a vault. What is not configured comes from the vault's host name, where the clouds have
 * one authority and one resource each, and, for workload identity, from the variables that its webhook
 * sets. Nothing else is taken from the environment here.
 */
#include "source/azure-key-vault/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "source/driver.h"

static const char *const auth_words[_AUTH_KIND_N] = {
        [AUTH_MANAGED_IDENTITY] = "managed-identity",
        [AUTH_WORKLOAD_IDENTITY] = "workload-identity",
        [AUTH_CLIENT_SECRET] = "client-secret",
        [AUTH_CLIENT_CERTIFICATE] = "client-certificate",
};

static const struct {
        const char *suffix, *resource, *authority;
} clouds[] = {
        { ".vault.azure.net", "https://vault.azure.net", "https://login.microsoftonline.com" },
        { ".vault.azure.cn", "https://vault.azure.cn", "https://login.chinacloudapi.cn" },
        { ".vault.usgovcloudapi.net", "https://vault.usgovcloudapi.net",
          "https://login.microsoftonline.us" },
};

static size_t cloud_of(const char *host)
{
        size_t n = strlen(host), i;

        for (i = 0; i < ELEMENTSOF(clouds); i++) {
                size_t n_suffix = strlen(clouds[i].suffix);

                if (n > n_suffix && strcmp(host + n - n_suffix, clouds[i].suffix) == 0)
                        return i;
        }
        return i;
}

static int take(char *const *pairs, const char *key, const char *fallback, char **place)
{
        const char *value = driver_setting(pairs, key);

        return string_set(place, value ? value : fallback);
}

static int read_auth(const char *word, AuthKind *ret_auth, Failure *failure)
{
        for (AuthKind auth = 0; auth < _AUTH_KIND_N; auth++)
                if (word && strcmp(auth_words[auth], word) == 0) {
                        *ret_auth = auth;
                        return 0;
                }
        return fail(failure, CB_INVALID_ARGUMENT, "'auth' must be one of the four kinds, not '%s'",
                    string_or_empty(word));
}

static int read_texts(char *const *pairs, Settings *settings)
{
        bool workload = settings->auth == AUTH_WORKLOAD_IDENTITY;
        const struct {
                const char *key, *fallback;
                char **place;
        } rows[] = {
                { "name", "", &settings->name },
                { "client-id", workload ? getenv("AZURE_CLIENT_ID") : NULL, &settings->client_id },
                { "tenant-id", workload ? getenv("AZURE_TENANT_ID") : NULL, &settings->tenant_id },
                { "token-file", workload ? getenv("AZURE_FEDERATED_TOKEN_FILE") : NULL,
                  &settings->token_file },
                { "client-secret-file", NULL, &settings->secret_file },
                { "certificate", NULL, &settings->certificate },
                { "ca-file", NULL, &settings->ca_file },
                { "proxy", NULL, &settings->proxy },
                { "api-version", "7.4", &settings->api_version },
        };
        int r = 0;

        for (size_t i = 0; r == 0 && i < ELEMENTSOF(rows); i++)
                r = take(pairs, rows[i].key, rows[i].fallback, rows[i].place);
        return r;
}

static int read_resource(char *const *pairs, Settings *settings, size_t cloud, Failure *failure)
{
        const char *given = driver_setting(pairs, "resource");
        size_t n;

        settings->resource_is_given = given;
        if (!given && cloud == ELEMENTSOF(clouds))
                return 0;
        if (given && strncmp(given, "https://", 8) != 0)
                return fail(failure, CB_INVALID_ARGUMENT, "'resource' must begin with https://");
        if (!given)
                return string_set(&settings->resource, clouds[cloud].resource);
        n = strlen(given);
        settings->resource = strndup(given, n - (given[n - 1] == '/'));
        return settings->resource ? 0 : -ENOMEM;
}

static int read_addresses(char *const *pairs, Settings *settings, Failure *failure)
{
        const char *authority = driver_setting(pairs, "authority");
        const char *imds = driver_setting(pairs, "imds-endpoint");
        size_t cloud;
        int r;

        r = address_parse(string_or_empty(driver_setting(pairs, "uri")), "the vault's uri", false,
                          &settings->vault, failure);
        if (r != 0)
                return r;
        cloud = cloud_of(settings->vault.host);
        if (!authority && settings->auth == AUTH_WORKLOAD_IDENTITY)
                authority = getenv("AZURE_AUTHORITY_HOST");
        if (!authority)
                authority = clouds[cloud == ELEMENTSOF(clouds) ? 0 : cloud].authority;
        r = address_parse(authority, "the authority", false, &settings->authority, failure);
        if (r == 0)
                r = address_parse(imds ? imds : "http://169.254.169.254", "imds-endpoint", true,
                                  &settings->imds, failure);
        return r == 0 ? read_resource(pairs, settings, cloud, failure) : r;
}

/* Ids go into paths and forms: they are of the characters that such ids have. */
static bool is_id(const char *text)
{
        return *text && strlen(text) <= 128 &&
               text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                 "0123456789-._")] == '\0';
}

static int check(const Settings *settings, Failure *failure)
{
        bool entra = settings->auth != AUTH_MANAGED_IDENTITY;

        if ((settings->client_id && !is_id(settings->client_id)) ||
            (settings->tenant_id && !is_id(settings->tenant_id)))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "'client-id' and 'tenant-id' are of letters, digits, '-', '.' and '_'");
        if (!is_id(settings->api_version))
                return fail(failure, CB_INVALID_ARGUMENT, "'api-version' is like 7.4");
        if (entra && (!settings->client_id || !settings->tenant_id))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "auth = \"%s\" needs 'client-id' and 'tenant-id'",
                            auth_words[settings->auth]);
        if (settings->auth == AUTH_WORKLOAD_IDENTITY && !settings->token_file)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "auth = \"workload-identity\" needs 'token-file', or the variable "
                            "AZURE_FEDERATED_TOKEN_FILE");
        if (settings->auth == AUTH_CLIENT_SECRET && !settings->secret_file)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "auth = \"client-secret\" needs 'client-secret-file'");
        if (settings->auth == AUTH_CLIENT_CERTIFICATE && !settings->certificate)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "auth = \"client-certificate\" needs 'certificate'");
        return 0;
}

int settings_read(char *const *pairs, Settings *ret_settings, Failure *failure)
{
        Settings settings = { 0 }; /* for as long as the process lives */
        const char *refresh = driver_setting(pairs, "refresh");
        int r;

        r = read_auth(driver_setting(pairs, "auth"), &settings.auth, failure);
        if (r == 0)
                r = read_texts(pairs, &settings);
        if (r == 0)
                r = read_addresses(pairs, &settings, failure);
        if (r == 0)
                r = check(&settings, failure);
        settings.refresh_usec = strtoull(refresh ? refresh : "14400000000", NULL, 10);
        settings.local = string_equal(driver_setting(pairs, "signing"), "local");
        *ret_settings = settings;
        return r;
}
