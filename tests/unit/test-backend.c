/* SPDX-License-Identifier: Apache-2.0 */
/* A backend's copies, and exceptions from verification that end by themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/strings.h"
#include "core/backend.h"

static void begins_with_verification_on(void **state)
{
        CLEANUP(backend_freep) Backend *backend = NULL;

        assert_int_equal(backend_new("orders", &backend), 0);
        assert_string_equal(backend->name, "orders");
        assert_true(backend->validate_chain && backend->validate_name);
        assert_string_equal(backend->ca_file, "");
        assert_string_equal(backend->skip_reason, "");
        assert_int_equal(backend->skip_until_sec, 0);
}

static Backend *sample(void)
{
        Backend *backend = NULL;

        assert_int_equal(backend_new("orders", &backend), 0);
        assert_int_equal(string_set(&backend->url, "https://orders.example"), 0);
        assert_int_equal(string_set(&backend->certificate, "orders-client"), 0);
        assert_int_equal(string_set(&backend->ca_file, "/etc/ca.pem"), 0);
        assert_int_equal(string_set(&backend->skip_reason, "old"), 0);
        assert_int_equal(strv_append(&backend->server_names, "a.example"), 0);
        assert_int_equal(strv_append(&backend->server_thumbprints, "AB"), 0);
        backend->validate_name = false;
        backend->skip_until_sec = 1000;
        return backend;
}

static void copies_are_equal_until_changed(void **state)
{
        CLEANUP(backend_freep) Backend *backend = sample();

        for (unsigned member = 0; member <= 10; member++) {
                CLEANUP(backend_freep) Backend *copy = NULL;
                char **texts[] = { NULL, NULL, NULL, NULL, NULL, NULL };

                assert_int_equal(backend_copy(backend, &copy), 0);
                assert_true(backend_equal(backend, copy));
                texts[1] = &copy->name;
                texts[2] = &copy->url;
                texts[3] = &copy->certificate;
                texts[4] = &copy->ca_file;
                texts[5] = &copy->skip_reason;
                if (member >= 1 && member <= 5)
                        assert_int_equal(string_set(texts[member], "other"), 0);
                if (member == 6)
                        copy->validate_chain = false;
                if (member == 7)
                        copy->validate_name = true;
                if (member == 8)
                        assert_int_equal(strv_append(&copy->server_names, "b.example"), 0);
                if (member == 9)
                        copy->server_thumbprints[0][0] = 'C';
                if (member == 10)
                        copy->skip_until_sec++;
                assert_int_equal(backend_equal(backend, copy), member == 0);
        }
}

static void exceptions_end(void **state)
{
        CLEANUP(backend_freep) Backend *backend = sample();

        assert_true(backend_validates_chain(backend, 0));
        assert_false(backend_validates_name(backend, 0));
        assert_false(backend_validates_name(backend, 999));
        assert_true(backend_validates_name(backend, 1000));
        backend->skip_until_sec = 0;
        assert_false(backend_validates_name(backend, UINT64_MAX));
        backend->validate_chain = false;
        assert_false(backend_validates_chain(backend, UINT64_MAX));
        backend->skip_until_sec = 5;
        assert_false(backend_validates_chain(backend, 4));
        assert_true(backend_validates_chain(backend, 5));
        assert_false(backend_exception_is_due(backend, 4));
        assert_true(backend_exception_is_due(backend, 5));
        backend->validate_chain = backend->validate_name = true;
        assert_false(backend_exception_is_due(backend, 5));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(begins_with_verification_on),
                cmocka_unit_test(copies_are_equal_until_changed),
                cmocka_unit_test(exceptions_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
