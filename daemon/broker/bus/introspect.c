/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Introspect: the interfaces of a node, as text that was made from the XML at build time, and the
 * children that the caller may read. Labels are escaped object path labels: letters, digits and `_`,
 * which need no escaping in XML.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const doctype =
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
        " \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

static bool write_child(void *userdata, const Object *object)
{
        char path[OBJECT_PATH_MAX];
        FILE *out = userdata;

        object_path(object, path);
        return fprintf(out, " <node name=\"%s\"/>\n", strrchr(path, '/') + 1) > 0;
}

static void write_children(FILE *out, const Call *call)
{
        const Node *node = &call->node;

        if (node->type == NODE_FOLDER && node->child) {
                fprintf(out, " <node name=\"%s\"/>\n", node->child);
        } else if (node->type == NODE_FOLDER) {
                objects_visit(call->bus, call_subject(call), node->kind, write_child, out);
        } else if (node->kind == OBJECT_MANAGER) {
                for (ObjectKind kind = OBJECT_MANAGER + 1; kind < _OBJECT_KIND_N; kind++)
                        fprintf(out, " <node name=\"%s\"/>\n", object_kind_word(kind));
        }
}

static int write_node(const Call *call, char **ret_text)
{
        char *text = NULL;
        size_t n = 0;
        FILE *out;
        bool whole;

        out = open_memstream(&text, &n);
        if (!out)
                return -errno;
        fprintf(out, "%s<node>\n", doctype);
        for (size_t i = 0; i < _INTERFACE_N; i++) {
                if (node_has_interface(&call->node, (InterfaceId)i))
                        fputs(interface_table[i].introspection, out);
        }
        write_children(out, call);
        fputs("</node>\n", out);
        whole = !ferror(out);
        if (fclose(out) != 0 || !whole) {
                free(text);
                return -ENOMEM;
        }
        *ret_text = text;
        return 0;
}

void introspect(Call *call, DBusMessage *message)
{
        CLEANUP(freep) char *text = NULL;
        Value value;

        if (write_node(call, &text) < 0) {
                call_fail_memory(call);
                return;
        }
        value = value_string(text);
        call_answer_value(call, &value);
}
