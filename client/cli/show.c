/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the broker's values reach people and programs: dicts of properties become rows, sheets or
 * JSON, by tables of fields. In JSON the properties have the names that they have on D-Bus, with
 * all of them there, whatever the tables for people leave out.
 */
#include "show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "text.h"
#include "waiting.h"
#include "written.h"

/* ------------------------------------------------------------------ JSON */

static json_t *json_bytes(const cb_bytes *bytes)
{
        unsigned char *text = malloc(4 * ((bytes->n + 2) / 3) + 1);
        json_t *json;

        if (!text)
                return NULL;
        (void)EVP_EncodeBlock(text, bytes->data, (int)bytes->n);
        json = json_string((const char *)text);
        free(text);
        return json;
}

static json_t *json_list(const cb_value *value)
{
        json_t *array = json_array();

        for (size_t i = 0; array && i < value->as.list.n; i++)
                if (json_array_append_new(array, show_json(&value->as.list.items[i]))) {
                        json_decref(array);
                        return NULL;
                }
        return array;
}

static json_t *json_dict(const cb_value *value)
{
        json_t *object = json_object();

        for (size_t i = 0; object && i < value->as.list.n; i++)
                if (json_object_set_new(object, value->as.list.keys[i],
                                        show_json(&value->as.list.items[i]))) {
                        json_decref(object);
                        return NULL;
                }
        return object;
}

json_t *show_json(const cb_value *value)
{
        if (!value)
                return json_null();
        switch (value->type) {
        case CB_TYPE_STRING:
                return json_string(value->as.string);
        case CB_TYPE_NUMBER:
                return json_integer((json_int_t)value->as.number);
        case CB_TYPE_INTEGER:
                return json_integer((json_int_t)value->as.integer);
        case CB_TYPE_DOUBLE:
                return json_real(value->as.real);
        case CB_TYPE_BOOLEAN:
                return json_boolean(value->as.boolean);
        case CB_TYPE_BYTES:
                return json_bytes(&value->as.bytes);
        case CB_TYPE_LIST:
                return json_list(value);
        case CB_TYPE_DICT:
                return json_dict(value);
        case CB_TYPE_FD:
        case _CB_TYPE_N:
                break;
        }
        return json_null();
}

int show_document(Cli *cli, json_t *json)
{
        CLEANUP(json_freep) json_t *document = json;

        if (!document)
                return cli_out_of_memory(cli);
        /* ASCII only: a label from a token shall not reach the terminal by this way either. */
        if (json_dumpf(document, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_ENCODE_ANY))
                return cli_fail(cli, -EIO, "The answer could not be written.");
        (void)putchar('\n');
        return 0;
}

/* ------------------------------------------------------------------ text */

static void format_list(const cb_value *list, FILE *to)
{
        for (size_t i = 0; i < cb_value_length(list); i++)
                (void)fprintf(to, "%s%s", i > 0 ? ", " : "",
                              cb_value_string(cb_value_at(list, i), "?"));
}

/* (generation, thumbprint, usable until): of one without a certificate the latter two are empty and 0. */
static void format_generation(const cb_value *generation, uint64_t current, FILE *to)
{
        uint64_t number = cb_value_number(cb_value_at(generation, 0), 0);
        const char *thumbprint = cb_value_string(cb_value_at(generation, 1), "");
        uint64_t until = cb_value_number(cb_value_at(generation, 2), 0);
        char text[TIME_TEXT_MAX];

        (void)fprintf(to, "%" PRIu64, number);
        if (number == current) {
                (void)fputs(" (current)", to);
        } else if (until != 0 && until <= (uint64_t)time(NULL)) {
                (void)fputs(" (ended)", to);
        } else if (waiting_is(generation, current)) {
                (void)fputs(" (waits for its NotBefore)", to);
        } else if (*thumbprint == '\0') {
                (void)fputs(" (pending)", to);
        } else {
                time_format(until, text);
                (void)fprintf(to, " (signs until %s)", text);
        }
}

static void format_generations(const cb_value *list, const cb_value *dict, FILE *to)
{
        uint64_t current = cb_value_number(cb_value_get(dict, "Generation"), 0);

        for (size_t i = 0; i < cb_value_length(list); i++) {
                if (i > 0)
                        (void)fputs(", ", to);
                format_generation(cb_value_at(list, i), current, to);
        }
}

/* A vault's certificate is looked up again, or it is pinned to a version; a token's is neither. */
static void format_refresh(uint64_t next, const cb_value *dict, FILE *to)
{
        bool active = strcmp(cb_value_string(cb_value_get(dict, "State"), ""), "active") == 0;
        bool remote = strncmp(cb_value_string(cb_value_get(dict, "KeyUri"), ""),
                              "https:", strlen("https:")) == 0;
        char text[TIME_TEXT_MAX];

        if (next == 0) {
                (void)fputs(remote && cb_value_number(cb_value_get(dict, "Generation"), 0) != 0
                                    ? "never (pinned to this version)"
                                    : "never",
                            to);
                return;
        }
        time_format(next, text);
        /* One that its source refuses, or a new one of, is looked up again as well: pinned, or a token's. */
        (void)fprintf(to, "%s%s", text, active && remote ? " (rotations are followed)" : "");
}

