/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of calls: the objects, which core/identifier.h decodes, and the folders above them, which tools
 * walk through by Introspect. Whether an object exists, or may be seen, is not known here.
 */
#include "broker/bus/node.h"

#include <string.h>

#include "base/macro.h"

static const struct {
        const char *path;
        ObjectKind kind;
        const char *child;
} folders[] = {
        { "/", OBJECT_MANAGER, "org" },
        { "/org", OBJECT_MANAGER, "certbroker1" },
        { OBJECT_ROOT "/certificate", OBJECT_CERTIFICATE, NULL },
        { OBJECT_ROOT "/backend", OBJECT_BACKEND, NULL },
        { OBJECT_ROOT "/source", OBJECT_SOURCE, NULL },
};

void node_parse(const char *path, Node *ret_node)
{
        *ret_node = (Node){ .type = NODE_FOREIGN };
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                if (strcmp(path, folders[i].path) == 0) {
                        ret_node->type = NODE_FOLDER;
                        ret_node->kind = folders[i].kind;
                        ret_node->child = folders[i].child;
                        return;
                }
        }
        if (object_path_decode(path, &ret_node->kind, ret_node->name) == 0)
                ret_node->type = NODE_OBJECT;
}

InterfaceId node_own_interface(ObjectKind kind)
{
        static const InterfaceId own[_OBJECT_KIND_N] = {
                [OBJECT_MANAGER] = INTERFACE_MANAGER,
                [OBJECT_CERTIFICATE] = INTERFACE_CERTIFICATE,
                [OBJECT_BACKEND] = INTERFACE_BACKEND,
                [OBJECT_SOURCE] = INTERFACE_SOURCE,
        };

        return own[kind];
}

bool node_has_interface(const Node *node, InterfaceId interface)
{
        switch (interface) {
        case INTERFACE_INTROSPECTABLE:
        case INTERFACE_PEER:
        case INTERFACE_PROPERTIES:
                return node->type != NODE_FOREIGN;
        case INTERFACE_OBJECT_MANAGER:
                return node->type == NODE_OBJECT && node->kind == OBJECT_MANAGER;
        case INTERFACE_MANAGER:
        case INTERFACE_CERTIFICATE:
        case INTERFACE_BACKEND:
        case INTERFACE_SOURCE:
                return node->type == NODE_OBJECT && node_own_interface(node->kind) == interface;
        case _INTERFACE_N:
                break;
        }
        return false;
}
