/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options: dictionaries of variants that callers send. What the table does not name is refused, so that a
 * misspelt option is not silently ignored. It knows no option by itself.
 */
#include "broker/bus/options.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <string.h>

#include "base/strings.h"

void values_deinit(Value *values, size_t n)
{
        for (size_t i = 0; i < n; i++)
                value_deinit(&values[i]);
}

static char *known_names(const Option *options, size_t n_options)
{
        CLEANUP(strv_freep) char **names = NULL;

        for (size_t i = 0; i < n_options; i++) {
                if (strv_append(&names, options[i].name) < 0)
                        return NULL;
        }
        return strv_join(names, ", ");
}

static int fail_unknown(const char *name, const Option *options, size_t n_options, Failure *failure)
{
        CLEANUP(freep) char *names = known_names(options, n_options);

        return fail(failure, CB_INVALID_ARGUMENT, "option '%.64s' is unknown; there are: %s", name,
                    string_or_empty(names));
}

static int read_one(DBusMessageIter *variant, const Option *option, Value *value, Failure *failure)
{
        int r;

        if (value->type != VALUE_NONE)
                return fail(failure, CB_INVALID_ARGUMENT, "option '%s' is given twice",
                            option->name);
        r = value_read(variant, option->signature, value);
        if (r == -EINVAL)
                return fail(failure, -EINVAL, "option '%s' must be of the type %s", option->name,
                            option->signature);
        if (r == -E2BIG)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "option '%s' is too long: a text has at most %d bytes, a list %d items",
                            option->name, VALUE_TEXT_MAX, VALUE_LIST_MAX);
        if (r < 0)
                return fail(failure, r, "no memory for option '%s'", option->name);
        return 0;
}

int options_read(DBusMessageIter *iter, const Option *options, size_t n_options, Value *values,
                 Failure *failure)
{
        DBusMessageIter dictionary, entry, variant;
        int r;

        memset(values, 0, n_options * sizeof(*values));
        dbus_message_iter_recurse(iter, &dictionary);
        for (; dbus_message_iter_get_arg_type(&dictionary) == DBUS_TYPE_DICT_ENTRY;
             dbus_message_iter_next(&dictionary)) {
                const char *name;
                size_t i = 0;

                dbus_message_iter_recurse(&dictionary, &entry);
                dbus_message_iter_get_basic(&entry, &name);
                dbus_message_iter_next(&entry);
                dbus_message_iter_recurse(&entry, &variant);

                while (i < n_options && strcmp(options[i].name, name) != 0)
                        i++;
                if (i == n_options)
                        return fail_unknown(name, options, n_options, failure);
                r = read_one(&variant, &options[i], &values[i], failure);
                if (r != 0)
                        return r;
        }
        return 0;
}
