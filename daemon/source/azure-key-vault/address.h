/* SPDX-License-Identifier: Apache-2.0 */
/* Where a vault is, and the identifiers of what is in it: all that names anything is checked here. */
#pragma once

#include <stdbool.h>

#include "base/failure.h"

#define OBJECT_NAME_MAX    127
#define OBJECT_VERSION_MAX 64

/* "https://host[:port]": lower case, nothing after it. */
typedef struct Address {
        char *origin;
        char *host; /* without port */
} Address;

void address_deinit(Address *address);
/* what: the setting that it comes from, for the sentence. plain: http is allowed too. */
int address_parse(const char *url, const char *what, bool plain, Address *ret_address,
                  Failure *failure);

typedef enum ObjectKind {
        OBJECT_CERTIFICATE,
        OBJECT_KEY,
        OBJECT_SECRET,
        _OBJECT_KIND_N
} ObjectKind;

typedef struct Identifier {
        ObjectKind kind;
        char name[OBJECT_NAME_MAX + 1];
        char version[OBJECT_VERSION_MAX + 1]; /* "": none */
        bool pending; /* certificates/NAME/pending: a key without certificate */
} Identifier;

/*
 * What a person gave: CB_INVALID_ARGUMENT, with what is wrong, unless it is this vault's, https, without
 * credentials, query and fragment, and its name and version are what a vault allows.
 */
int identifier_parse(const Address *vault, const char *uri, Identifier *ret_identifier,
                     Failure *failure);
/* Owned; NULL: no memory. */
char *identifier_uri(const Address *vault, ObjectKind kind, const char *name, const char *version);

bool object_name_is_valid(const char *name);
/* Is this the identifier of an object of that name, whatever its kind and version? */
bool identifier_has_name(const Address *vault, const char *uri, const char *name);
/* The name in the vault of what is called `id` in the broker: `.` and `_` become `-`. */
int object_name_of(const char *id, char ret_name[OBJECT_NAME_MAX + 1], Failure *failure);

/*
 * May a token for `resource` (a URL) be sent to `host`? Only where the host is the resource's, or ends
 * with a dot and the resource's: evilvault.azure.net is not below vault.azure.net. https only.
 */
bool resource_covers(const char *resource, const char *host);
