/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One source of the `source` group: a table of settings for each driver, checked here for spelling,
 * type and bounds, and handed on as text. What a setting does is the driver's business, in another
 * process.
 */
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "broker/config/parse.h"
#include "core/identifier.h"

#define SOURCES_MAX 256

#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_PER_DAY    (86400 * USEC_PER_SEC)

typedef struct SourceRow SourceRow;
struct SourceRow {
        const char *name;
        int (*read)(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                    char **ret_value);
        const char *fallback; /* NULL: none */
        bool required;
        uint64_t min, max;
        const char *const *words;
};

typedef struct DriverRow {
        const char *name;
        const SourceRow *rows; /* ends with a NULL name */
        int (*check)(Parse *parse, const config_setting_t *group, const SourceConfig *source);
} DriverRow;

static int read_text(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                     char **ret_value)
{
        const char *text;
        int r;

        (void)row;
        r = parse_text(parse, setting, &text);
        return r == 0 ? string_set(ret_value, text) : r;
}

/* A file whose content decides what is loaded or believed. */
static int read_trusted(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                        char **ret_value)
{
        int r;

        (void)row;
        r = parse_path(parse, setting, ret_value);
        return r == 0 ? parse_trusted(parse, setting, *ret_value, TRUSTED_FILE) : r;
}

static int read_secret(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                       char **ret_value)
{
        int r;

        (void)row;
        r = parse_credential_path(parse, setting, ret_value);
        return r == 0 ? parse_trusted(parse, setting, *ret_value, TRUSTED_SECRET) : r;
}

/* A token for an hour, which kubelet writes readable for all of a container. */
static int read_passing(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                        char **ret_value)
{
        int r;

        (void)row;
        r = parse_credential_path(parse, setting, ret_value);
        return r == 0 ? parse_trusted(parse, setting, *ret_value, TRUSTED_FILE) : r;
}

static int print_number(uint64_t number, char **ret_value)
{
        return asprintf(ret_value, "%" PRIu64, number) < 0 ? -ENOMEM : 0;
}

static int read_number(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                       char **ret_value)
{
        uint64_t number;
        int r;

        r = parse_number(parse, setting, row->min, row->max, &number);
        return r == 0 ? print_number(number, ret_value) : r;
}

static int read_duration(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                         char **ret_value)
{
        uint64_t usec;
        int r;

        r = parse_duration(parse, setting, row->min, row->max, &usec);
        return r == 0 ? print_number(usec, ret_value) : r;
}

static int read_boolean(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                        char **ret_value)
{
        (void)row;
        if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
                return parse_fail(parse, setting, "'%s' must be true or false, without quotes",
                                  config_setting_name(setting));
        return string_set(ret_value, config_setting_get_bool(setting) ? "true" : "false");
}

static int read_word(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                     char **ret_value)
{
        size_t index;
        int r;

        r = parse_word(parse, setting, row->words, &index);
        return r == 0 ? string_set(ret_value, row->words[index]) : r;
}

static int read_token_uri(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                          char **ret_value)
{
        (void)row;
        return parse_token_uri(parse, setting, ret_value);
}

static int read_url(Parse *parse, const config_setting_t *setting, const char *const *schemes,
                    char **ret_value)
{
        CLEANUP(strv_freep) char **known = NULL;
        const char *text;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        for (size_t i = 0; schemes[i]; i++) {
                size_t n = strlen(schemes[i]);

                if (strncasecmp(text, schemes[i], n) == 0 && text[n] != '\0' && text[n] != '/' &&
                    !strpbrk(text, " @#\\"))
                        return asprintf(ret_value, "%s%s", schemes[i], text + n) < 0 ? -ENOMEM : 0;
        }
        if (strchr(text, '@')) /* what is before it may be a password: it is not repeated */
                return parse_fail(parse, setting,
                                  "'%s' must be a URL without credentials: they are not taken "
                                  "here, nor is a proxy that wants some",
                                  config_setting_name(setting));
        return parse_fail(
                parse, setting,
                "'%s' must be a URL like \"%shost\", without credentials or blanks, not '%s'",
                config_setting_name(setting), schemes[0], text);
}

static int read_https(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                      char **ret_value)
{
        static const char *const schemes[] = { "https://", NULL };

        (void)row;
        return read_url(parse, setting, schemes, ret_value);
}

static int read_http(Parse *parse, const config_setting_t *setting, const SourceRow *row,
                     char **ret_value)
{
        static const char *const schemes[] = { "http://", "https://", NULL };

        (void)row;
        return read_url(parse, setting, schemes, ret_value);
}

