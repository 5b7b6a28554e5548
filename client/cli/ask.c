/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The questions that several verbs ask. Failures go into the Cli, as the library told them. Nothing
 * is printed here.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define PROPERTIES    "org.freedesktop.DBus.Properties"
#define PREFIX        "org.certbroker1."
#define PAGE          500
#define NAME_TEXT_MAX 128

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

/* ------------------------------------------------------------------ all of a kind */

void objects_deinit(Objects *objects)
{
        for (size_t i = 0; i < objects->n_replies; i++)
                cb_value_free(objects->replies[i]);
        free(objects->replies);
        free(objects->dicts);
}

/* Takes the reply, with room for n more dicts of it. */
static int keep_reply(Objects *objects, cb_value *reply, size_t n)
{
        cb_value **replies =
                reallocarray(objects->replies, objects->n_replies + 1, sizeof(*replies));
        const cb_value **dicts;

        if (!replies) {
                cb_value_free(reply);
                return -ENOMEM;
        }
        objects->replies = replies;
        objects->replies[objects->n_replies++] = reply;
        dicts = reallocarray(objects->dicts, objects->n_dicts + n + 1, sizeof(*dicts));
        if (!dicts)
                return -ENOMEM;
        objects->dicts = dicts;
        return 0;
}

static int add_certificates(Cli *cli, Objects *objects)
{
        const char *after = "";

        for (;;) {
                cb_value *reply = NULL;
                const cb_value *page;
                size_t n;
                int r;

                r = cb_call(cli->client,
                            &(cb_method){ .member = "ListCertificates", .repeatable = true },
                            &reply, &cli->error, "su", after, (uint32_t)PAGE);
                if (r)
                        return r;
                page = cb_value_at(reply, 0);
                n = cb_value_length(page);
                if (keep_reply(objects, reply, n))
                        return cli_out_of_memory(cli);
                for (size_t i = 0; i < n; i++)
                        objects->dicts[objects->n_dicts++] = cb_value_at(page, i);
                if (n < PAGE)
                        return 0;
                after = cb_value_string(cb_value_get(cb_value_at(page, n - 1), "Id"), "");
        }
}

/* The reverse of what cb_object_path() makes of a name; false: it would not have made that. */
static bool label_decode(const char *label, size_t n_label, char ret_name[NAME_TEXT_MAX])
{
        char name[NAME_TEXT_MAX];
        size_t n = 0;

        for (size_t i = 0; i < n_label; i++) {
                char hex[3] = "";

                if (n + 1 >= sizeof(name))
                        return false;
                name[n] = label[i];
                if (label[i] == '_') {
                        if (n_label - i < sizeof(hex))
                                return false;
                        (void)memcpy(hex, label + i + 1, 2);
                        if (strspn(hex, "0123456789abcdef") != 2)
                                return false;
                        name[n] = (char)strtoul(hex, NULL, 16);
                        i += 2;
                }
                n++;
        }
        name[n] = '\0';
        (void)memcpy(ret_name, name, n + 1);
        return true;
}

/* Introspect writes the children of a folder as <node name="LABEL"/>. */
int ask_names(Cli *cli, const char *kind, int (*on_name)(void *userdata, const char *name),
              void *userdata)
{
        static const char child[] = "<node name=\"";
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        char folder[64], name[NAME_TEXT_MAX];
        const char *label;
        int r;

        (void)snprintf(folder, sizeof(folder), "/org/certbroker1/%s", kind);
        r = cb_call(cli->client,
                    &(cb_method){ .path = folder,
                                  .interface = "org.freedesktop.DBus.Introspectable",
                                  .member = "Introspect",
                                  .repeatable = true },
                    &reply, &cli->error, "");
        label = r ? NULL : cb_value_string(cb_value_at(reply, 0), "");
        while (r == 0 && (label = strstr(label, child))) {
                label += strlen(child);
                if (label_decode(label, strcspn(label, "\""), name))
                        r = on_name(userdata, name);
        }
        return r;
}

static int count_name(void *userdata, const char *name)
{
        size_t *n = userdata;

        ++*n;
        return 0;
}

/*
 * Whoever sees sources watches over them; whoever sees nothing at all may have the one operation that is of
 * no object. A gateway, which sees its certificates and nothing else, has no use for an answer.
 */
bool ask_may_audit(Cli *cli)
{
        size_t n_sources = 0, n_others = 0;

        if (geteuid() == 0 || ask_names(cli, "source", count_name, &n_sources) != 0 || n_sources > 0)
                return true;
        return ask_names(cli, "certificate", count_name, &n_others) != 0 ||
               ask_names(cli, "backend", count_name, &n_others) != 0 || n_others == 0;
}

typedef struct Adding {
        Cli *cli;
        const char *kind;
        Objects *objects;
} Adding;

/* One that has gone since it was listed is none. */
static int add_object(void *userdata, const char *name)
{
        const Adding *adding = userdata;
        const cb_value *properties;
        cb_value *reply;
        int r;

        r = ask_properties(adding->cli, adding->kind, name, &reply, &properties);
        if (r == CB_NOT_FOUND)
                return 0;
        if (r)
                return r;
        if (keep_reply(adding->objects, reply, 1))
                return cli_out_of_memory(adding->cli);
        adding->objects->dicts[adding->objects->n_dicts++] = properties;
        return 0;
}

static int compare_names(const void *a, const void *b)
{
        const cb_value *const *x = a, *const *y = b;

        return strcmp(cb_value_string(cb_value_get(*x, "Name"), ""),
                      cb_value_string(cb_value_get(*y, "Name"), ""));
}

int ask_objects(Cli *cli, const char *kind, Objects *objects)
{
        Adding adding = { cli, kind, objects };
        int r;

        if (strcmp(kind, "certificate") == 0)
                return add_certificates(cli, objects);
        r = ask_names(cli, kind, add_object, &adding);
        if (r == 0 && objects->n_dicts > 0)
                qsort(objects->dicts, objects->n_dicts, sizeof(*objects->dicts), compare_names);
        return r;
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
