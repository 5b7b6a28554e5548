/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between broker and source process, to bytes and back.
 *
 * Invariant: what decodes is whole and in bounds: every length has its limit, every enum is one of
 * its constants, every text of a reply is UTF-8 (the broker shows it on D-Bus), and no byte is left
 * over. Encoding refuses what decoding would refuse, so that one odd text cannot end a connection.
 *
 * Descriptors are not in the bytes: packet.c carries them. Nothing here knows who sends or why.
 */
#include "wire/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/strings.h"

/* The first byte says what the packet is, so that neither kind can be taken for the other. */
enum packet_kind { PACKET_REQUEST = 0x51, PACKET_REPLY = 0x52 };

#define ALGORITHM_BITS_ALL ((ALGORITHM_BIT(_ALGORITHM_N) - 1) & ~ALGORITHM_BIT(ALGORITHM_NONE))
#define ERRNO_MAX          4095

static const char *const operation_names[_WIRE_OPERATION_N] = {
        [WIRE_CONFIGURE] = "configure",   [WIRE_SIGN] = "sign",
        [WIRE_DECRYPT] = "decrypt",       [WIRE_IMPORT] = "import",
        [WIRE_GENERATE] = "generate",     [WIRE_LOOKUP] = "lookup",
        [WIRE_READ_CHAIN] = "read-chain", [WIRE_TAKE_BACK] = "take-back",
        [WIRE_INSTALL] = "install",       [WIRE_REQUEST] = "request",
        [WIRE_DESTROY] = "destroy",       [WIRE_EXPORT] = "export",
        [WIRE_UNLOCK] = "unlock",         [WIRE_REFRESH] = "refresh",
        [WIRE_ANSWER] = "answer",         [WIRE_PING] = "ping",
};

const char *wire_operation_name(WireOperation operation)
{
        if ((unsigned)operation >= _WIRE_OPERATION_N)
                return "unknown";
        return operation_names[operation];
}

static void fds_init(int fds[WIRE_FDS_MAX])
{
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                fds[i] = -1;
}

static void fds_deinit(int fds[WIRE_FDS_MAX])
{
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                fds[i] = close_fd(fds[i]);
}

void wire_request_init(WireRequest *request, WireOperation operation)
{
        *request = (WireRequest){ .operation = operation,
                                  .manages = operation != WIRE_SIGN && operation != WIRE_DECRYPT &&
                                             operation != WIRE_CONFIGURE && operation != WIRE_ANSWER &&
                                             operation != WIRE_PING };
        fds_init(request->fds);
}

void wire_request_deinit(WireRequest *request)
{
        free(request->name);
        free(request->uri);
        free(request->key_uri);
        bytes_deinit(&request->input);
        bytes_list_deinit(&request->chain);
        strv_free(request->settings);
        fds_deinit(request->fds);
        wire_request_init(request, WIRE_CONFIGURE);
}

void wire_reply_init(WireReply *reply, uint64_t id)
{
        *reply = (WireReply){ .id = id };
        fds_init(reply->fds);
}

void wire_reply_deinit(WireReply *reply)
{
        free(reply->key_uri);
        bytes_deinit(&reply->spki);
        bytes_list_deinit(&reply->chain);
        free(reply->warning);
        if (reply->output.n > 0) /* of a decryption it is a secret */
                explicit_bzero(reply->output.data, reply->output.n);
        bytes_deinit(&reply->output);
        free(reply->state_text);
        fds_deinit(reply->fds);
        wire_reply_init(reply, 0);
}

/* Fields outward: a value that the other end would refuse fails here, with the writer's sticky error. */

static void put_refuse(Writer *writer, int error)
{
        if (!writer->error)
                writer->error = error;
}

static void put_head(Writer *writer, enum packet_kind kind, uint64_t id)
{
        writer_u8(writer, kind);
        writer_u32(writer, WIRE_VERSION);
        writer_u64(writer, id);
}

static void put_enum(Writer *writer, unsigned value, unsigned n_values)
{
        if (value >= n_values)
                put_refuse(writer, -EINVAL);
        writer_u8(writer, (uint8_t)value);
}

static void put_string(Writer *writer, const char *string)
{
        if (string && strlen(string) > WIRE_TEXT_MAX)
                put_refuse(writer, -EMSGSIZE);
        writer_string(writer, string);
}

static void put_text(Writer *writer, const char *text)
{
        if (text && !utf8_is_valid(text, strlen(text)))
                put_refuse(writer, -EILSEQ);
        put_string(writer, text);
}

