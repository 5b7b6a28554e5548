/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed values out of libconfig's settings, and the messages about them. Everything that leaves
 * here is bounded and printable UTF-8, because it may be shown on D-Bus; every message says file
 * and line.
 */
#include "broker/config/parse.h"

#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strings.h"

void parse_place(const Parse *parse, const config_setting_t *setting, char *ret_place, size_t n)
{
        const char *file = setting ? config_setting_source_file(setting) : NULL;

        snprintf(ret_place, n, "%s:%u", file ?: parse->file,
                 setting ? config_setting_source_line(setting) : 0);
}

int parse_fail(Parse *parse, const config_setting_t *setting, const char *format, ...)
{
        char place[256], text[512];
        va_list args;

        parse_place(parse, setting, place, sizeof(place));
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        return fail(parse->failure, CB_INVALID_ARGUMENT, "%s: %s", place, text);
}

int parse_warn(Parse *parse, const config_setting_t *setting, const char *format, ...)
{
        char place[256], text[512], line[800];
        va_list args;

        parse_place(parse, setting, place, sizeof(place));
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        snprintf(line, sizeof(line), "%s: %s", place, text);
        return strv_append(&parse->config->warnings, line);
}

int parse_unknown(Parse *parse, const config_setting_t *setting, const char *where,
                  char *const *known)
{
        CLEANUP(freep) char *list = strv_join(known, ", ");

        return parse_fail(parse, setting, "unknown setting '%s' in %s; known are: %s",
                          string_or_empty(config_setting_name(setting)), where,
                          string_or_empty(list));
}

static const char *setting_name(const config_setting_t *setting)
{
        const config_setting_t *parent = config_setting_parent(setting);

        /* The members of a list have no names; the list has. */
        return config_setting_name(setting) ?: string_or_empty(config_setting_name(parent));
}

static bool text_is_plain(const char *text)
{
        if (!utf8_is_valid(text, strlen(text)))
                return false;
        for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
                if (*p < 0x20 || *p == 0x7f)
                        return false;
        }
        return true;
}

int parse_text(Parse *parse, const config_setting_t *setting, const char **ret_text)
{
        const char *text;

        if (config_setting_type(setting) != CONFIG_TYPE_STRING)
                return parse_fail(parse, setting, "'%s' must be a string in quotes",
                                  setting_name(setting));
        text = string_or_empty(config_setting_get_string(setting));
        if (*text == '\0')
                return parse_fail(parse, setting, "'%s' must not be empty", setting_name(setting));
        if (strlen(text) > PARSE_TEXT_MAX)
                return parse_fail(parse, setting, "'%s' is longer than %d characters",
                                  setting_name(setting), PARSE_TEXT_MAX);
        if (!text_is_plain(text))
                return parse_fail(parse, setting,
                                  "'%s' is not UTF-8, or has control characters in it",
                                  setting_name(setting));
        *ret_text = text;
        return 0;
}

static int parse_members(Parse *parse, const config_setting_t *list, char ***texts)
{
        int n = config_setting_length(list);

        if (n > PARSE_LIST_MAX)
                return parse_fail(parse, list, "'%s' has more than %d members", setting_name(list),
                                  PARSE_LIST_MAX);
        for (int i = 0; i < n; i++) {
                const char *text;
                int r;

                r = parse_text(parse, config_setting_get_elem(list, (unsigned)i), &text);
                if (r == 0)
                        r = strv_append(texts, text);
                if (r != 0)
                        return r;
        }
        return 0;
}

int parse_texts(Parse *parse, const config_setting_t *setting, char ***ret_texts)
{
        CLEANUP(strv_freep) char **texts = NULL;
        const char *text;
        int r;

        switch (config_setting_type(setting)) {
        case CONFIG_TYPE_STRING:
                r = parse_text(parse, setting, &text);
                if (r == 0)
                        r = strv_append(&texts, text);
                break;
        case CONFIG_TYPE_ARRAY:
        case CONFIG_TYPE_LIST:
                r = parse_members(parse, setting, &texts);
                break;
        default:
                r = parse_fail(parse, setting, "'%s' must be a string, or a list of strings",
                               setting_name(setting));
        }
        if (r != 0)
                return r;
        *ret_texts = TAKE(texts);
        return 0;
}

