/* SPDX-License-Identifier: Apache-2.0 */
/* Names of things: ids, object paths. Nothing here trusts its input. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/failure.h"

#define IDENTIFIER_LENGTH_MAX 127

/* An id of a certificate or a name of a backend, as the contract has it. */
bool identifier_is_valid(const char *text);
/* A name of a source or grant: a letter, then letters, digits, `_`, `-`; at most 63. */
bool source_name_is_valid(const char *text);

typedef enum ObjectKind {
        OBJECT_MANAGER, /* the root, /org/certbroker1 */
        OBJECT_CERTIFICATE,
        OBJECT_BACKEND,
        OBJECT_SOURCE,
        _OBJECT_KIND_N
} ObjectKind;

#define OBJECT_ROOT     "/org/certbroker1"
#define OBJECT_PATH_MAX 512

/* "certificate", "backend", "source"; "manager" for the root. */
const char *object_kind_word(ObjectKind kind);
/* ret_path holds OBJECT_PATH_MAX; the last label is escaped as sd_bus_path_encode(3) does. */
void object_path_encode(ObjectKind kind, const char *name, char *ret_path);
/* ret_name holds IDENTIFIER_LENGTH_MAX + 1. -ENOENT for whatever is not a path of ours. */
int object_path_decode(const char *path, ObjectKind *ret_kind, char *ret_name);

/*
 * CB_NOT_FOUND with the one sentence for what is not there and for what the caller may not read: nobody
 * may tell the two apart. `name` may be anything that a caller sent. Returns CB_NOT_FOUND.
 */
int object_not_found(Failure *failure, ObjectKind kind, const char *name);
