/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds method calls. Whatever a caller gives is checked before it is written: a bus disconnects
 * who sends text that is not UTF-8, or a bad path. The order of the bytes is this machine's, and
 * says so.
 */
#include "message.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "dict.h"
#include "error.h"
#include "text.h"
#include "writer.h"

#define DEFAULT_PATH      "/org/certbroker1"
#define DEFAULT_INTERFACE "org.certbroker1.Manager"

#define SIGNATURE_MAX     255
#define ARGUMENT_SIZE_MAX (16 * 1024 * 1024)

#define BYTE_ORDER_MARK (__BYTE_ORDER == __LITTLE_ENDIAN ? 'l' : 'B')

/* "Message Format" in the D-Bus specification. */
enum { TYPE_METHOD_CALL = 1, FLAG_NO_AUTO_START = 2, PROTOCOL_VERSION = 1 };
enum {
        FIELD_PATH = 1,
        FIELD_INTERFACE = 2,
        FIELD_MEMBER = 3,
        FIELD_DESTINATION = 6,
        FIELD_SIGNATURE = 8,
        FIELD_UNIX_FDS = 9,
};

struct Message {
        char *path, *interface, *member;
        char signature[SIGNATURE_MAX + 1];
        Writer body;
        int fds[MESSAGE_FDS_MAX];
        size_t n_fds;
};

/* ------------------------------------------------------------------ arguments */

typedef struct Arguments {
        Message *message;
        va_list list;
        cb_error *error;
} Arguments;

static int add_string(Arguments *args)
{
        const char *text = va_arg(args->list, const char *);

        if (!text)
                return error_set(args->error, -EINVAL, "A text argument is missing.");
        if (strlen(text) > ARGUMENT_SIZE_MAX || !text_is_utf8(text, strlen(text)))
                return error_set(args->error, CB_INVALID_ARGUMENT,
                                 "An argument is not valid UTF-8 text.");
        writer_string(&args->message->body, text);
        return 0;
}

static int add_path(Arguments *args)
{
        const char *path = va_arg(args->list, const char *);

        if (!text_is_path(path))
                return error_set(args->error, CB_INVALID_ARGUMENT,
                                 "An argument is not an object path.");
        writer_string(&args->message->body, path);
        return 0;
}

static int add_boolean(Arguments *args)
{
        writer_u32(&args->message->body, va_arg(args->list, int) != 0);
        return 0;
}

static int add_uint32(Arguments *args)
{
        writer_u32(&args->message->body, va_arg(args->list, uint32_t));
        return 0;
}

static int add_uint64(Arguments *args)
{
        writer_u64(&args->message->body, va_arg(args->list, uint64_t));
        return 0;
}

/* In the body it is a number: which of the descriptors that go with the message. */
static int add_fd(Arguments *args)
{
        Message *m = args->message;
        int fd = va_arg(args->list, int);

        if (fd < 0 || fcntl(fd, F_GETFD) < 0)
                return error_set(args->error, -EBADF, "A file descriptor is missing.");
        if (m->n_fds == MESSAGE_FDS_MAX)
                return error_set(args->error, -EINVAL, "Too many file descriptors.");
        writer_u32(&m->body, (uint32_t)m->n_fds);
        m->fds[m->n_fds++] = fd;
        return 0;
}

static int add_bytes(Arguments *args)
{
        Writer *body = &args->message->body;
        const void *data = va_arg(args->list, const void *);
        size_t n = va_arg(args->list, size_t);

        if (!data && n > 0)
                return error_set(args->error, -EINVAL, "A byte argument is missing.");
        if (n > ARGUMENT_SIZE_MAX)
                return error_set(args->error, CB_INVALID_ARGUMENT, "An argument is too long.");
        writer_u32(body, (uint32_t)n);
        writer_bytes(body, data, n);
        return 0;
}

static int add_strings(Arguments *args)
{
        Writer *body = &args->message->body;
        const char *const *strings = va_arg(args->list, const char *const *);
        size_t n = va_arg(args->list, size_t), opened = writer_open_array(body, 4);

        for (size_t i = 0; i < n; i++) {
                if (!strings || !strings[i] || !text_is_utf8(strings[i], strlen(strings[i])))
                        return error_set(args->error, CB_INVALID_ARGUMENT,
                                         "An argument is not valid UTF-8 text.");
                writer_string(body, strings[i]);
        }
        writer_close_array(body, opened, 4);
        return 0;
}

static int add_dict(Arguments *args)
{
        dict_write(va_arg(args->list, const cb_dict *), &args->message->body);
        return 0;
}

