/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the seeds that follow from our own encoding, so that they never lag behind it: wire
 * requests of every operation and replies, and a codec program, below the directory that is given.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/codec.h"
#include "base/strings.h"
#include "wire/message.h"

static void require(bool condition, const char *what)
{
        if (condition)
                return;
        fprintf(stderr, "make-seeds: %s: %s\n", what, strerror(errno));
        exit(1);
}

static void write_seed(const char *directory, const char *target, const char *name,
                       const void *data, size_t n)
{
        char path[4096];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", directory, target);
        require(mkdir(path, 0777) == 0 || errno == EEXIST, path);
        snprintf(path, sizeof(path), "%s/%s/%s", directory, target, name);
        f = fopen(path, "we");
        require(f && fwrite(data, 1, n, f) == n && fclose(f) == 0, path);
}

static void write_requests(const char *directory)
{
        for (unsigned i = 0; i < _WIRE_OPERATION_N; i++) {
                CLEANUP(wire_request_deinit) WireRequest q;
                CLEANUP(bytes_deinit) Bytes packet = { 0 };

                wire_request_init(&q, i);
                q.id = 1 + i;
                q.name = strdup("orders");
                q.key_uri = strdup("pkcs11:token=prod;id=%01");
                q.algorithm = ALGORITHM_ECDSA_SHA256;
                q.key_type = KEY_TYPE_EC_P256;
                require(strv_append(&q.settings, "uri=pkcs11:token=prod") == 0 &&
                                bytes_set(&q.input, "0123456789abcdef0123456789abcdef", 32) == 0 &&
                                bytes_list_append(&q.chain, "leaf", 4) == 0 &&
                                wire_request_encode(&q, &packet) == 0,
                        "request");
                write_seed(directory, "wire-request", wire_operation_name(i), packet.data,
                           packet.n);
        }
}

static void write_replies(const char *directory)
{
        for (int status = 0; status < _CB_STATUS_N; status += 5) {
                CLEANUP(wire_reply_deinit) WireReply q;
                CLEANUP(bytes_deinit) Bytes packet = { 0 };
                char name[32];

                wire_reply_init(&q, (uint64_t)status);
                q.failure.status = status;
                snprintf(q.failure.text, sizeof(q.failure.text), "größer als erlaubt");
                q.key_uri = strdup("pkcs11:id=%01");
                q.warning = strdup("…");
                q.algorithms = algorithms_of_key(KEY_TYPE_RSA_2048);
                q.key_type = KEY_TYPE_RSA_2048;
                q.state = SOURCE_READY;
                require(bytes_set(&q.spki, "spki", 4) == 0 &&
                                bytes_set(&q.output, "output", 6) == 0 &&
                                bytes_list_append(&q.chain, "leaf", 4) == 0 &&
                                bytes_list_append(&q.chain, "ca", 2) == 0 &&
                                wire_reply_encode(&q, &packet) == 0,
                        "reply");
                snprintf(name, sizeof(name), "status-%d", status);
                write_seed(directory, "wire-reply", name, packet.data, packet.n);
        }
}

/* Field numbers first, padded to the length of the fields, as fuzz-codec.c reads them. */
static void write_codec(const char *directory)
{
        static const uint8_t fields[] = { 0, 1, 2, 3, 3, 4, 5 };
        CLEANUP(writer_deinit) Writer w;
        BytesList list = { 0 };
        uint8_t program[512] = { 0 };

        require(bytes_list_append(&list, "a", 1) == 0 && bytes_list_append(&list, "bc", 2) == 0,
                "list");
        writer_init(&w, sizeof(program) / 2);
        writer_u8(&w, 1);
        writer_u32(&w, 2);
        writer_u64(&w, 3);
        writer_string(&w, "text");
        writer_string(&w, NULL);
        writer_bytes(&w, "bytes", 5);
        writer_list(&w, &list);
        bytes_list_deinit(&list);
        require(!w.error && w.n > sizeof(fields), "codec");
        memcpy(program, fields, sizeof(fields));
        memcpy(program + w.n, w.data, w.n);
        write_seed(directory, "codec", "every-field", program, 2 * w.n);
}

int main(int argc, char **argv)
{
        require(argc == 2, "usage: make-seeds DIRECTORY");
        require(mkdir(argv[1], 0777) == 0 || errno == EEXIST, argv[1]);
        write_requests(argv[1]);
        write_replies(argv[1]);
        write_codec(argv[1]);
        return 0;
}