static int path_copy(const char *path, char **ret_path)
{
        char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
                copy[n - 1] = '\0';
        *ret_path = copy;
        return 0;
}

int parse_path(Parse *parse, const config_setting_t *setting, char **ret_path)
{
        const char *text;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        if (text[0] != '/')
                return parse_fail(parse, setting, "'%s' must be an absolute path, not '%s'",
                                  setting_name(setting), text);
        return path_copy(text, ret_path);
}

int parse_credential_path(Parse *parse, const config_setting_t *setting, char **ret_path)
{
        const char *text, *directory = parse->config->credentials_directory;
        char *path;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        if (text[0] == '/')
                return path_copy(text, ret_path);
        if (strchr(text, '/'))
                return parse_fail(parse, setting,
                                  "'%s' must be an absolute path, or the name of a credential "
                                  "without a slash, not '%s'",
                                  setting_name(setting), text);
        /* --check-config is run by people, outside of the unit; to them it says nothing. */
        if (!directory) {
                if (!parse->daemon)
                        r = parse_warn(parse, setting,
                                       "'%s' names the credential '%s', and $CREDENTIALS_DIRECTORY is "
                                       "not set: it is there when certbrokerd is started with "
                                       "LoadCredential=",
                                       setting_name(setting), text);
                if (r < 0)
                        return r;
                directory = "$CREDENTIALS_DIRECTORY";
        }
        if (asprintf(&path, "%s/%s", directory, text) < 0)
                return -ENOMEM;
        *ret_path = path;
        return 0;
}

typedef struct NamedFile {
        const char *file; /* where the setting is */
        const config_setting_t *setting;
        char *path;
        TrustedKind kind;
} NamedFile;

int parse_trusted(Parse *parse, const config_setting_t *setting, const char *path, TrustedKind kind)
{
        NamedFile *named;

        if (*path != '/') /* of a credential that is not here now */
                return 0;
        named = reallocarray(parse->named, parse->n_named + 1, sizeof(*named));
        if (!named)
                return -ENOMEM;
        parse->named = named;
        named += parse->n_named;
        *named = (NamedFile){ parse->file, setting, strdup(path), kind };
        if (!named->path)
                return -ENOMEM;
        parse->n_named++;
        return 0;
}

static int check_named(Parse *parse, const NamedFile *named)
{
        Failure why = { 0 };
        int r;

        parse->file = named->file;
        r = trusted_check(named->path, named->kind, parse->daemon, &why);
        if (r > 0)
                return parse_fail(parse, named->setting, "'%s': %s", setting_name(named->setting),
                                  why.text);
        if (r == -EACCES)
                return parse_warn(parse, named->setting,
                                  "'%s': %s cannot be looked at by user %u: %s",
                                  setting_name(named->setting), named->path, (unsigned)geteuid(),
                                  strerror(-r));
        return r == -ENOMEM ? r : 0;
}

int parse_check_trusted(Parse *parse)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < parse->n_named; i++)
                r = check_named(parse, &parse->named[i]);
        return r;
}

void parse_deinit(Parse *parse)
{
        for (size_t i = 0; i < parse->n_named; i++)
                free(parse->named[i].path);
        free(parse->named);
}

