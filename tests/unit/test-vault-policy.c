/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vault is sent to make something, read back as a service reads it: jansson for the JSON, libcrypto, by way of
 * pki, for what is imported.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/strings.h"
#include "pki/bundle.h"
#include "pki/context.h"
#include "pki/private-key.h"
#include "source/azure-key-vault/json.h"
#include "source/azure-key-vault/policy.h"

static void read_bundle(const char *name, PkiBundle *ret_bundle)
{
        CLEANUP(secret_freep) Secret *data = NULL, *passphrase = NULL;
        Failure failure = { 0 };
        char path[512];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", TEST_DATA, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(secret_read_fd(fd, 1 << 16, 1000000, &data), 0);
        close_fd(fd);
        assert_int_equal(secret_new(1, &passphrase), 0);
        assert_int_equal(pki_bundle_parse(data, passphrase, 0, ret_bundle, &failure), 0);
}

/* The value is base64, which no service takes for anything else, of PEM with key and chain. */
static void test_import(void **state)
{
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 }, again = { 0 };
        CLEANUP(secret_freep) Secret *pem = NULL, *body = NULL, *value = NULL, *none = NULL;
        CLEANUP(json_freep) json_t *root = NULL;
        Failure failure = { 0 };
        const char *text;
        size_t n;

        (void)state;
        read_bundle("akv-with-key.p12", &bundle);
        assert_int_equal(pki_private_key_pem(bundle.key, &pem), 0);
        assert_int_equal(policy_import_body(pem, &bundle.chain, bundle.key_type, false, &body), 0);
        assert_int_equal(json_read_object(secret_data(body), secret_length(body), "it", &root,
                                          &failure),
                         0);
        text = json_string_value(json_object_get(root, "value"));
        assert_non_null(text);
        assert_int_equal(secret_new(strlen(text), &value), 0);
        assert_int_equal(base64_decode(text, strlen(text), false, secret_data(value), &n), 0);
        secret_set_length(value, n);
        assert_int_equal(secret_new(1, &none), 0);
        assert_int_equal(pki_bundle_parse(value, none, 0, &again, &failure), 0);
        assert_true(bytes_equal(&again.spki, &bundle.spki));
        assert_int_equal(again.chain.n, bundle.chain.n);
        for (size_t i = 0; i < again.chain.n; i++)
                assert_true(bytes_equal(&again.chain.items[i], &bundle.chain.items[i]));
}

static bool has_usage(KeyType type, const char *usage)
{
        CLEANUP(freep) char *body = policy_create_body(type, false, "CN=x", NULL);
        CLEANUP(json_freep) json_t *root = NULL;
        Failure failure = { 0 };
        const json_t *list, *item;
        JsonView view = { NULL, "it", &failure };
        size_t i;

        assert_non_null(body);
        assert_int_equal(json_read_object(body, strlen(body), "it", &root, &failure), 0);
        view.root = root;
        list = json_view_find(&view, "policy.x509_props.key_usage");
        assert_true(json_is_array(list));
        json_array_foreach(list, i, item)
        {
                if (strcmp(json_string_value(item), usage) == 0)
                        return true;
        }
        return false;
}

/* RFC 8813, 3: keyEncipherment must not stand with id-ecPublicKey. */
static void test_key_usage(void **state)
{
        (void)state;
        for (KeyType type = KEY_TYPE_NONE + 1; type < _KEY_TYPE_N; type++) {
                if (!policy_key_props(type))
                        continue;
                assert_true(has_usage(type, "digitalSignature"));
                assert_int_equal(has_usage(type, "keyEncipherment"),
                                 key_type_row(type)->family == KEY_RSA);
        }
}

static int setup(void **state)
{
        (void)state;
        json_init();
        return pki_init();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_import),
                cmocka_unit_test(test_key_usage),
        };

        return cmocka_run_group_tests(tests, setup, NULL);
}
