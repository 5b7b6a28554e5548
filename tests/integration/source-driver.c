/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbroker-source with the pkcs11 driver on a real SoftHSM token: keys in, signatures out, what is found and what
 * is destroyed. What happens to tokens and PINs is in source-token.c, what SoftHSM cannot do in source-faults.c.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pki/context.h"
#include "source-harness.h"

static void test_every_algorithm(void **state)
{
        static const KeyType types[_BUNDLE_N] = {
                [BUNDLE_RSA_2048] = KEY_TYPE_RSA_2048, [BUNDLE_RSA_3072] = KEY_TYPE_RSA_3072,
                [BUNDLE_RSA_4096] = KEY_TYPE_RSA_4096, [BUNDLE_P256] = KEY_TYPE_EC_P256,
                [BUNDLE_P384] = KEY_TYPE_EC_P384,      [BUNDLE_P521] = KEY_TYPE_EC_P521,
                [BUNDLE_ED25519] = KEY_TYPE_ED25519,
        };
        Fixture *fixture = *state;

        source_start_until(fixture, SOURCE_READY);
        for (BundleKind kind = 0; kind < _BUNDLE_N; kind++) {
                WireReply key;

                import_bundle(fixture, "orders", kind, &key);
                expect_status(&key, 0);
                assert_int_equal(key.key_type, types[kind]);
                assert_int_equal(key.algorithms, algorithms_of_key(types[kind]));
                assert_int_equal(key.chain.n, 3);
                assert_null(key.warning);
                assert_false(key.extractable);
                for (Algorithm a = ALGORITHM_NONE + 1; a < _ALGORITHM_N; a++)
                        if (key.algorithms & ALGORITHM_BIT(a))
                                sign_ok(fixture, &key, a);
                wire_reply_deinit(&key);
        }
}

static void test_wrong_requests(void **state)
{
        Fixture *fixture = *state;
        WireReply key, reply;
        WireRequest request;

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);

        sign(fixture, key.key_uri, ALGORITHM_RSA_PKCS1_SHA256, &reply);
        expect_status(&reply, CB_NOT_SUPPORTED);
        wire_reply_deinit(&reply);

        wire_request_init(&request, WIRE_SIGN);
        request.key_uri = strdup(key.key_uri);
        request.algorithm = ALGORITHM_ECDSA_SHA256;
        assert_int_equal(bytes_set(&request.input, "short", 5), 0);
        call(fixture, &request, &reply);
        expect_status(&reply, CB_INVALID_ARGUMENT);
        wire_reply_deinit(&reply);

        sign(fixture, "pkcs11:token=unit;object=nobody", ALGORITHM_ECDSA_SHA256, &reply);
        expect_status(&reply, CB_NOT_FOUND);
        wire_reply_deinit(&reply);

        wire_request_init(&request, WIRE_CONFIGURE);
        call(fixture, &request, &reply);
        expect_status(&reply, CB_INVALID_ARGUMENT);
        wire_reply_deinit(&reply);

        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA512);
        wire_reply_deinit(&key);
}

static void test_objects_on_the_token(void **state)
{
        Fixture *fixture = *state;
        const char *const argv[] = { "pkcs11-tool",    "--module",
                                     softhsm_module(), "--token-label",
                                     "unit",           "--login",
                                     "--pin",          PIN,
                                     "--list-objects", NULL };
        WireReply key;
        char *output, *private;

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_RSA_2048, &key);
        expect_status(&key, 0);
        wire_reply_deinit(&key);
        output = run(argv);
        private = strstr(output, "Private Key Object");
        assert_non_null(private);
        assert_non_null(strstr(private, "label:      orders"));
        assert_non_null(strstr(private, "sensitive"));
        assert_null(strstr(private, " extractable")); /* not even "never": it came from outside */
        free(output);
        assert_int_equal(token_objects(fixture), 5); /* two halves, three certificates */
}

static void expect_import(Fixture *fixture, int bundle, int passphrase, int status)
{
        WireRequest request;
        WireReply reply;

        wire_request_init(&request, WIRE_IMPORT);
        request.name = strdup("bad");
        request.generation = 1;
        request.fds[0] = bundle;
        request.fds[1] = passphrase;
        call(fixture, &request, &reply);
        expect_status(&reply, status);
        wire_reply_deinit(&reply);
}

static int open_pipe_without_end(int *ret_writer)
{
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(write(fds[1], "x", 1), 1);
        *ret_writer = fds[1];
        return fds[0];
}

