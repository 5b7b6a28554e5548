/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that came: first the header, then, if somebody wants them, the arguments as a tree of
 * cb_value. The bytes are the other end's and are not trusted: whatever does not fit the
 * specification, or is deeper than DEPTH_MAX, is -EBADMSG, and the link that it came by is of no
 * more use. Recursion goes down the levels of a message and stops at DEPTH_MAX.
 */
#include "incoming.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"
#include "value.h"

#define FIXED_HEADER_SIZE 16
#define FIELDS_SIZE_MAX   (64 * 1024)
#define DEPTH_MAX         8
#define OWN_BYTE_ORDER    (__BYTE_ORDER == __LITTLE_ENDIAN ? 'l' : 'B')

/* ------------------------------------------------------------------ the header */

static int read_fixed(const uint8_t *data, bool *ret_swapped, uint32_t *ret_body,
                      uint32_t *ret_fields)
{
        Reader reader = { .data = data, .at = 4, .end = FIXED_HEADER_SIZE };
        uint32_t serial;

        if ((data[0] != 'l' && data[0] != 'B') || data[1] == 0 || data[3] != 1)
                return -EBADMSG;
        *ret_swapped = reader.swapped = data[0] != OWN_BYTE_ORDER;
        if (reader_u32(&reader, ret_body) || reader_u32(&reader, &serial) ||
            reader_u32(&reader, ret_fields) || serial == 0)
                return -EBADMSG;
        if (*ret_body > INCOMING_SIZE_MAX || *ret_fields > FIELDS_SIZE_MAX)
                return -EBADMSG;
        return 0;
}

static size_t body_offset(uint32_t n_fields)
{
        return (FIXED_HEADER_SIZE + (size_t)n_fields + 7) / 8 * 8;
}

int incoming_size(const uint8_t *data, size_t n, size_t *ret_size)
{
        uint32_t n_body, n_fields;
        bool swapped;
        int r;

        if (n < FIXED_HEADER_SIZE)
                return -EAGAIN;
        r = read_fixed(data, &swapped, &n_body, &n_fields);
        if (r == 0)
                *ret_size = body_offset(n_fields) + n_body;
        return r;
}

/* Header fields by their number; 0: of no use here. */
static const char **field_place(Incoming *in, uint8_t field)
{
        switch (field) {
        case 1:
                return &in->path;
        case 2:
                return &in->interface;
        case 3:
                return &in->member;
        case 4:
                return &in->error_name;
        case 7:
                return &in->sender;
        case 8:
                return &in->signature;
        default:
                return NULL;
        }
}

static int read_field(Incoming *in, Reader *reader)
{
        const char *type, *text, **place;
        uint8_t field;
        uint32_t number;
        int r;

        r = reader_align(reader, 8);
        if (r == 0)
                r = reader_u8(reader, &field);
        if (r == 0)
                r = reader_signature(reader, &type);
        if (r)
                return r;

        if (strcmp(type, "u") == 0) {
                r = reader_u32(reader, &number);
                if (r == 0 && field == 5)
                        in->reply_serial = number;
                if (r == 0 && field == 9)
                        in->n_fds_told = number;
                return r;
        }
        if (strcmp(type, "s") == 0 || strcmp(type, "o") == 0)
                r = reader_string(reader, &text);
        else if (strcmp(type, "g") == 0)
                r = reader_signature(reader, &text);
        else
                r = -EBADMSG;
        place = field_place(in, field);
        if (r == 0 && place) {
                if ((field == 8) != (*type == 'g'))
                        return -EBADMSG;
                *place = text;
        }
        return r;
}

static int read_header(Incoming *in)
{
        Reader reader = { .data = in->data, .at = FIXED_HEADER_SIZE };
        uint32_t n_body, n_fields;
        int r;

        r = read_fixed(in->data, &in->swapped, &n_body, &n_fields);
        if (r)
                return r;
        if (body_offset(n_fields) + n_body != in->n)
                return -EBADMSG;
        reader.swapped = in->swapped;
        reader.end = FIXED_HEADER_SIZE + (size_t)n_fields;
        while (reader.at < reader.end) {
                r = read_field(in, &reader);
                if (r)
                        return r;
        }
        in->type = in->data[1];
        in->body_at = body_offset(n_fields);
        return in->n_fds_told > INCOMING_FDS_MAX ? -EBADMSG : 0;
}