static void put_bytes(Writer *writer, const Bytes *bytes, size_t n_max)
{
        if (bytes->n > n_max)
                put_refuse(writer, -EMSGSIZE);
        writer_bytes(writer, bytes->data, bytes->n);
}

static void put_chain(Writer *writer, const BytesList *chain)
{
        if (chain->n > WIRE_CHAIN_MAX)
                put_refuse(writer, -EMSGSIZE);
        for (size_t i = 0; i < chain->n; i++)
                if (chain->items[i].n > WIRE_CERTIFICATE_MAX)
                        put_refuse(writer, -EMSGSIZE);
        writer_list(writer, chain);
}

static void put_settings(Writer *writer, char *const *settings)
{
        size_t n = strv_length(settings);

        if (n > WIRE_SETTINGS_MAX)
                put_refuse(writer, -EMSGSIZE);
        writer_u32(writer, (uint32_t)n);
        for (size_t i = 0; i < n; i++)
                put_string(writer, settings[i]);
}

static bool status_is_known(int status)
{
        return status >= -ERRNO_MAX && status < _CB_STATUS_N;
}

static void put_failure(Writer *writer, const Failure *failure)
{
        if (!status_is_known(failure->status))
                put_refuse(writer, -EINVAL);
        writer_u32(writer, (uint32_t)failure->status);
        put_text(writer, failure->text);
}

/* The packet moves out of the writer; a writer that failed keeps nothing. */
static int writer_finish(Writer *writer, Bytes *ret_packet)
{
        int r = writer->error;

        if (!r) {
                ret_packet->data = TAKE(writer->data);
                ret_packet->n = writer->n;
        }
        writer_deinit(writer);
        return r;
}

int wire_request_encode(const WireRequest *request, Bytes *ret_packet)
{
        Writer w;

        writer_init(&w, WIRE_PACKET_MAX);
        put_head(&w, PACKET_REQUEST, request->id);
        put_enum(&w, request->operation, _WIRE_OPERATION_N);
        writer_u64(&w, request->timeout_usec);
        put_enum(&w, request->manages, 2);
        writer_u64(&w, request->owner);
        put_string(&w, request->name);
        writer_u64(&w, request->generation);
        put_string(&w, request->uri);
        put_string(&w, request->key_uri);
        put_enum(&w, request->key_type, _KEY_TYPE_N);
        put_enum(&w, request->algorithm, _ALGORITHM_N);
        put_enum(&w, request->extractable, 2);
        put_enum(&w, request->certificates, _WIRE_CERTIFICATES_N);
        put_bytes(&w, &request->input, WIRE_INPUT_MAX);
        put_chain(&w, &request->chain);
        put_settings(&w, request->settings);
        return writer_finish(&w, ret_packet);
}

int wire_reply_encode(const WireReply *reply, Bytes *ret_packet)
{
        Writer w;

        writer_init(&w, WIRE_PACKET_MAX);
        if (reply->algorithms & ~ALGORITHM_BITS_ALL)
                put_refuse(&w, -EINVAL);
        put_head(&w, PACKET_REPLY, reply->id);
        put_failure(&w, &reply->failure);
        writer_u64(&w, reply->retry_after_usec);
        writer_u64(&w, reply->refresh_after_usec);
        put_text(&w, reply->key_uri);
        put_enum(&w, reply->key_type, _KEY_TYPE_N);
        writer_u32(&w, reply->algorithms);
        put_enum(&w, reply->extractable, 2);
        put_bytes(&w, &reply->spki, WIRE_SPKI_MAX);
        put_chain(&w, &reply->chain);
        put_text(&w, reply->warning);
        put_bytes(&w, &reply->output, WIRE_OUTPUT_MAX);
        put_enum(&w, reply->state, _SOURCE_STATE_N);
        put_text(&w, reply->state_text);
        writer_u64(&w, reply->ask);
        return writer_finish(&w, ret_packet);
}

/* Fields inward. */

static void get_refuse(Reader *reader)
{
        if (!reader->error)
                reader->error = -EBADMSG;
}

static uint64_t get_head(Reader *reader, enum packet_kind kind)
{
        if (reader_u8(reader) != (uint8_t)kind)
                get_refuse(reader);
        if (reader_u32(reader) != WIRE_VERSION)
                get_refuse(reader);
        return reader_u64(reader);
}

/* 0, which every enum here has, where it is none of the constants. */
static unsigned get_enum(Reader *reader, unsigned n_values)
{
        uint8_t value = reader_u8(reader);

        if (value < n_values)
                return value;
        get_refuse(reader);
        return 0;
}