static void test_bad_bundles(void **state)
{
        Fixture *fixture = *state;
        char *large = malloc((1 << 20) + 2), *cut = strdup(bundle_pem(BUNDLE_P256));
        int writer;

        memset(large, 'x', (1 << 20) + 1);
        large[(1 << 20) + 1] = '\0';
        cut[strlen(cut) / 2] = '\0';
        source_start_until(fixture, SOURCE_READY);
        expect_import(fixture, memory_fd(""), memory_fd(""), CB_BAD_BUNDLE);
        expect_import(fixture, memory_fd("no bundle at all"), memory_fd(""), CB_BAD_BUNDLE);
        expect_import(fixture, memory_fd(cut), memory_fd(""), CB_BAD_BUNDLE);
        expect_import(fixture, memory_fd(large), memory_fd(""), CB_INVALID_ARGUMENT);
        expect_import(fixture, memory_fd(bundle_pem(BUNDLE_P256)), memory_fd(large),
                      CB_INVALID_ARGUMENT);
        expect_import(fixture, open("/", O_RDONLY | O_CLOEXEC), memory_fd(""), CB_INVALID_ARGUMENT);
        expect_import(fixture, open("/dev/zero", O_RDONLY | O_CLOEXEC), memory_fd(""),
                      CB_INVALID_ARGUMENT);
        expect_import(fixture, -1, memory_fd(""), CB_INVALID_ARGUMENT);
        expect_import(fixture, open_pipe_without_end(&writer), memory_fd(""), CB_INVALID_ARGUMENT);
        close(writer);
        assert_int_equal(token_objects(fixture), 0);
        free(large);
        free(cut);
}

static void test_destroy_takes_its_own(void **state)
{
        Fixture *fixture = *state;
        WireReply first, second, reply;

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "one", BUNDLE_P256, &first);
        expect_status(&first, 0);
        import_bundle(fixture, "two", BUNDLE_P256, &second);
        expect_status(&second, 0);
        assert_string_not_equal(first.key_uri, second.key_uri);
        assert_int_equal(token_objects(fixture), 10);

        simple_call(fixture, WIRE_DESTROY, first.key_uri, -1, &reply);
        expect_status(&reply, 0);
        wire_reply_deinit(&reply);
        assert_int_equal(token_objects(fixture), 5);
        sign_ok(fixture, &second, ALGORITHM_ECDSA_SHA256);
        lookup(fixture, second.key_uri, &reply);
        expect_status(&reply, 0);
        assert_true(bytes_list_equal(&reply.chain, &second.chain));
        wire_reply_deinit(&reply);

        sign(fixture, first.key_uri, ALGORITHM_ECDSA_SHA256, &reply);
        expect_status(&reply, CB_NOT_FOUND);
        wire_reply_deinit(&reply);
        simple_call(fixture, WIRE_DESTROY, first.key_uri, -1, &reply);
        expect_status(&reply, CB_NOT_FOUND);
        wire_reply_deinit(&reply);
        wire_reply_deinit(&first);
        wire_reply_deinit(&second);
}

static void expect_lookup(Fixture *fixture, const char *uri, int status, const char *text)
{
        WireReply reply;

        lookup(fixture, uri, &reply);
        expect_status(&reply, status);
        if (text && !strstr(reply.failure.text, text))
                broken("'%s' is not in: %s", text, reply.failure.text);
        wire_reply_deinit(&reply);
}

static void test_lookup(void **state)
{
        Fixture *fixture = *state;
        WireReply key, reply;

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P384, &key);
        expect_status(&key, 0);

        lookup(fixture, "pkcs11:token=unit;object=orders", &reply);
        expect_status(&reply, 0);
        assert_string_equal(reply.key_uri, key.key_uri);
        assert_int_equal(reply.key_type, KEY_TYPE_EC_P384);
        assert_int_equal(reply.algorithms, key.algorithms);
        assert_true(bytes_equal(&reply.spki, &key.spki));
        assert_true(bytes_list_equal(&reply.chain, &key.chain));
        assert_null(reply.warning);
        wire_reply_deinit(&reply);

        expect_lookup(fixture, "pkcs11:token=unit;object=none", CB_NOT_FOUND, "none");
        expect_lookup(fixture, "pkcs11:token=other;object=orders", CB_NOT_FOUND, "another token");
        expect_lookup(fixture, "pkcs11:token=unit", CB_INVALID_ARGUMENT, "names no key");
        expect_lookup(fixture, "pkcs11:object=orders;type=cert", CB_INVALID_ARGUMENT, "private");
        expect_lookup(fixture, "pkcs11:object=orders?pin-value=1234", CB_INVALID_ARGUMENT,
                      "pin-value");
        expect_lookup(fixture, "pkcs11:object=orders?pin-source=/x", CB_INVALID_ARGUMENT,
                      "pin-source");
        expect_lookup(fixture, "pkcs11:object=orders?module-path=/x", CB_INVALID_ARGUMENT,
                      "module-path");
        expect_lookup(fixture, "pkcs11:object=orders?module-name=x", CB_INVALID_ARGUMENT,
                      "module-name");
        expect_lookup(fixture, "pkcs11:object=orders;pin-value=1234", CB_INVALID_ARGUMENT,
                      "pin-value");
        expect_lookup(fixture, "pkcs11:object=orders;colour=red", CB_INVALID_ARGUMENT,
                      "understood");
        expect_lookup(fixture, "https://vault.example/certificates/x", CB_INVALID_ARGUMENT,
                      "pkcs11");
        expect_lookup(fixture, "pkcs11:object=%zz", CB_INVALID_ARGUMENT, "pkcs11");

        import_bundle(fixture, "orders", BUNDLE_P256, &reply);
        expect_status(&reply, 0);
        wire_reply_deinit(&reply);
        expect_lookup(fixture, "pkcs11:token=unit;object=orders", CB_INVALID_ARGUMENT, "id=");
        expect_lookup(fixture, key.key_uri, 0, NULL);
        wire_reply_deinit(&key);
}