int incoming_new(uint8_t *data, size_t n, Incoming **ret_incoming)
{
        CLEANUP(incoming_freep) Incoming *in = calloc(1, sizeof(*in));
        int r;

        if (!in) {
                free(data);
                return -ENOMEM;
        }
        in->data = data;
        in->n = n;
        in->path = in->interface = in->member = in->error_name = in->sender = in->signature = "";
        r = n < FIXED_HEADER_SIZE ? -EBADMSG : read_header(in);
        if (r)
                return r;
        *ret_incoming = TAKE(in);
        return 0;
}

Incoming *incoming_free(Incoming *incoming)
{
        if (incoming) {
                for (size_t i = 0; i < incoming->n_fds; i++)
                        descriptor_close(&incoming->fds[i]);
                free(incoming->data);
                free(incoming);
        }
        return NULL;
}

/* ------------------------------------------------------------------ the arguments */

typedef struct Body {
        const Incoming *incoming;
        Reader reader;
} Body;

static int read_value(Body *body, const char **signature, unsigned depth, cb_value *value);

static int read_until(Body *body, size_t end, const char *element, unsigned depth, cb_value *list)
{
        size_t n_room = 0;

        while (body->reader.at < end) {
                const char *signature = element;
                int r = value_grow(list, &n_room);

                if (r == 0)
                        r = read_value(body, &signature, depth + 1,
                                       &list->as.list.items[list->as.list.n - 1]);
                if (r)
                        return r;
        }
        return body->reader.at == end ? 0 : -EBADMSG;
}

static int read_entry(Body *body, const char *signature, unsigned depth, cb_value *dict)
{
        size_t n = dict->as.list.n - 1;
        const char *key;
        int r;

        r = reader_align(&body->reader, 8);
        if (r == 0)
                r = reader_string(&body->reader, &key);
        if (r)
                return r;
        dict->as.list.keys[n] = strdup(key);
        if (!dict->as.list.keys[n])
                return -ENOMEM;
        return read_value(body, &signature, depth + 1, &dict->as.list.items[n]);
}

/* element is "{s…}": its keys are text. */
static int read_dict(Body *body, size_t end, const char *element, unsigned depth, cb_value *dict)
{
        size_t n_room = 0;

        while (body->reader.at < end) {
                int r = value_grow(dict, &n_room);

                if (r == 0)
                        r = read_entry(body, element + 2, depth, dict);
                if (r)
                        return r;
        }
        return body->reader.at == end ? 0 : -EBADMSG;
}

static int read_bytes(Body *body, size_t end, cb_value *value)
{
        size_t n = end - body->reader.at;
        uint8_t *copy = malloc(n > 0 ? n : 1);

        if (!copy)
                return -ENOMEM;
        memcpy(copy, body->reader.data + body->reader.at, n);
        body->reader.at = end;
        *value = (cb_value){ .type = CB_TYPE_BYTES, .as.bytes = { copy, n } };
        return 0;
}

static int read_array(Body *body, const char *element, unsigned depth, cb_value *value)
{
        size_t alignment = signature_alignment(*element), end;
        int r;

        r = reader_array(&body->reader, alignment, &end);
        if (r)
                return r;
        if (*element == 'y')
                return read_bytes(body, end, value);
        if (*element == '{' && (element[1] == 's' || element[1] == 'o')) {
                *value = (cb_value){ .type = CB_TYPE_DICT };
                return read_dict(body, end, element, depth, value);
        }
        *value = (cb_value){ .type = CB_TYPE_LIST };
        return read_until(body, end, element, depth, value);
}

/*
 * A struct, or the pair of a dict whose keys are no text; signature is what is within the brackets.
 */
static int read_struct(Body *body, const char *signature, unsigned depth, cb_value *value)
{
        size_t n_room = 0;
        int r;

        *value = (cb_value){ .type = CB_TYPE_LIST };
        r = reader_align(&body->reader, 8);
        while (r == 0 && *signature != ')' && *signature != '}') {
                r = value_grow(value, &n_room);
                if (r == 0)
                        r = read_value(body, &signature, depth + 1,
                                       &value->as.list.items[value->as.list.n - 1]);
        }
        return r;
}

static int read_variant(Body *body, unsigned depth, cb_value *value)
{
        const char *signature;
        size_t n;
        int r;

        r = reader_signature(&body->reader, &signature);
        if (r)
                return r;
        n = signature_length(signature);
        if (n == 0 || signature[n] != '\0' || *signature == '{')
                return -EBADMSG;
        return read_value(body, &signature, depth + 1, value);
}

