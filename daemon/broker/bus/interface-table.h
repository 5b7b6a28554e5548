/* SPDX-License-Identifier: Apache-2.0 */
/* The form of the tables that generate-interface.py makes (interface.h, interface.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Who may call a method: the words of the XML's org.certbroker1.Access. */
typedef enum AccessClass {
        ACCESS_ANY,
        ACCESS_READ,
        ACCESS_TLS,
        ACCESS_USE,
        ACCESS_DECRYPT,
        ACCESS_EXPORT,
        ACCESS_MANAGE,
        ACCESS_MANAGE_ALL,
        ACCESS_AUDIT,
        ACCESS_CREATE_CERTIFICATE,
        ACCESS_CREATE_IN_SOURCE,
        ACCESS_CREATE_BACKEND,
        _ACCESS_CLASS_N
} AccessClass;

typedef struct Method {
        const char *name;
        const char *in_signature;
        const char *out_signature;
        const char *in_names; /* "id, source": for the message of a wrong signature */
        AccessClass access;
} Method;

typedef struct Property {
        const char *name;
        const char *signature;
        bool writable;
        bool emits_changed;
        bool bulk; /* in GetAll, GetManagedObjects and signals */
} Property;

typedef struct Interface {
        const char *name;
        size_t first_method; /* in method_table */
        size_t n_methods;
        size_t first_property; /* in property_table */
        size_t n_properties;
        const char *introspection; /* an <interface> element */
} Interface;