static void make_foreign_key(const char *label, const char *id, const char *type, bool always)
{
        const char *argv[] = { "pkcs11-tool",
                               "--module",
                               softhsm_module(),
                               "--token-label",
                               "unit",
                               "--login",
                               "--pin",
                               PIN,
                               "--keypairgen",
                               "--key-type",
                               type,
                               "--label",
                               label,
                               "--id",
                               id,
                               always ? "--always-auth" : NULL,
                               NULL };

        free(run(argv));
}

static void write_foreign_object(Fixture *fixture, const char *kind, const char *label,
                                 const char *id, const Bytes *der)
{
        char path[160];
        int fd = open(data_path(fixture, "object.der", path), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        const char *const argv[] = { "pkcs11-tool",
                                     "--module",
                                     softhsm_module(),
                                     "--token-label",
                                     "unit",
                                     "--login",
                                     "--pin",
                                     PIN,
                                     "--write-object",
                                     path,
                                     "--type",
                                     kind,
                                     "--label",
                                     label,
                                     "--id",
                                     id,
                                     NULL };

        assert_int_equal(write(fd, der->data, der->n), (ssize_t)der->n);
        close(fd);
        free(run(argv));
}

/* Keys that other tools have made, while we run. */
static void test_foreign_keys(void **state)
{
        Fixture *fixture = *state;
        Bytes leaf = { 0 };
        WireReply key, reply;

        source_start_until(fixture, SOURCE_READY);
        make_foreign_key("ec", "01", "EC:secp256r1", false);
        make_foreign_key("rsa", "02", "rsa:2048", false);
        make_foreign_key("k1", "03", "EC:secp256k1", false);

        lookup(fixture, "pkcs11:token=unit;object=ec", &key);
        expect_status(&key, 0);
        assert_int_equal(key.chain.n, 0);
        assert_non_null(key.warning);
        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA384);
        lookup(fixture, "pkcs11:token=unit;id=%02", &reply);
        expect_status(&reply, 0);
        sign_ok(fixture, &reply, ALGORITHM_RSA_PSS_SHA512);
        wire_reply_deinit(&reply);
        expect_lookup(fixture, "pkcs11:token=unit;object=k1", CB_NOT_SUPPORTED, "P-256");

        /* a certificate of another key under the same id */
        bundle_renewed(BUNDLE_P256, &leaf);
        write_foreign_object(fixture, "cert", "ec", "01", &leaf);
        expect_lookup(fixture, "pkcs11:token=unit;object=ec", CB_KEY_MISMATCH, "another key");
        bytes_deinit(&leaf);
        wire_reply_deinit(&key);
}

static void test_key_deleted_by_another(void **state)
{
        Fixture *fixture = *state;
        const char *const argv[] = { "pkcs11-tool",   "--module", softhsm_module(),
                                     "--token-label", "unit",     "--login",
                                     "--pin",         PIN,        "--delete-object",
                                     "--type",        "privkey",  "--label",
                                     "orders",        NULL };
        WireReply key, reply;

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA256);
        free(run(argv));
        sign(fixture, key.key_uri, ALGORITHM_ECDSA_SHA256, &reply);
        expect_status(&reply, CB_NOT_FOUND);
        wire_reply_deinit(&reply);
        assert_int_equal(fixture->state, SOURCE_READY);
        wire_reply_deinit(&key);
}

