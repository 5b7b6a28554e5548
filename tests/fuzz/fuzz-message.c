/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client library reads what a bus, or whoever sits at a socket's other end, sends: messages one after the other,
 * as they come off a stream. Holds: nothing crashes, leaks or closes a descriptor twice; every text that comes out is
 * UTF-8; an answer that passes for a credential has all that a gateway needs; an error is always a whole sentence.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "credential.h"
#include "error.h"
#include "incoming.h"
#include "text.h"
#include "value.h"

static void check_text(const char *text)
{
        FUZZ_CHECK(text && text_is_utf8(text, strlen(text)));
}

/* As deep as the parser lets it be. */
static void check_value(const cb_value *value)
{
        switch (value->type) {
        case CB_TYPE_STRING:
                check_text(value->as.string);
                break;
        case CB_TYPE_BYTES:
                FUZZ_CHECK(value->as.bytes.data);
                break;
        case CB_TYPE_FD:
                FUZZ_CHECK(fcntl(value->as.fd, F_GETFD) >= 0);
                break;
        case CB_TYPE_LIST:
        case CB_TYPE_DICT:
                for (size_t i = 0; i < value->as.list.n; i++) {
                        if (value->type == CB_TYPE_DICT)
                                check_text(value->as.list.keys[i]);
                        check_value(&value->as.list.items[i]);
                }
                break;
        case CB_TYPE_NUMBER:
        case CB_TYPE_INTEGER:
        case CB_TYPE_DOUBLE:
        case CB_TYPE_BOOLEAN:
                break;
        case _CB_TYPE_N:
                FUZZ_CHECK(false);
        }
}

static void try_credential(const cb_value *body)
{
        cb_credential *credential = NULL;
        cb_error error = { 0 };

        if (credential_from_value(cb_value_at(body, 0), &credential, &error) != 0) {
                check_text(error.text);
                return;
        }
        FUZZ_CHECK(credential->id && credential->key && credential->url && credential->algorithms);
        FUZZ_CHECK(credential->n_chain > 0 && credential->generation > 0);
        FUZZ_CHECK(credential_equals(credential, credential));
        cb_credential_free(credential);
}

/* What came with the message, as the stream hands it over. */
static void add_fds(Incoming *message)
{
        while (message->n_fds < message->n_fds_told) {
                int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

                FUZZ_CHECK(descriptor_init(&message->fds[message->n_fds++], fd) == 0);
        }
}

static void try_message(const uint8_t *data, size_t n)
{
        CLEANUP(incoming_freep) Incoming *message = NULL;
        CLEANUP(cb_value_freep) cb_value *body = NULL;
        uint8_t *copy = malloc(n);
        cb_error error = { 0 };

        FUZZ_CHECK(copy);
        memcpy(copy, data, n);
        if (incoming_new(copy, n, &message) != 0)
                return;
        add_fds(message);
        check_text(message->path);
        check_text(message->interface);
        check_text(message->member);
        check_text(message->error_name);
        check_text(message->sender);
        FUZZ_CHECK(error_from_message(&error, message) > 0);
        check_text(error.text);
        FUZZ_CHECK(*error.text);
        if (incoming_body(message, &body) != 0)
                return;
        check_value(body);
        try_credential(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        while (n > 0) {
                size_t size = 0;

                if (incoming_size(data, n, &size) != 0 || size > n)
                        break;
                try_message(data, size);
                data += size;
                n -= size;
        }
        return 0;
}
