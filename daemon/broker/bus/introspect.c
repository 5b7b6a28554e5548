/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Introspect: the interfaces of a node, as text that was made from the XML at build time, and the
 * children that the caller may read. Labels are escaped object path labels: letters, digits and `_`,
 * which need no escaping in XML.
 */
#include "broker/bus/room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const doctype =
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
        " \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

/* A stream into memory does not remember what it had none for: each answer of it counts. */
static bool put_node(Bulk *bulk, const char *name)
{
        int n = fprintf(bulk->text, " <node name=\"%s\"/>\n", name);

        if (n > 0)
                bulk->size += (size_t)n;
        return n > 0;
}

static bool begin_text(Bulk *bulk)
{
        const Node *node = &bulk->call->node;
        bool whole;

        bulk->text = open_memstream(&bulk->written, &bulk->n_written);
        if (!bulk->text)
                return false;
        whole = fprintf(bulk->text, "%s<node>\n", doctype) > 0;
        for (size_t i = 0; i < _INTERFACE_N; i++) {
                if (node_has_interface(node, (InterfaceId)i))
                        whole &= fputs(interface_table[i].introspection, bulk->text) >= 0;
        }
        if (node->type == NODE_FOLDER && node->child) {
                whole &= put_node(bulk, node->child);
        } else if (node->type == NODE_OBJECT && node->kind == OBJECT_MANAGER) {
                for (ObjectKind kind = OBJECT_MANAGER + 1; kind < _OBJECT_KIND_N; kind++)
                        whole &= put_node(bulk, object_kind_word(kind));
        }
        return whole;
}

static bool add_child(Bulk *bulk, const Object *object)
{
        char path[OBJECT_PATH_MAX];

        object_path(object, path);
        return put_node(bulk, strrchr(path, '/') + 1);
}

static DBusMessage *new_text_answer(const Call *call, const char *text)
{
        DBusMessage *answer = call_new_answer(call);
        DBusMessageIter iter;

        if (!answer)
                return NULL;
        dbus_message_iter_init_append(answer, &iter);
        if (append_string(&iter, text))
                return answer;
        dbus_message_unref(answer);
        return NULL;
}

static DBusMessage *end_text(Bulk *bulk)
{
        bool whole;

        whole = fputs("</node>\n", bulk->text) >= 0;
        whole = fclose(TAKE(bulk->text)) == 0 && whole && bulk->written;
        bulk->size = 0; /* only the children's was looked at */
        return whole ? new_text_answer(bulk->call, bulk->written) : NULL;
}

void introspect(Call *call, DBusMessage *message)
{
        static const BulkForm form = { begin_text, add_child, end_text };
        const Node *node = &call->node;
        const bool has_children = node->type == NODE_FOLDER && !node->child;
        const ObjectCursor cursor = { .kind = node->kind, .last_kind = node->kind };

        bulk_answer(call, &form, &cursor, has_children ? SIZE_MAX : 0);
}