static void test_install(void **state)
{
        Fixture *fixture = *state;
        WireRequest request;
        WireReply key, reply;
        Bytes leaf = { 0 }, foreign = { 0 };

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        bundle_renewed(BUNDLE_P256, &leaf);
        bundle_renewed(BUNDLE_P384, &foreign);

        wire_request_init(&request, WIRE_INSTALL);
        request.name = strdup("orders");
        request.key_uri = strdup(key.key_uri);
        assert_int_equal(bytes_list_append(&request.chain, foreign.data, foreign.n), 0);
        call(fixture, &request, &reply);
        expect_status(&reply, CB_KEY_MISMATCH);
        wire_reply_deinit(&reply);

        wire_request_init(&request, WIRE_INSTALL);
        request.name = strdup("orders");
        request.key_uri = strdup(key.key_uri);
        assert_int_equal(bytes_list_append(&request.chain, leaf.data, leaf.n), 0);
        assert_int_equal(
                bytes_list_append(&request.chain, key.chain.items[1].data, key.chain.items[1].n),
                0);
        call(fixture, &request, &reply);
        expect_status(&reply, 0);
        assert_null(reply.warning);
        wire_reply_deinit(&reply);
        assert_int_equal(token_objects(fixture), 4); /* two halves, leaf, intermediate */

        lookup(fixture, key.key_uri, &reply);
        expect_status(&reply, 0);
        assert_int_equal(reply.chain.n, 2);
        assert_true(bytes_equal(&reply.chain.items[0], &leaf));
        wire_reply_deinit(&reply);
        wire_reply_deinit(&key);
        bytes_deinit(&leaf);
        bytes_deinit(&foreign);
}

static void test_many_in_flight(void **state)
{
        Fixture *fixture = *state;
        WireReply key, reply;
        bool seen[400] = { false };

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        for (unsigned i = 0; i < 200; i++)
                assert_true(send_sign(fixture, key.key_uri, ALGORITHM_ECDSA_SHA256, 0) < 400);
        for (unsigned i = 0; i < 200; i++) {
                assert_true(next_reply(fixture, 30000, &reply));
                assert_false(seen[reply.id]);
                seen[reply.id] = true;
                expect_signature(&key, ALGORITHM_ECDSA_SHA256, &reply);
                wire_reply_deinit(&reply);
        }
        wire_reply_deinit(&key);
}

static void test_expired_before_its_turn(void **state)
{
        Fixture *fixture = *state;
        WireReply key, reply;

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        (void)send_sign(fixture, key.key_uri, ALGORITHM_ECDSA_SHA256, 1);
        assert_true(next_reply(fixture, 5000, &reply));
        expect_status(&reply, CB_TIMED_OUT);
        wire_reply_deinit(&reply);
        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA256);
        wire_reply_deinit(&key);
}

static void test_always_authenticate(void **state)
{
        Fixture *fixture = *state;
        WireReply key, reply;

        make_foreign_key("always", "07", "EC:secp256r1", true);
        source_start_until(fixture, SOURCE_READY);
        lookup(fixture, "pkcs11:token=unit;object=always", &key);
        expect_status(&key, 0);
        for (unsigned i = 0; i < 50; i++)
                (void)send_sign(fixture, key.key_uri, ALGORITHM_ECDSA_SHA256, 0);
        for (unsigned i = 0; i < 50; i++) {
                assert_true(next_reply(fixture, 30000, &reply));
                expect_signature(&key, ALGORITHM_ECDSA_SHA256, &reply);
                wire_reply_deinit(&reply);
        }
        wire_reply_deinit(&key);
}

static void test_refuses_what_is_no_socket(void **state)
{
        static const char command[] =
                CERTBROKER_SOURCE " --fd 0 --parent $$ </dev/null; test $? = 64 && " CERTBROKER_SOURCE
                                  "; test $? = 64 && " CERTBROKER_SOURCE
                                  " --fd 99 --parent $$; test $? = 64 && " CERTBROKER_SOURCE
                                  " --fd 0 </dev/null; test $? = 64 && " CERTBROKER_SOURCE
                                  " --version && " CERTBROKER_SOURCE " --help";
        const char *const argv[] = { "sh", "-c", command, NULL };
        char *output;

        (void)state;
        output = run(argv);
        assert_non_null(strstr(output, "no SOCK_SEQPACKET socket"));
        assert_non_null(strstr(output, "--fd N"));
        free(output);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_every_algorithm),
                CASE(test_wrong_requests),
                CASE(test_objects_on_the_token),
                CASE(test_bad_bundles),
                CASE(test_destroy_takes_its_own),
                CASE(test_lookup),
                CASE(test_foreign_keys),
                CASE(test_key_deleted_by_another),
                CASE(test_install),
                CASE(test_many_in_flight),
                CASE(test_expired_before_its_turn),
                CASE(test_always_authenticate),
                cmocka_unit_test(test_refuses_what_is_no_socket),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, bundles_setup, NULL);
}
