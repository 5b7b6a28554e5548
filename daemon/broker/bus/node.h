/* SPDX-License-Identifier: Apache-2.0 */
/* Node: what an object path of a call means: one of our objects, or a folder on the way to one. Pure. */
#pragma once

#include <stdbool.h>

#include "broker/bus/interface.h"
#include "core/identifier.h"

typedef enum NodeType {
        NODE_FOREIGN, /* none of ours */
        NODE_FOLDER,  /* "/", "/org", and the parents of objects: they only have children */
        NODE_OBJECT,
} NodeType;

typedef struct Node {
        NodeType type;
        ObjectKind
                kind; /* NODE_FOLDER: of the children; OBJECT_MANAGER: just one step to the root */
        const char *child; /* NODE_FOLDER on the way to the root: the next label */
        char name[IDENTIFIER_LENGTH_MAX + 1];
} Node;

/* Never fails: a path that is none of ours is NODE_FOREIGN. It says nothing about whether the object exists. */
void node_parse(const char *path, Node *ret_node);

/* The interface of our own that objects of this kind have. */
InterfaceId node_own_interface(ObjectKind kind);
bool node_has_interface(const Node *node, InterfaceId interface);
