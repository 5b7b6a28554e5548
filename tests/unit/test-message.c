/* SPDX-License-Identifier: Apache-2.0 */
/* Wire messages: what goes in comes out, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "wire/message.h"

/* Where fields of fixed place lie in a packet. */
#define AT_VERSION   1
#define AT_OPERATION 13
#define AT_STATUS    13

static void fill_request(WireRequest *q)
{
        wire_request_init(q, WIRE_INSTALL);
        q->id = UINT64_C(0x1122334455667788);
        q->timeout_usec = 20000000;
        q->name = strdup("orders");
        q->generation = 7;
        q->uri = strdup("");
        q->key_uri = strdup("pkcs11:token=prod;id=%01%02");
        q->key_type = KEY_TYPE_EC_P384;
        q->algorithm = ALGORITHM_ECDSA_SHA384;
        q->extractable = true;
        assert_int_equal(bytes_set(&q->input, "\0\1\2", 3), 0);
        assert_int_equal(bytes_list_append(&q->chain, "leaf", 4), 0);
        assert_int_equal(bytes_list_append(&q->chain, "issuer", 6), 0);
        assert_int_equal(strv_append(&q->settings, "uri=pkcs11:token=prod"), 0);
        assert_int_equal(strv_append(&q->settings, "pin-file=\xff"), 0);
}

static void fill_reply(WireReply *q)
{
        wire_reply_init(q, 42);
        fail(&q->failure, CB_SOURCE_LOCKED, "token \"prod\": wrong PIN: unlock it");
        q->retry_after_usec = 5;
        q->refresh_after_usec = 6;
        q->key_uri = strdup("pkcs11:id=%01");
        q->key_type = KEY_TYPE_ED25519;
        q->algorithms = ALGORITHM_BIT(ALGORITHM_ED25519);
        q->extractable = true;
        assert_int_equal(bytes_set(&q->spki, "spki", 4), 0);
        assert_int_equal(bytes_list_append(&q->chain, "leaf", 4), 0);
        q->warning = strdup("größer");
        assert_int_equal(bytes_set(&q->output, "sig", 3), 0);
        q->state = SOURCE_LOCKED;
        q->state_text = strdup("wrong PIN");
}

static Bytes request_packet(void)
{
        CLEANUP(wire_request_deinit) WireRequest q;
        Bytes packet = { 0 };

        fill_request(&q);
        assert_int_equal(wire_request_encode(&q, &packet), 0);
        return packet;
}

static Bytes reply_packet(void)
{
        CLEANUP(wire_reply_deinit) WireReply q;
        Bytes packet = { 0 };

        fill_reply(&q);
        assert_int_equal(wire_reply_encode(&q, &packet), 0);
        return packet;
}

static int decode_request(const void *data, size_t n)
{
        CLEANUP(wire_request_deinit) WireRequest q;

        wire_request_init(&q, WIRE_CONFIGURE);
        return wire_request_decode(data, n, &q);
}

static int decode_reply(const void *data, size_t n)
{
        CLEANUP(wire_reply_deinit) WireReply q;

        wire_reply_init(&q, 0);
        return wire_reply_decode(data, n, &q);
}

static void request_round_trip(void **state)
{
        CLEANUP(wire_request_deinit) WireRequest in;
        CLEANUP(wire_request_deinit) WireRequest out;
        CLEANUP(bytes_deinit) Bytes packet = { 0 };

        wire_request_init(&out, WIRE_CONFIGURE);
        fill_request(&in);
        assert_int_equal(wire_request_encode(&in, &packet), 0);
        assert_int_equal(wire_request_decode(packet.data, packet.n, &out), 0);
        assert_true(out.id == in.id && out.operation == WIRE_INSTALL);
        assert_true(out.timeout_usec == in.timeout_usec && out.generation == 7);
        assert_string_equal(out.name, "orders");
        assert_string_equal(out.uri, "");
        assert_string_equal(out.key_uri, in.key_uri);
        assert_true(out.key_type == in.key_type && out.algorithm == in.algorithm &&
                    out.extractable);
        assert_true(bytes_equal(&out.input, &in.input));
        assert_true(bytes_list_equal(&out.chain, &in.chain));
        assert_true(strv_equal(out.settings, in.settings));
        assert_true(out.fds[0] == -1 && out.fds[1] == -1);
}

static void empty_request_round_trip(void **state)
{
        for (unsigned i = 0; i < _WIRE_OPERATION_N; i++) {
                CLEANUP(wire_request_deinit) WireRequest in;
                CLEANUP(wire_request_deinit) WireRequest out;
                CLEANUP(bytes_deinit) Bytes packet = { 0 };

                wire_request_init(&in, i);
                wire_request_init(&out, WIRE_CONFIGURE);
                assert_int_equal(wire_request_encode(&in, &packet), 0);
                assert_int_equal(wire_request_decode(packet.data, packet.n, &out), 0);
                assert_int_equal(out.operation, i);
                assert_true(!out.name && !out.uri && !out.key_uri && !out.settings);
                assert_true(out.input.n == 0 && out.chain.n == 0 && !out.extractable);
        }
}

