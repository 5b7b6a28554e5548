/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of text, aligned: lists with a head, and sheets of a name and a value each line. */
#pragma once

#include <stddef.h>
#include <stdio.h>

#define COLUMNS_MAX 8

typedef struct Table Table;

/* titles NULL: a sheet, whose n_columns is 2. */
int table_new(const char *const *titles, size_t n_columns, Table **ret_table);
Table *table_free(Table *table);
/* A row of n_columns texts; they are escaped and copied; NULL and "" are shown as "-". */
int table_add(Table *table, const char *const *cells);
/* No line ends with blanks. */
void table_print(const Table *table, FILE *to);
