/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of text. Every cell is escaped when it is added, so nothing that is printed by way of a
 * table can do harm to a terminal. The widths are those of the widest cells; the last column is not
 * padded.
 */
#include "table.h"

#include <errno.h>
#include <stdlib.h>

#include "macro.h"
#include "text.h"

struct Table {
        size_t n_columns, n_rows;
        size_t widths[COLUMNS_MAX];
        char **cells; /* row by row */
};

static int add_cell(Table *table, size_t column, const char *text)
{
        char **cell = &table->cells[table->n_rows * table->n_columns + column];
        size_t width;

        *cell = text_harmless(text && *text ? text : "-");
        if (!*cell)
                return -ENOMEM;
        width = text_width(*cell);
        if (width > table->widths[column])
                table->widths[column] = width;
        return 0;
}

int table_add(Table *table, const char *const *cells)
{
        size_t n = (table->n_rows + 1) * table->n_columns;
        char **more = reallocarray(table->cells, n, sizeof(*more));
        int r;

        if (!more)
                return -ENOMEM;
        table->cells = more;
        for (size_t i = 0; i < table->n_columns; i++) {
                r = add_cell(table, i, cells[i]);
                if (r) {
                        while (i > 0)
                                free(table->cells[n - table->n_columns + --i]);
                        return r;
                }
        }
        table->n_rows++;
        return 0;
}

int table_new(const char *const *titles, size_t n_columns, Table **ret_table)
{
        Table *table = calloc(1, sizeof(*table));
        int r = 0;

        if (!table)
                return -ENOMEM;
        table->n_columns = n_columns;
        if (titles)
                r = table_add(table, titles);
        if (r)
                table_free(table);
        else
                *ret_table = table;
        return r;
}

Table *table_free(Table *table)
{
        if (table) {
                for (size_t i = 0; i < table->n_rows * table->n_columns; i++)
                        free(table->cells[i]);
                free(table->cells);
                free(table);
        }
        return NULL;
}

void table_print(const Table *table, FILE *to)
{
        for (size_t row = 0; row < table->n_rows; row++)
                for (size_t column = 0; column < table->n_columns; column++) {
                        const char *cell = table->cells[row * table->n_columns + column];

                        (void)fputs(cell, to);
                        if (column + 1 == table->n_columns)
                                (void)fputc('\n', to);
                        else
                                (void)fprintf(to, "%*s",
                                              (int)(table->widths[column] - text_width(cell)) + 2,
                                              "");
                }
}