static const SourceRow pkcs11_rows[] = {
        { "uri", read_token_uri, .required = true },
        { "module", read_trusted },
        { "pin-file", read_secret },
        { "network", read_boolean, .fallback = "false" },
        { "sessions", read_number, .fallback = "8", .min = 1, .max = 64 },
        { 0 },
};

static const char *const auth_words[] = { "managed-identity", "workload-identity", "client-secret",
                                          "client-certificate", NULL };
static const char *const signing_words[] = { "remote", "local", NULL };

/* The fallbacks of durations are in microseconds, like what is read: 4 h, 7 d. */
static const SourceRow vault_rows[] = {
        { "uri", read_https, .required = true },
        { "auth", read_word, .fallback = "managed-identity", .words = auth_words },
        { "client-id", read_text },
        { "tenant-id", read_text },
        { "client-secret-file", read_secret },
        { "token-file", read_passing },
        { "authority", read_https },
        { "resource", read_text },
        { "certificate", read_text },
        { "refresh", read_duration, .fallback = "14400000000", .min = USEC_PER_SEC,
          .max = 365 * USEC_PER_DAY },
        { "max-stale", read_duration, .fallback = "604800000000", .min = 0,
          .max = 3650 * USEC_PER_DAY },
        { "signing", read_word, .fallback = "remote", .words = signing_words },
        { "ca-file", read_trusted },
        { "proxy", read_http },
        { "api-version", read_text, .fallback = "7.4" },
        { "imds-endpoint", read_http, .fallback = "http://169.254.169.254" },
        { 0 },
};

/* What each way to authenticate cannot do without; the rest may come from the environment. */
static int check_vault(Parse *parse, const config_setting_t *group, const SourceConfig *source)
{
        static const struct {
                const char *auth, *needs[4];
        } rows[] = {
                { "client-secret", { "client-id", "tenant-id", "client-secret-file", NULL } },
                { "client-certificate", { "client-id", "tenant-id", "certificate", NULL } },
        };
        const char *auth = source_config_get(source, "auth");

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                if (!string_equal(rows[i].auth, auth))
                        continue;
                for (size_t k = 0; rows[i].needs[k]; k++) {
                        if (!source_config_get(source, rows[i].needs[k]))
                                return parse_fail(parse, group,
                                                  "source '%s': auth = \"%s\" needs '%s'",
                                                  source->name, auth, rows[i].needs[k]);
                }
        }
        return 0;
}

static const DriverRow drivers[] = {
        { "pkcs11", pkcs11_rows, NULL },
        { "azure-key-vault", vault_rows, check_vault },
};

static const DriverRow *find_driver(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(drivers); i++) {
                if (strcmp(drivers[i].name, name) == 0)
                        return &drivers[i];
        }
        return NULL;
}

static int add_setting(SourceConfig *source, const char *key, const char *value)
{
        CLEANUP(freep) char *text = NULL;

        if (asprintf(&text, "%s=%s", key, value) < 0)
                return -ENOMEM;
        return strv_append(&source->settings, text);
}

static int unknown(Parse *parse, const config_setting_t *setting, const DriverRow *driver)
{
        CLEANUP(strv_freep) char **known = NULL;
        char where[64];
        int r;

        r = strv_append(&known, "driver");
        for (const SourceRow *row = driver->rows; r == 0 && row->name; row++)
                r = strv_append(&known, row->name);
        snprintf(where, sizeof(where), "a source of driver '%s'", driver->name);
        return r == 0 ? parse_unknown(parse, setting, where, known) : r;
}

static int check_spelling(Parse *parse, const config_setting_t *group, const DriverRow *driver)
{
        int n = config_setting_length(group);

        for (int i = 0; i < n; i++) {
                const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
                const char *name = config_setting_name(setting);
                const SourceRow *row = driver->rows;

                while (row->name && !string_equal(row->name, name))
                        row++;
                if (!row->name && !string_equal(name, "driver"))
                        return unknown(parse, setting, driver);
        }
        return 0;
}

static int read_row(Parse *parse, const config_setting_t *group, const SourceRow *row,
                    SourceConfig *source)
{
        const config_setting_t *setting = config_setting_get_member(group, row->name);
        CLEANUP(freep) char *value = NULL;
        int r;

        if (setting) {
                r = row->read(parse, setting, row, &value);
                return r == 0 ? add_setting(source, row->name, value) : r;
        }
        if (row->required)
                return parse_fail(parse, group, "source '%s' needs '%s'", source->name, row->name);
        return row->fallback ? add_setting(source, row->name, row->fallback) : 0;
}