static char *get_text(Reader *reader, size_t n_max)
{
        CLEANUP(freep) char *text = reader_string(reader, n_max);

        if (text && !utf8_is_valid(text, strlen(text))) {
                get_refuse(reader);
                return NULL;
        }
        return TAKE(text);
}

static void get_settings(Reader *reader, char ***settings)
{
        uint32_t n = reader_u32(reader);

        if (n > WIRE_SETTINGS_MAX)
                get_refuse(reader);
        for (uint32_t i = 0; i < n && !reader->error; i++) {
                CLEANUP(freep) char *setting = reader_string(reader, WIRE_TEXT_MAX);

                if (!setting)
                        get_refuse(reader);
                else if (strv_append(settings, setting) < 0)
                        reader->error = -ENOMEM;
        }
}

static void get_failure(Reader *reader, Failure *failure)
{
        CLEANUP(freep) char *text = NULL;
        int status = (int)(int32_t)reader_u32(reader);

        text = get_text(reader, sizeof(failure->text) - 1);
        if (!text || !status_is_known(status)) {
                get_refuse(reader);
                return;
        }
        failure->status = status;
        memcpy(failure->text, text, strlen(text) + 1);
}

static uint32_t get_algorithms(Reader *reader)
{
        uint32_t bits = reader_u32(reader);

        if (bits & ~ALGORITHM_BITS_ALL)
                get_refuse(reader);
        return bits;
}

int wire_request_decode(const void *packet, size_t n, WireRequest *ret_request)
{
        CLEANUP(wire_request_deinit) WireRequest q;
        Reader r;
        int error;

        wire_request_init(&q, WIRE_CONFIGURE);
        reader_init(&r, packet, n);
        q.id = get_head(&r, PACKET_REQUEST);
        q.operation = get_enum(&r, _WIRE_OPERATION_N);
        q.timeout_usec = reader_u64(&r);
        q.manages = get_enum(&r, 2);
        q.owner = reader_u64(&r);
        q.name = reader_string(&r, WIRE_TEXT_MAX);
        q.generation = reader_u64(&r);
        q.uri = reader_string(&r, WIRE_TEXT_MAX);
        q.key_uri = reader_string(&r, WIRE_TEXT_MAX);
        q.key_type = get_enum(&r, _KEY_TYPE_N);
        q.algorithm = get_enum(&r, _ALGORITHM_N);
        q.extractable = get_enum(&r, 2);
        q.certificates = get_enum(&r, _WIRE_CERTIFICATES_N);
        reader_bytes(&r, WIRE_INPUT_MAX, &q.input);
        reader_list(&r, WIRE_CHAIN_MAX, WIRE_CERTIFICATE_MAX, &q.chain);
        get_settings(&r, &q.settings);
        error = reader_end(&r);
        if (error)
                return error;

        *ret_request = q;
        wire_request_init(&q, WIRE_CONFIGURE);
        return 0;
}

uint64_t wire_request_id(const void *packet, size_t n)
{
        Reader r;

        reader_init(&r, packet, n);
        return get_head(&r, PACKET_REQUEST);
}

uint64_t wire_reply_id(const void *packet, size_t n)
{
        Reader r;

        reader_init(&r, packet, n);
        return get_head(&r, PACKET_REPLY);
}

int wire_reply_decode(const void *packet, size_t n, WireReply *ret_reply)
{
        CLEANUP(wire_reply_deinit) WireReply q;
        Reader r;
        int error;

        wire_reply_init(&q, 0);
        reader_init(&r, packet, n);
        q.id = get_head(&r, PACKET_REPLY);
        get_failure(&r, &q.failure);
        q.retry_after_usec = reader_u64(&r);
        q.refresh_after_usec = reader_u64(&r);
        q.key_uri = get_text(&r, WIRE_TEXT_MAX);
        q.key_type = get_enum(&r, _KEY_TYPE_N);
        q.algorithms = get_algorithms(&r);
        q.extractable = get_enum(&r, 2);
        reader_bytes(&r, WIRE_SPKI_MAX, &q.spki);
        reader_list(&r, WIRE_CHAIN_MAX, WIRE_CERTIFICATE_MAX, &q.chain);
        q.warning = get_text(&r, WIRE_TEXT_MAX);
        reader_bytes(&r, WIRE_OUTPUT_MAX, &q.output);
        q.state = get_enum(&r, _SOURCE_STATE_N);
        q.state_text = get_text(&r, WIRE_TEXT_MAX);
        q.ask = reader_u64(&r);
        error = reader_end(&r);
        if (error)
                return error;

        *ret_reply = q;
        wire_reply_init(&q, 0);
        return 0;
}