int parse_number(Parse *parse, const config_setting_t *setting, uint64_t min, uint64_t max,
                 uint64_t *ret_number)
{
        int type = config_setting_type(setting);
        long long number;

        if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
                return parse_fail(parse, setting, "'%s' must be a whole number without quotes",
                                  setting_name(setting));
        number = config_setting_get_int64(setting);
        if (number < 0 || (uint64_t)number < min || (uint64_t)number > max)
                return parse_fail(parse, setting,
                                  "'%s' must be from %" PRIu64 " to %" PRIu64 ", not %lld",
                                  setting_name(setting), min, max, number);
        *ret_number = (uint64_t)number;
        return 0;
}

/* The longest unit that gives a whole number: for messages. */
static void duration_format(uint64_t usec, char *ret_text, size_t n)
{
        static const struct {
                const char *unit;
                uint64_t usec;
        } units[] = {
                { "d", 86400 * USEC_PER_SEC }, { "h", 3600 * USEC_PER_SEC },
                { "m", 60 * USEC_PER_SEC },    { "s", USEC_PER_SEC },
                { "ms", USEC_PER_MSEC },
        };

        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                if (usec % units[i].usec == 0) {
                        snprintf(ret_text, n, "%" PRIu64 "%s", usec / units[i].usec, units[i].unit);
                        return;
                }
        }
        snprintf(ret_text, n, "%" PRIu64 "us", usec);
}

int parse_duration(Parse *parse, const config_setting_t *setting, uint64_t min, uint64_t max,
                   uint64_t *ret_usec)
{
        char min_text[32], max_text[32];
        const char *text;
        uint64_t usec;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        r = duration_parse(text, &usec);
        if (r == -EINVAL)
                return parse_fail(
                        parse, setting,
                        "'%s' must be a duration like \"500ms\", \"30s\", \"5m\", \"4h\" or "
                        "\"7d\", not '%s'",
                        setting_name(setting), text);
        if (r < 0 || usec < min || usec > max) {
                duration_format(min, min_text, sizeof(min_text));
                duration_format(max, max_text, sizeof(max_text));
                return parse_fail(parse, setting, "'%s' must be from %s to %s, not %s",
                                  setting_name(setting), min_text, max_text, text);
        }
        *ret_usec = usec;
        return 0;
}

/* 0 where the unit is none of ours. */
static uint64_t size_unit(const char *unit)
{
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };

        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                if (strcmp(unit, units[i]) == 0)
                        return UINT64_C(1) << (10 * i);
        }
        return 0;
}

int parse_size(Parse *parse, const config_setting_t *setting, uint64_t min, uint64_t max,
               uint64_t *ret_size)
{
        uint64_t number = 0, unit;
        const char *text, *p;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        /* Saturated far above every bound, far below an overflow. */
        for (p = text; *p >= '0' && *p <= '9'; p++)
                number = MIN(number * 10 + (uint64_t)(*p - '0'), UINT64_C(1) << 50);
        unit = size_unit(p);
        if (p == text || unit == 0)
                return parse_fail(
                        parse, setting,
                        "'%s' must be a size like \"512KiB\", \"64MiB\" or \"1GiB\", not '%s'",
                        setting_name(setting), text);
        if (number > max / unit || number * unit < min)
                return parse_fail(parse, setting,
                                  "'%s' must be from %" PRIu64 " to %" PRIu64 " bytes, not %s",
                                  setting_name(setting), min, max, text);
        *ret_size = number * unit;
        return 0;
}

int parse_word(Parse *parse, const config_setting_t *setting, const char *const *words,
               size_t *ret_index)
{
        CLEANUP(strv_freep) char **known = NULL;
        CLEANUP(freep) char *list = NULL;
        const char *text;
        int r;

        r = parse_text(parse, setting, &text);
        for (size_t i = 0; r == 0 && words[i]; i++) {
                if (strcmp(words[i], text) == 0) {
                        *ret_index = i;
                        return 0;
                }
                r = strv_append(&known, words[i]);
        }
        if (r != 0)
                return r;
        list = strv_join(known, ", ");
        return parse_fail(parse, setting, "'%s' must be one of %s, not '%s'", setting_name(setting),
                          string_or_empty(list), text);
}