static int read_text(Body *body, char type, cb_value *value)
{
        const char *text;
        char *copy;
        int r;

        r = type == 'g' ? reader_signature(&body->reader, &text)
                        : reader_string(&body->reader, &text);
        if (r)
                return r;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        *value = (cb_value){ .type = CB_TYPE_STRING, .as.string = copy };
        return 0;
}

static int read_fd(Body *body, cb_value *value)
{
        uint32_t index;
        int fd, r;

        r = reader_u32(&body->reader, &index);
        if (r)
                return r;
        if (index >= body->incoming->n_fds)
                return -EBADMSG;
        fd = fcntl(body->incoming->fds[index].fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return -errno;
        *value = (cb_value){ .type = CB_TYPE_FD, .as.fd = fd };
        return 0;
}

static void set_integer(cb_value *value, int64_t integer)
{
        if (integer >= 0)
                *value = (cb_value){ .type = CB_TYPE_NUMBER, .as.number = (uint64_t)integer };
        else
                *value = (cb_value){ .type = CB_TYPE_INTEGER, .as.integer = integer };
}

static int read_small(Body *body, char type, cb_value *value)
{
        uint16_t number = 0;
        uint8_t byte = 0;
        int r;

        r = type == 'y' ? reader_u8(&body->reader, &byte) : reader_u16(&body->reader, &number);
        if (r == 0)
                set_integer(value, type == 'y' ? byte : type == 'n' ? (int16_t)number : number);
        return r;
}

static int read_32(Body *body, char type, cb_value *value)
{
        uint32_t number;
        int r = reader_u32(&body->reader, &number);

        if (r)
                return r;
        if (type == 'b' && number > 1)
                return -EBADMSG;
        if (type == 'b')
                *value = (cb_value){ .type = CB_TYPE_BOOLEAN, .as.boolean = number };
        else
                set_integer(value, type == 'i' ? (int32_t)number : (int64_t)number);
        return 0;
}

static int read_64(Body *body, char type, cb_value *value)
{
        uint64_t number;
        int r = reader_u64(&body->reader, &number);

        if (r)
                return r;
        if (type == 't') {
                *value = (cb_value){ .type = CB_TYPE_NUMBER, .as.number = number };
        } else if (type == 'x') {
                set_integer(value, (int64_t)number);
        } else {
                *value = (cb_value){ .type = CB_TYPE_DOUBLE };
                memcpy(&value->as.real, &number, sizeof(number));
        }
        return 0;
}

/* Moves *signature behind the type that was read. */
static int read_value(Body *body, const char **signature, unsigned depth, cb_value *value)
{
        const char *type = *signature;
        size_t n = signature_length(type);

        if (n == 0 || depth > DEPTH_MAX)
                return -EBADMSG;
        *signature = type + n;

        switch (*type) {
        case 'y':
        case 'n':
        case 'q':
                return read_small(body, *type, value);
        case 'b':
        case 'i':
        case 'u':
                return read_32(body, *type, value);
        case 'x':
        case 't':
        case 'd':
                return read_64(body, *type, value);
        case 's':
        case 'o':
        case 'g':
                return read_text(body, *type, value);
        case 'h':
                return read_fd(body, value);
        case 'v':
                return read_variant(body, depth, value);
        case 'a':
                return read_array(body, type + 1, depth, value);
        case '(':
        case '{':
                return read_struct(body, type + 1, depth, value);
        default:
                return -EBADMSG;
        }
}

int incoming_body(const Incoming *incoming, cb_value **ret_value)
{
        CLEANUP(cb_value_freep) cb_value *root = malloc(sizeof(*root));
        const char *signature = incoming->signature;
        Body body = { .incoming = incoming,
                      .reader = { .data = incoming->data,
                                  .at = incoming->body_at,
                                  .end = incoming->n,
                                  .swapped = incoming->swapped } };
        size_t n_room = 0;
        int r = 0;

        if (!root)
                return -ENOMEM;
        *root = (cb_value){ .type = CB_TYPE_LIST };
        while (*signature && r == 0) {
                r = value_grow(root, &n_room);
                if (r == 0)
                        r = read_value(&body, &signature, 0,
                                       &root->as.list.items[root->as.list.n - 1]);
        }
        if (r)
                return r;
        if (body.reader.at != body.reader.end)
                return -EBADMSG;
        *ret_value = TAKE(root);
        return 0;
}
