/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the broker, shown: as JSON, as a list, as a sheet. */
#pragma once

#include <jansson.h>

#include "cli.h"
#include "table.h"

DEFINE_CLEANUP(Table *, table_free)
static inline void json_freep(json_t **json)
{
        json_decref(*json);
}

typedef enum Format {
        FORMAT_TEXT,        /* strings as they are, lists with commas, yes and no, numbers */
        FORMAT_TIME,        /* Unix time */
        FORMAT_NEVER,       /* Unix time, 0: never */
        FORMAT_PLENTY,      /* of a list: each in a line of its own (in a sheet) */
        FORMAT_GENERATION,  /* a number, 0: none yet */
        FORMAT_GENERATIONS, /* of a certificate, as what follows */
        FORMAT_REFRESH,     /* Unix time, 0: never, and what that says of rotations */
} Format;

/* A column of a list or a line of a sheet: which property, under which title. Ends with NULL. */
typedef struct Field {
        const char *title, *property;
        Format format;
} Field;

/* As JSON: an fd is null, bytes are base64. NULL: memory. */
json_t *show_json(const cb_value *value);
/* One document on standard output; takes json; NULL is -ENOMEM. */
int show_document(Cli *cli, json_t *json);

/* Dicts as rows; or with --json as an array of objects. */
int show_list(Cli *cli, const Field *fields, const cb_value *const *dicts, size_t n_dicts);
/* All of a kind that may be read, as show_list(). */
int show_objects(Cli *cli, const char *kind, const Field *fields);
/* One dict, a line for each field; or with --json as an object with all that is in it. */
int show_sheet(Cli *cli, const Field *fields, const cb_value *dict);

/* One line on standard output; with --json `{ "object": …, "done": … }` instead. */
int show_done(Cli *cli, const char *kind, const char *name, const char *format, ...) PRINTF(4, 5);