static void reply_round_trip(void **state)
{
        CLEANUP(wire_reply_deinit) WireReply in;
        CLEANUP(wire_reply_deinit) WireReply out;
        CLEANUP(bytes_deinit) Bytes packet = { 0 };

        wire_reply_init(&out, 0);
        fill_reply(&in);
        assert_int_equal(wire_reply_encode(&in, &packet), 0);
        assert_int_equal(wire_reply_decode(packet.data, packet.n, &out), 0);
        assert_true(out.id == 42 && out.retry_after_usec == 5 && out.refresh_after_usec == 6);
        assert_int_equal(out.failure.status, CB_SOURCE_LOCKED);
        assert_string_equal(out.failure.text, in.failure.text);
        assert_string_equal(out.key_uri, in.key_uri);
        assert_true(out.key_type == KEY_TYPE_ED25519 && out.algorithms == in.algorithms);
        assert_true(out.extractable && bytes_equal(&out.spki, &in.spki));
        assert_true(bytes_list_equal(&out.chain, &in.chain) &&
                    bytes_equal(&out.output, &in.output));
        assert_string_equal(out.warning, "größer");
        assert_int_equal(out.state, SOURCE_LOCKED);
        assert_string_equal(out.state_text, "wrong PIN");
        assert_true(out.fds[0] == -1 && out.fds[1] == -1);
}

static void negative_status_round_trip(void **state)
{
        CLEANUP(wire_reply_deinit) WireReply in;
        CLEANUP(wire_reply_deinit) WireReply out;
        CLEANUP(bytes_deinit) Bytes packet = { 0 };

        wire_reply_init(&in, 1);
        wire_reply_init(&out, 0);
        in.failure.status = -ENOMEM;
        assert_int_equal(wire_reply_encode(&in, &packet), 0);
        assert_int_equal(wire_reply_decode(packet.data, packet.n, &out), 0);
        assert_int_equal(out.failure.status, -ENOMEM);
}

static void packet_cut_or_longer_is_refused(void **state)
{
        CLEANUP(bytes_deinit) Bytes request = request_packet();
        CLEANUP(bytes_deinit) Bytes reply = reply_packet();
        uint8_t longer[1024] = { 0 };

        for (size_t n = 0; n < request.n; n++)
                assert_int_equal(decode_request(request.data, n), -EBADMSG);
        for (size_t n = 0; n < reply.n; n++)
                assert_int_equal(decode_reply(reply.data, n), -EBADMSG);
        memcpy(longer, request.data, request.n);
        assert_int_equal(decode_request(longer, request.n), 0);
        assert_int_equal(decode_request(longer, request.n + 1), -EBADMSG);
        memcpy(longer, reply.data, reply.n);
        assert_int_equal(decode_reply(longer, reply.n + 1), -EBADMSG);
}

static void wrong_kind_or_version_is_refused(void **state)
{
        CLEANUP(bytes_deinit) Bytes request = request_packet();
        CLEANUP(bytes_deinit) Bytes reply = reply_packet();

        assert_int_equal(decode_request(reply.data, reply.n), -EBADMSG);
        assert_int_equal(decode_reply(request.data, request.n), -EBADMSG);
        request.data[AT_VERSION]++;
        assert_int_equal(decode_request(request.data, request.n), -EBADMSG);
        reply.data[AT_VERSION + 3] = 1;
        assert_int_equal(decode_reply(reply.data, reply.n), -EBADMSG);
}

static void unknown_enum_is_refused(void **state)
{
        CLEANUP(bytes_deinit) Bytes request = request_packet();
        CLEANUP(bytes_deinit) Bytes reply = reply_packet();

        request.data[AT_OPERATION] = _WIRE_OPERATION_N;
        assert_int_equal(decode_request(request.data, request.n), -EBADMSG);
        reply.data[AT_STATUS] = _CB_STATUS_N;
        assert_int_equal(decode_reply(reply.data, reply.n), -EBADMSG);
        memcpy(reply.data + AT_STATUS, "\0\0\0\x80", 4); /* INT32_MIN is no errno */
        assert_int_equal(decode_reply(reply.data, reply.n), -EBADMSG);
}

/* No single byte of a packet can be anything that crashes, leaks, or decodes to what would not encode. */
static void every_byte_changed(void **state)
{
        CLEANUP(bytes_deinit) Bytes request = request_packet();
        CLEANUP(bytes_deinit) Bytes reply = reply_packet();

        for (size_t i = 0; i < request.n; i++)
                for (unsigned v = 0; v < 256; v += 5) {
                        CLEANUP(wire_request_deinit) WireRequest q;
                        CLEANUP(bytes_deinit) Bytes again = { 0 };
                        uint8_t was = request.data[i];

                        wire_request_init(&q, WIRE_CONFIGURE);
                        request.data[i] = (uint8_t)v;
                        if (wire_request_decode(request.data, request.n, &q) == 0) {
                                assert_int_equal(wire_request_encode(&q, &again), 0);
                                assert_true(bytes_equal(&again, &request));
                        }
                        request.data[i] = was;
                }
        for (size_t i = 0; i < reply.n; i++)
                for (unsigned v = 0; v < 256; v += 5) {
                        uint8_t was = reply.data[i];

                        reply.data[i] = (uint8_t)v;
                        assert_true(decode_reply(reply.data, reply.n) <= 0);
                        reply.data[i] = was;
                }
}

