/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `broker` group: one row a setting. A file that is read later overrides setting by setting, so
 * each reading function replaces what is there.
 */
#include <errno.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "broker/config/parse.h"

#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_PER_DAY    (86400 * USEC_PER_SEC)

#define EXPIRY_WARNINGS_MAX 16

typedef struct BrokerRow BrokerRow;
struct BrokerRow {
        const char *name;
        int (*read)(Parse *parse, const config_setting_t *setting, const BrokerRow *row);
        size_t offset; /* in Config */
        uint64_t min, max;
};

static void *row_place(const Parse *parse, const BrokerRow *row)
{
        return (char *)parse->config + row->offset;
}

static int read_path(Parse *parse, const config_setting_t *setting, const BrokerRow *row)
{
        char **place = row_place(parse, row), *path;
        int r;

        r = parse_path(parse, setting, &path);
        if (r != 0)
                return r;
        free(*place);
        *place = path;
        return 0;
}

static int read_runtime_directory(Parse *parse, const config_setting_t *setting,
                                  const BrokerRow *row)
{
        int r = read_path(parse, setting, row);

        if (r == 0 && strlen(parse->config->runtime_directory) > CONFIG_RUNTIME_DIRECTORY_MAX)
                return parse_fail(parse, setting,
                                  "'runtime-directory' has more than %d bytes, and a socket's name "
                                  "must have room beside it",
                                  CONFIG_RUNTIME_DIRECTORY_MAX);
        return r;
}

static int read_bus(Parse *parse, const config_setting_t *setting, const BrokerRow *row)
{
        const char *text;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        if (!string_equal(text, "system") && !string_equal(text, "session") && !strchr(text, ':'))
                return parse_fail(parse, setting,
                                  "'bus' must be \"system\", \"session\" or a D-Bus address like "
                                  "\"unix:path=/run/bus\", not '%s'",
                                  text);
        return string_set(row_place(parse, row), text);
}

static int read_duration(Parse *parse, const config_setting_t *setting, const BrokerRow *row)
{
        return parse_duration(parse, setting, row->min, row->max, row_place(parse, row));
}

static int read_audit_sync(Parse *parse, const config_setting_t *setting, const BrokerRow *row)
{
        const char *text;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        if (!string_equal(text, "always"))
                return read_duration(parse, setting, row);
        parse->config->audit_sync_usec = 0;
        return 0;
}

static int read_audit_failure(Parse *parse, const config_setting_t *setting, const BrokerRow *row)
{
        static const char *const words[] = { "refuse", "continue", NULL };
        size_t index;
        int r;

        (void)row;
        r = parse_word(parse, setting, words, &index);
        if (r == 0)
                parse->config->audit_continue = index == 1;
        return r;
}

static int read_size(Parse *parse, const config_setting_t *setting, const BrokerRow *row)
{
        return parse_size(parse, setting, row->min, row->max, row_place(parse, row));
}

static int read_unsigned(Parse *parse, const config_setting_t *setting, const BrokerRow *row)
{
        unsigned *place = row_place(parse, row);
        uint64_t number;
        int r;

        r = parse_number(parse, setting, row->min, row->max, &number);
        if (r == 0)
                *place = (unsigned)number;
        return r;
}

static int read_verify(Parse *parse, const config_setting_t *setting, const BrokerRow *row)
{
        static const char *const words[_VERIFY_SIGNATURES_N + 1] = {
                [VERIFY_ALWAYS] = "always",
                [VERIFY_RSA] = "rsa",
                [VERIFY_NEVER] = "never",
        };
        size_t index;
        int r;

        (void)row;
        r = parse_word(parse, setting, words, &index);
        if (r == 0)
                parse->config->verify_signatures = (VerifySignatures)index;
        return r;
}

static int compare_descending(const void *a, const void *b)
{
        const uint64_t *x = a, *y = b;

        return (*x < *y) - (*x > *y);
}

