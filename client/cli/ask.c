/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The questions that several verbs ask. Failures go into the Cli, as the library told them. Nothing
 * is printed here.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli.h"

#define PROPERTIES     "org.freedesktop.DBus.Properties"
#define OBJECT_MANAGER "org.freedesktop.DBus.ObjectManager"
#define PREFIX         "org.certbroker1."

static const struct {
        const char *kind, *interface;
} kinds[] = {
        { "certificate", PREFIX "Certificate" },
        { "backend", PREFIX "Backend" },
        { "source", PREFIX "Source" },
};

static const char *kind_interface(const char *kind)
{
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strcmp(kinds[i].kind, kind) == 0)
                        return kinds[i].interface;
        return PREFIX "Manager";
}

static int object_path(Cli *cli, const char *kind, const char *name, char **ret_path)
{
        int r = cb_object_path(kind, name, ret_path);

        if (r == CB_INVALID_ARGUMENT)
                return cli_fail(cli, r, "A name of a %s has 1 to 127 characters.", kind);
        return r ? cli_out_of_memory(cli) : 0;
}

static int get_all(Cli *cli, const char *path, const char *interface, cb_value **ret_reply,
                   const cb_value **ret_properties)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        int r;

        r = cb_call(cli->client,
                    &(cb_method){ .path = path,
                                  .interface = PROPERTIES,
                                  .member = "GetAll",
                                  .repeatable = true },
                    &reply, &cli->error, "s", interface);
        if (r)
                return r;
        *ret_properties = cb_value_at(reply, 0);
        *ret_reply = TAKE(reply);
        return 0;
}

int ask_properties(Cli *cli, const char *kind, const char *name, cb_value **ret_reply,
                   const cb_value **ret_properties)
{
        CLEANUP(free_text) char *path = NULL;
        int r;

        r = object_path(cli, kind, name, &path);
        return r ? r : get_all(cli, path, kind_interface(kind), ret_reply, ret_properties);
}

int ask_certificate(Cli *cli, const char *selector, cb_value **ret_reply,
                    const cb_value **ret_properties)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        int r;

        r = cb_call(cli->client, &(cb_method){ .member = "GetCertificate", .repeatable = true },
                    &reply, &cli->error, "s", selector);
        if (r)
                return r;
        return get_all(cli, cb_value_string(cb_value_at(reply, 0), "/"), PREFIX "Certificate",
                       ret_reply, ret_properties);
}

int ask_objects(Cli *cli, cb_value **ret_reply, const cb_value **ret_objects)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        int r;

        r = cb_call(cli->client,
                    &(cb_method){ .interface = OBJECT_MANAGER,
                                  .member = "GetManagedObjects",
                                  .repeatable = true },
                    &reply, &cli->error, "");
        if (r)
                return r;
        *ret_objects = cb_value_at(reply, 0);
        *ret_reply = TAKE(reply);
        return 0;
}

const cb_value *object_properties(const cb_value *object, const char *interface)
{
        for (size_t i = 0; i < cb_value_length(object); i++)
                if (strncmp(object->as.list.keys[i], PREFIX, strlen(PREFIX)) == 0 &&
                    strcmp(object->as.list.keys[i] + strlen(PREFIX), interface) == 0)
                        return cb_value_at(object, i);
        return NULL;
}

int ask_object(Cli *cli, const char *kind, const char *name, const char *member,
               cb_value **ret_reply, const char *signature, ...)
{
        CLEANUP(free_text) char *path = NULL;
        va_list list;
        int r;

        r = object_path(cli, kind, name, &path);
        if (r)
                return r;
        va_start(list, signature);
        r = cb_call_v(
                cli->client,
                &(cb_method){ .path = path, .interface = kind_interface(kind), .member = member },
                ret_reply, &cli->error, signature, list);
        va_end(list);
        return r;
}
