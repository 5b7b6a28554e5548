/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `--check-config --json`: the configuration as certbrokerd understands it, for tools that must not have a
 * second opinion on its format: `certbroker policy list`, `backup` and `audit`. It prints what was loaded and
 * knows no default of its own.
 */
#include "broker/print.h"

#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "broker/audit/tail.h"

static void set_text(json_t *object, const char *key, const char *text)
{
        json_object_set_new(object, key, text ? json_string(text) : json_null());
}

static void set_number(json_t *object, const char *key, uint64_t number)
{
        json_object_set_new(object, key, json_integer((json_int_t)number));
}

static json_t *list_of(char *const *texts)
{
        json_t *list = json_array();

        for (; texts && *texts; texts++)
                json_array_append_new(list, json_string(*texts));
        return list;
}

static json_t *operations_of(unsigned operations)
{
        /* The widest first: a word that another one implies is not said. */
        static const struct {
                unsigned bit, implied_by;
        } rows[] = {
                { OPERATION_READ, ~(unsigned)(OPERATION_READ | OPERATION_AUDIT) },
                { OPERATION_TLS, OPERATION_SIGN },
                { OPERATION_SIGN, 0 },
                { OPERATION_DECRYPT, 0 },
                { OPERATION_EXPORT, 0 },
                { OPERATION_MANAGE, 0 },
                { OPERATION_AUDIT, 0 },
        };
        json_t *list = json_array();

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if ((operations & rows[i].bit) && !(operations & rows[i].implied_by))
                        json_array_append_new(list, json_string(operation_name(rows[i].bit)));
        return list;
}

static json_t *algorithms_of(uint32_t algorithms)
{
        json_t *list = json_array();

        for (Algorithm a = ALGORITHM_NONE + 1; a < _ALGORITHM_N; a++)
                if (algorithms & ALGORITHM_BIT(a))
                        json_array_append_new(list, json_string(algorithm_name(a)));
        return list;
}

static void set_who(json_t *json, const Grant *grant)
{
        if (grant->has_user) {
                const struct passwd *user = getpwuid(grant->uid);

                set_text(json, "user", user ? user->pw_name : NULL);
                set_number(json, "uid", grant->uid);
        }
        if (grant->has_group) {
                const struct group *group = getgrgid(grant->gid);

                set_text(json, "group", group ? group->gr_name : NULL);
                set_number(json, "gid", grant->gid);
        }
        if (grant->unit)
                set_text(json, "unit", grant->unit);
        if (grant->label)
                set_text(json, "label", grant->label);
}

static json_t *grant_json(const Grant *grant)
{
        json_t *json = json_object();

        set_text(json, "name", grant->name);
        set_who(json, grant);
        json_object_set_new(json, "allow", operations_of(grant->operations));
        json_object_set_new(json, "certificate", list_of(grant->certificates));
        json_object_set_new(json, "backend", list_of(grant->backends));
        json_object_set_new(json, "source", list_of(grant->sources));
        if (grant->algorithms)
                json_object_set_new(json, "algorithm", algorithms_of(grant->algorithms));
        if (grant->rate_per_sec) {
                set_number(json, "rate", grant->rate_per_sec);
                set_number(json, "burst", grant->burst);
        }
        return json;
}

static json_t *source_json(const SourceConfig *source)
{
        json_t *json = json_object();

        set_text(json, "name", source->name);
        set_text(json, "driver", source->driver);
        json_object_set_new(json, "settings", list_of(source->settings));
        return json;
}

static json_t *grants_json(const Config *config)
{
        json_t *grants = json_array();

        for (size_t i = 0; i < config->grants->n; i++)
                json_array_append_new(grants, grant_json(config->grants->items[i]));
        return grants;
}

int config_hash_grants(const Config *config, char ret_hash[THUMBPRINT_TEXT])
{
        json_t *grants = grants_json(config);
        CLEANUP(freep) char *text = grants ? json_dumps(grants, JSON_COMPACT) : NULL;

        json_decref(grants);
        return text ? audit_hash_line(text, strlen(text), ret_hash) : -ENOMEM;
}

static json_t *config_json(const Config *config)
{
        json_t *json = json_object(), *sources = json_array();
        char hash[THUMBPRINT_TEXT];

        set_text(json, "state-directory", config->state_directory);
        set_text(json, "runtime-directory", config->runtime_directory);
        set_text(json, "bus", config->bus);
        set_text(json, "audit-log", config->audit_log);
        for (size_t i = 0; i < config->n_sources; i++)
                json_array_append_new(sources, source_json(config->sources[i]));
        json_object_set_new(json, "source", sources);
        json_object_set_new(json, "grant", grants_json(config));
        set_text(json, "grants-sha256", config_hash_grants(config, hash) == 0 ? hash : NULL);
        json_object_set_new(json, "warnings", list_of(config->warnings));
        return json;
}

int config_print(const Config *config, FILE *to)
{
        json_t *json = config_json(config);
        int r = json ? json_dumpf(json, to, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : -1;

        json_decref(json);
        if (r < 0)
                return -ENOMEM;
        return fputc('\n', to) == EOF || fflush(to) == EOF ? -EIO : 0;
}