static void format_value(const Field *field, const cb_value *dict, FILE *to)
{
        const cb_value *value = cb_value_get(dict, field->property);
        uint64_t number = cb_value_number(value, 0);
        Format format = field->format;
        char text[TIME_TEXT_MAX];

        if (format == FORMAT_NEVER && number == 0) {
                (void)fputs("never", to);
        } else if (format == FORMAT_GENERATION && number == 0) {
                (void)fputs("none yet", to);
        } else if (format == FORMAT_TIME || format == FORMAT_NEVER) {
                time_format(number, text);
                (void)fputs(text, to);
        } else if (format == FORMAT_REFRESH) {
                format_refresh(number, dict, to);
        } else if (format == FORMAT_GENERATIONS) {
                format_generations(value, dict, to);
        } else if (value && value->type == CB_TYPE_STRING) {
                (void)fputs(value->as.string, to);
        } else if (value && value->type == CB_TYPE_BOOLEAN) {
                (void)fputs(value->as.boolean ? "yes" : "no", to);
        } else if (value && value->type == CB_TYPE_NUMBER) {
                (void)fprintf(to, "%" PRIu64, number);
        } else if (value && value->type == CB_TYPE_LIST) {
                format_list(value, to);
        }
}

static char *value_text(const Field *field, const cb_value *dict)
{
        CLEANUP(written_deinit) Written written;
        char *text = NULL;

        if (written_init(&written) != 0)
                return NULL;
        format_value(field, dict, written.to);
        return written_finish(&written, &text) == 0 ? text : NULL;
}

static size_t count_fields(const Field *fields)
{
        size_t n = 0;

        while (fields[n].title)
                n++;
        return n;
}

static int add_row(Table *table, const Field *fields, size_t n_fields, const cb_value *dict)
{
        char *cells[COLUMNS_MAX] = { 0 };
        int r = 0;

        for (size_t i = 0; i < n_fields && r == 0; i++) {
                cells[i] = value_text(&fields[i], dict);
                if (!cells[i])
                        r = -ENOMEM;
        }
        if (r == 0)
                r = table_add(table, (const char *const *)cells);
        for (size_t i = 0; i < n_fields; i++)
                free(cells[i]);
        return r;
}

static json_t *dicts_json(const cb_value *const *dicts, size_t n_dicts)
{
        json_t *array = json_array();

        for (size_t i = 0; array && i < n_dicts; i++)
                if (json_array_append_new(array, show_json(dicts[i]))) {
                        json_decref(array);
                        return NULL;
                }
        return array;
}

int show_list(Cli *cli, const Field *fields, const cb_value *const *dicts, size_t n_dicts)
{
        CLEANUP(table_freep) Table *table = NULL;
        const char *titles[COLUMNS_MAX];
        size_t n_fields = count_fields(fields);
        int r;

        if (cli->arguments->json)
                return show_document(cli, dicts_json(dicts, n_dicts));

        for (size_t i = 0; i < n_fields; i++)
                titles[i] = fields[i].title;
        r = table_new(titles, n_fields, &table);
        for (size_t i = 0; i < n_dicts && r == 0; i++)
                r = add_row(table, fields, n_fields, dicts[i]);
        if (r)
                return cli_out_of_memory(cli);
        table_print(table, stdout);
        return 0;
}

int show_objects(Cli *cli, const char *kind, const Field *fields)
{
        CLEANUP(objects_deinit) Objects objects = { 0 };
        int r = ask_objects(cli, kind, &objects);

        return r ? r : show_list(cli, fields, objects.dicts, objects.n_dicts);
}

static int add_line(Table *sheet, const Field *field, const cb_value *dict)
{
        char *text = value_text(field, dict);
        const char *cells[] = { field->title, text };
        int r;

        if (!text)
                return -ENOMEM;
        r = table_add(sheet, cells);
        free(text);
        return r;
}

static int add_lines(Table *sheet, const Field *field, const cb_value *dict)
{
        const cb_value *value = cb_value_get(dict, field->property);
        size_t n = cb_value_length(value);
        int r = 0;

        if (field->format != FORMAT_PLENTY || n < 2)
                return add_line(sheet, field, dict);
        for (size_t i = 0; i < n && r == 0; i++) {
                const char *cells[] = { i == 0 ? field->title : " ",
                                        cb_value_string(cb_value_at(value, i), "?") };

                r = table_add(sheet, cells);
        }
        return r;
}

int show_sheet(Cli *cli, const Field *fields, const cb_value *dict)
{
        CLEANUP(table_freep) Table *sheet = NULL;
        int r;

        if (cli->arguments->json)
                return show_document(cli, show_json(dict));

        r = table_new(NULL, 2, &sheet);
        for (const Field *field = fields; field->title && r == 0; field++)
                r = add_lines(sheet, field, dict);
        if (r)
                return cli_out_of_memory(cli);
        table_print(sheet, stdout);
        return 0;
}

int show_done(Cli *cli, const char *kind, const char *name, const char *format, ...)
{
        CLEANUP(free_text) char *text = NULL;
        CLEANUP(free_text) char *escaped = NULL;
        va_list list;

        va_start(list, format);
        text = text_format(format, list);
        va_end(list);
        if (!text)
                return cli_out_of_memory(cli);
        if (cli->arguments->json)
                return show_document(cli, json_pack("{s:s, s:s, s:s}", "kind", kind, "name", name,
                                                    "done", text));
        escaped = text_harmless(text);
        if (!escaped)
                return cli_out_of_memory(cli);
        (void)puts(escaped);
        return 0;
}