static void text_that_is_not_utf8_is_refused(void **state)
{
        CLEANUP(wire_reply_deinit) WireReply q;
        CLEANUP(bytes_deinit) Bytes packet = reply_packet();
        CLEANUP(bytes_deinit) Bytes none = { 0 };
        uint8_t *at = memmem(packet.data, packet.n, "größer", strlen("größer"));

        assert_non_null(at);
        at[2] = 'x'; /* a lone continuation byte follows */
        assert_int_equal(decode_reply(packet.data, packet.n), -EBADMSG);

        fill_reply(&q);
        q.failure.text[3] = (char)0xff;
        assert_int_equal(wire_reply_encode(&q, &none), -EILSEQ);
        assert_null(none.data);
}

static void too_much_is_refused(void **state)
{
        CLEANUP(wire_request_deinit) WireRequest q;
        CLEANUP(bytes_deinit) Bytes packet = { 0 };
        static uint8_t zeros[WIRE_CERTIFICATE_MAX + 1];

        wire_request_init(&q, WIRE_CONFIGURE);
        for (int i = 0; i < WIRE_SETTINGS_MAX; i++)
                assert_int_equal(strv_append(&q.settings, "a=b"), 0);
        assert_int_equal(wire_request_encode(&q, &packet), 0);
        assert_int_equal(decode_request(packet.data, packet.n), 0);
        bytes_deinit(&packet);
        assert_int_equal(strv_append(&q.settings, "a=b"), 0);
        assert_int_equal(wire_request_encode(&q, &packet), -EMSGSIZE);

        wire_request_deinit(&q);
        q.name = calloc(1, WIRE_TEXT_MAX + 2);
        memset(q.name, 'a', WIRE_TEXT_MAX + 1);
        assert_int_equal(wire_request_encode(&q, &packet), -EMSGSIZE);
        q.name[WIRE_TEXT_MAX] = '\0';
        assert_int_equal(wire_request_encode(&q, &packet), 0);
        assert_int_equal(decode_request(packet.data, packet.n), 0);
        bytes_deinit(&packet);

        wire_request_deinit(&q);
        assert_int_equal(bytes_set(&q.input, zeros, WIRE_INPUT_MAX + 1), 0);
        assert_int_equal(wire_request_encode(&q, &packet), -EMSGSIZE);

        wire_request_deinit(&q);
        assert_int_equal(bytes_list_append(&q.chain, zeros, sizeof(zeros)), 0);
        assert_int_equal(wire_request_encode(&q, &packet), -EMSGSIZE);

        wire_request_deinit(&q);
        for (int i = 0; i < 3; i++)
                assert_int_equal(bytes_list_append(&q.chain, zeros, WIRE_CERTIFICATE_MAX), 0);
        assert_int_equal(wire_request_encode(&q, &packet), -EMSGSIZE);
        assert_null(packet.data);
}

static void bad_members_do_not_encode(void **state)
{
        CLEANUP(wire_reply_deinit) WireReply q;
        CLEANUP(bytes_deinit) Bytes packet = { 0 };

        wire_reply_init(&q, 1);
        q.algorithms = ALGORITHM_BIT(_ALGORITHM_N);
        assert_int_equal(wire_reply_encode(&q, &packet), -EINVAL);
        wire_reply_init(&q, 1);
        q.failure.status = _CB_STATUS_N;
        assert_int_equal(wire_reply_encode(&q, &packet), -EINVAL);
        wire_reply_init(&q, 1);
        q.state = _SOURCE_STATE_N;
        assert_int_equal(wire_reply_encode(&q, &packet), -EINVAL);
}

static void operations_have_names(void **state)
{
        for (unsigned i = 0; i < _WIRE_OPERATION_N; i++)
                assert_non_null(wire_operation_name(i));
        assert_string_equal(wire_operation_name(WIRE_SIGN), "sign");
        assert_string_equal(wire_operation_name(_WIRE_OPERATION_N), "unknown");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(request_round_trip),
                cmocka_unit_test(empty_request_round_trip),
                cmocka_unit_test(reply_round_trip),
                cmocka_unit_test(negative_status_round_trip),
                cmocka_unit_test(packet_cut_or_longer_is_refused),
                cmocka_unit_test(wrong_kind_or_version_is_refused),
                cmocka_unit_test(unknown_enum_is_refused),
                cmocka_unit_test(every_byte_changed),
                cmocka_unit_test(text_that_is_not_utf8_is_refused),
                cmocka_unit_test(too_much_is_refused),
                cmocka_unit_test(bad_members_do_not_encode),
                cmocka_unit_test(operations_have_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