static const struct {
        const char *signature;
        int (*add)(Arguments *args);
} argument_types[] = {
        { "s", add_string }, { "o", add_path },     { "b", add_boolean },
        { "u", add_uint32 }, { "t", add_uint64 },   { "h", add_fd },
        { "ay", add_bytes }, { "as", add_strings }, { "a{sv}", add_dict },
};

static int add_arguments(Arguments *args, const char *signature)
{
        if (strlen(signature) > SIGNATURE_MAX)
                return error_set(args->error, -EINVAL, "The signature is too long.");
        memcpy(args->message->signature, signature, strlen(signature) + 1);

        while (*signature) {
                size_t i, n = 0;
                int r;

                for (i = 0; i < ELEMENTSOF(argument_types); i++) {
                        n = strlen(argument_types[i].signature);
                        if (strncmp(signature, argument_types[i].signature, n) == 0)
                                break;
                }
                if (i == ELEMENTSOF(argument_types))
                        return error_set(args->error, -EINVAL, "The signature is not supported.");
                r = argument_types[i].add(args);
                if (r)
                        return r;
                signature += n;
        }
        if (args->message->body.n > ARGUMENT_SIZE_MAX)
                return error_set(args->error, CB_INVALID_ARGUMENT, "The arguments are too long.");
        return 0;
}

/* ------------------------------------------------------------------ messages */

Message *message_free(Message *message)
{
        if (message) {
                free(message->path);
                free(message->interface);
                free(message->member);
                writer_deinit(&message->body);
                free(message);
        }
        return NULL;
}

int message_new_v(const cb_method *method, Message **ret_message, cb_error *error,
                  const char *signature, va_list list)
{
        CLEANUP(message_freep) Message *message = NULL;
        const char *path = method->path ? method->path : DEFAULT_PATH;
        const char *interface = method->interface ? method->interface : DEFAULT_INTERFACE;
        Arguments args = { .error = error };
        int r;

        if (!text_is_path(path) || !text_is_name(interface, true) ||
            !text_is_name(method->member, false))
                return error_set(error, -EINVAL, "The path, interface or member is not valid.");

        message = calloc(1, sizeof(*message));
        if (!message)
                return error_set(error, -ENOMEM, "Out of memory.");
        message->path = strdup(path);
        message->interface = strdup(interface);
        message->member = strdup(method->member);

        args.message = message;
        va_copy(args.list, list);
        r = add_arguments(&args, signature ? signature : "");
        va_end(args.list);
        if (r)
                return r;
        if (message->body.failed || !message->path || !message->interface || !message->member)
                return error_set(error, -ENOMEM, "Out of memory.");

        *ret_message = TAKE(message);
        return 0;
}

int message_new(const cb_method *method, Message **ret_message, cb_error *error,
                const char *signature, ...)
{
        va_list list;
        int r;

        va_start(list, signature);
        r = message_new_v(method, ret_message, error, signature, list);
        va_end(list);
        return r;
}

static void write_field(Writer *w, uint8_t field, const char *type, const char *text)
{
        writer_align(w, 8);
        writer_u8(w, field);
        writer_signature(w, type);
        if (*type == 'g')
                writer_signature(w, text);
        else
                writer_string(w, text);
}

static void write_fields(Writer *w, const Message *message, const char *destination)
{
        size_t opened = writer_open_array(w, 8);

        write_field(w, FIELD_PATH, "o", message->path);
        write_field(w, FIELD_INTERFACE, "s", message->interface);
        write_field(w, FIELD_MEMBER, "s", message->member);
        if (destination)
                write_field(w, FIELD_DESTINATION, "s", destination);
        if (message->signature[0])
                write_field(w, FIELD_SIGNATURE, "g", message->signature);
        if (message->n_fds > 0) {
                writer_align(w, 8);
                writer_u8(w, FIELD_UNIX_FDS);
                writer_signature(w, "u");
                writer_u32(w, (uint32_t)message->n_fds);
        }
        writer_close_array(w, opened, 8);
        writer_align(w, 8);
}

int message_encode(const Message *message, uint32_t serial, const char *destination,
                   uint8_t **ret_data, size_t *ret_n)
{
        Writer w = { 0 };

        writer_u8(&w, BYTE_ORDER_MARK);
        writer_u8(&w, TYPE_METHOD_CALL);
        writer_u8(&w, FLAG_NO_AUTO_START);
        writer_u8(&w, PROTOCOL_VERSION);
        writer_u32(&w, (uint32_t)message->body.n);
        writer_u32(&w, serial);
        write_fields(&w, message, destination);
        writer_bytes(&w, message->body.data, message->body.n);
        if (w.failed) {
                writer_deinit(&w);
                return -ENOMEM;
        }
        *ret_data = w.data;
        *ret_n = w.n;
        return 0;
}

const int *message_fds(const Message *message, size_t *ret_n)
{
        *ret_n = message->n_fds;
        return message->fds;
}