static int read_driver(Parse *parse, const config_setting_t *group, SourceConfig *source,
                       const DriverRow **ret_driver)
{
        const config_setting_t *setting = config_setting_get_member(group, "driver");
        const char *name;
        int r;

        if (!setting)
                return parse_fail(parse, group, "source '%s' needs 'driver'", source->name);
        r = parse_text(parse, setting, &name);
        if (r != 0)
                return r;
        *ret_driver = find_driver(name);
        if (!*ret_driver)
                return parse_fail(parse, setting,
                                  "unknown driver '%s'; known are: pkcs11, azure-key-vault", name);
        return string_set(&source->driver, name);
}

static int source_take(Config *config, SourceConfig *source)
{
        SourceConfig **sources;

        sources = reallocarray(config->sources, config->n_sources + 1, sizeof(*sources));
        if (!sources)
                return -ENOMEM;
        config->sources = sources;
        config->sources[config->n_sources++] = source;
        return 0;
}

int parse_source(Parse *parse, const config_setting_t *group)
{
        CLEANUP(source_config_freep) SourceConfig *source = NULL;
        const char *name = string_or_empty(config_setting_name(group));
        const DriverRow *driver = NULL;
        int r;

        if (!config_setting_is_group(group))
                return parse_fail(parse, group, "source '%s' must be a group: { … }", name);
        if (!source_name_is_valid(name))
                return parse_fail(parse, group,
                                  "'%s' is no name for a source: a letter, then at most 62 of "
                                  "A-Z a-z 0-9 _ -",
                                  name);
        if (parse->config->n_sources >= SOURCES_MAX)
                return parse_fail(parse, group, "there are more than %d sources", SOURCES_MAX);

        source = calloc(1, sizeof(*source));
        if (!source)
                return -ENOMEM;
        r = string_set(&source->name, name);
        if (r == 0)
                r = read_driver(parse, group, source, &driver);
        if (r == 0)
                r = check_spelling(parse, group, driver);
        for (const SourceRow *row = driver ? driver->rows : NULL; r == 0 && row->name; row++)
                r = read_row(parse, group, row, source);
        if (r == 0 && driver->check)
                r = driver->check(parse, group, source);
        if (r == 0)
                r = source_take(parse->config, source);
        if (r == 0)
                source = NULL;
        return r;
}

static int compare_texts(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_sources(const void *a, const void *b)
{
        const SourceConfig *const *x = a, *const *y = b;

        return strcmp((*x)->name, (*y)->name);
}

int parse_finish_sources(Parse *parse)
{
        Config *config = parse->config;
        char timeout[32];
        int r;

        snprintf(timeout, sizeof(timeout), "%" PRIu64, config->request_timeout_usec);
        for (size_t i = 0; i < config->n_sources; i++) {
                SourceConfig *source = config->sources[i];

                r = add_setting(source, "state-directory", config->state_directory);
                if (r == 0)
                        r = add_setting(source, "runtime-directory", config->runtime_directory);
                if (r == 0)
                        r = add_setting(source, "audit-log", config->audit_log);
                if (r == 0 && config->credentials_directory)
                        r = add_setting(source, "credentials-directory",
                                        config->credentials_directory);
                if (r == 0)
                        r = add_setting(source, "request-timeout-usec", timeout);
                if (r < 0)
                        return r;
                qsort(source->settings, strv_length(source->settings), sizeof(*source->settings),
                      compare_texts);
        }
        if (config->n_sources > 0)
                qsort(config->sources, config->n_sources, sizeof(*config->sources),
                      compare_sources);
        return 0;
}

/* --- what others do with it --- */

const char *source_config_get(const SourceConfig *source, const char *key)
{
        size_t n = strlen(key);

        for (char **setting = source->settings; setting && *setting; setting++) {
                if (strncmp(*setting, key, n) == 0 && (*setting)[n] == '=')
                        return *setting + n + 1;
        }
        return NULL;
}

bool source_config_equal(const SourceConfig *a, const SourceConfig *b)
{
        return string_equal(a->name, b->name) && string_equal(a->driver, b->driver) &&
               strv_equal(a->settings, b->settings);
}

int source_config_copy(const SourceConfig *source, SourceConfig **ret_copy)
{
        CLEANUP(source_config_freep) SourceConfig *copy = NULL;
        int r;

        copy = calloc(1, sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        r = string_set(&copy->name, source->name);
        if (r == 0)
                r = string_set(&copy->driver, source->driver);
        if (r == 0)
                r = strv_copy(source->settings, &copy->settings);
        if (r < 0)
                return r;
        *ret_copy = TAKE(copy);
        return 0;
}

SourceConfig *source_config_free(SourceConfig *source)
{
        if (!source)
                return NULL;
        free(source->name);
        free(source->driver);
        strv_free(source->settings);
        free(source);
        return NULL;
}