static void set_expiry_warnings(Config *config, uint64_t *usec, size_t n)
{
        size_t n_unique = 0;

        qsort(usec, n, sizeof(*usec), compare_descending);
        for (size_t i = 0; i < n; i++) {
                if (n_unique == 0 || usec[n_unique - 1] != usec[i])
                        usec[n_unique++] = usec[i];
        }
        free(config->expiry_warnings_usec);
        config->expiry_warnings_usec = usec;
        config->n_expiry_warnings = n_unique;
}

static int read_expiry_warnings(Parse *parse, const config_setting_t *setting, const BrokerRow *row)
{
        bool one = config_setting_type(setting) == CONFIG_TYPE_STRING;
        int n = one ? 1 : config_setting_length(setting), r = 0;
        CLEANUP(freep) uint64_t *usec = NULL;

        if (!one && !config_setting_is_array(setting) && !config_setting_is_list(setting))
                return parse_fail(parse, setting,
                                  "'expiry-warnings' must be a duration, or a list of durations");
        if (n > EXPIRY_WARNINGS_MAX)
                return parse_fail(parse, setting, "'expiry-warnings' has more than %d members",
                                  EXPIRY_WARNINGS_MAX);
        usec = calloc((size_t)n + 1, sizeof(*usec));
        if (!usec)
                return -ENOMEM;
        for (int i = 0; r == 0 && i < n; i++)
                r = parse_duration(parse,
                                   one ? setting : config_setting_get_elem(setting, (unsigned)i),
                                   row->min, row->max, &usec[i]);
        if (r == 0)
                set_expiry_warnings(parse->config, TAKE(usec), (size_t)n);
        return r;
}

#define AT(member) offsetof(Config, member)

/* clang-format off */
static const BrokerRow rows[] = {
        { "state-directory",   read_path, AT(state_directory), 0, 0 },
        { "runtime-directory", read_runtime_directory, AT(runtime_directory), 0, 0 },
        { "bus",               read_bus, AT(bus), 0, 0 },
        { "audit-log",         read_path, AT(audit_log), 0, 0 },
        { "audit-sync",        read_audit_sync, AT(audit_sync_usec), USEC_PER_MSEC,
          USEC_PER_MINUTE },
        { "audit-failure",     read_audit_failure, 0, 0, 0 },
        { "audit-max-size",    read_size, AT(audit_max_size), 1024, UINT64_C(1) << 50 },
        { "rotation-grace",    read_duration, AT(rotation_grace_usec), 0, 3650 * USEC_PER_DAY },
        { "expiry-warnings",   read_expiry_warnings, 0, USEC_PER_SEC, 3650 * USEC_PER_DAY },
        { "max-in-flight-per-client", read_unsigned, AT(max_in_flight_per_client), 1, 65536 },
        { "request-timeout",   read_duration, AT(request_timeout_usec), 10 * USEC_PER_MSEC,
          10 * USEC_PER_MINUTE },
        { "verify-signatures", read_verify, 0, 0, 0 },
};
/* clang-format on */

static int unknown(Parse *parse, const config_setting_t *setting)
{
        CLEANUP(strv_freep) char **known = NULL;
        int r = 0;

        for (size_t i = 0; r == 0 && i < ELEMENTSOF(rows); i++)
                r = strv_append(&known, rows[i].name);
        return r == 0 ? parse_unknown(parse, setting, "group 'broker'", known) : r;
}

static const BrokerRow *find_row(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                if (string_equal(rows[i].name, name))
                        return &rows[i];
        }
        return NULL;
}

int parse_broker(Parse *parse, const config_setting_t *group)
{
        int n = config_setting_length(group);

        for (int i = 0; i < n; i++) {
                const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
                const BrokerRow *row = find_row(config_setting_name(setting));
                int r;

                r = row ? row->read(parse, setting, row) : unknown(parse, setting);
                if (r != 0)
                        return r;
        }
        return 0;
}
