/* SPDX-License-Identifier: Apache-2.0 */
/* Names and paths: what is let in, what is not, and one path for each object. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"
#include "base/strings.h"
#include "core/identifier.h"

#define HEX40 "0123456789abcdef0123456789ABCDEF01234567"
#define HEX64 "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABCDEF"

static void identifiers(void **state)
{
        static const char *const good[] = { "a",
                                            "0",
                                            "A.b_c-d",
                                            "orders-2024",
                                            HEX40 "a",
                                            "deadbeef",
                                            "0123456789abcdef0123456789ABCDEF0123456g" };
        static const char *const bad[] = { "",     ".",     "..",  "-a",  "_a",  ".a",
                                           "a/b",  "a b",   "a\n", "ä",   "a:b", "a*",
                                           "../a", "a\x7f", HEX40, HEX64, " a",  "a%" };
        char text[130];

        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_true(identifier_is_valid(good[i]));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(identifier_is_valid(bad[i]));
        memset(text, 'x', sizeof(text));
        text[127] = '\0';
        assert_true(identifier_is_valid(text));
        text[127] = 'x';
        text[128] = '\0';
        assert_false(identifier_is_valid(text));
}

static void source_names(void **state)
{
        char text[65];

        assert_true(source_name_is_valid("hsm"));
        assert_true(source_name_is_valid("Vault_2-b"));
        assert_false(source_name_is_valid(""));
        assert_false(source_name_is_valid("2hsm"));
        assert_false(source_name_is_valid("_hsm"));
        assert_false(source_name_is_valid("a.b"));
        assert_false(source_name_is_valid("a/b"));
        memset(text, 'x', sizeof(text));
        text[63] = '\0';
        assert_true(source_name_is_valid(text));
        text[63] = 'x';
        text[64] = '\0';
        assert_false(source_name_is_valid(text));
}

/* The expected paths are sd_bus_path_encode(3)'s. */
static void paths_are_those_of_sd_bus(void **state)
{
        static const struct {
                ObjectKind kind;
                const char *name, *path;
        } rows[] = {
                { OBJECT_MANAGER, "", "/org/certbroker1" },
                { OBJECT_CERTIFICATE, "orders", "/org/certbroker1/certificate/orders" },
                { OBJECT_CERTIFICATE, "a-b.c_d", "/org/certbroker1/certificate/a_2db_2ec_5fd" },
                { OBJECT_BACKEND, "9lives2", "/org/certbroker1/backend/_39lives2" },
                { OBJECT_SOURCE, "hsm-1", "/org/certbroker1/source/hsm_2d1" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char path[OBJECT_PATH_MAX], name[IDENTIFIER_LENGTH_MAX + 1];
                ObjectKind kind = _OBJECT_KIND_N;

                object_path_encode(rows[i].kind, rows[i].name, path);
                assert_string_equal(path, rows[i].path);
                assert_int_equal(object_path_decode(path, &kind, name), 0);
                assert_int_equal(kind, rows[i].kind);
                assert_string_equal(name, rows[i].name);
        }
}

static void the_longest_name_fits(void **state)
{
        char name[IDENTIFIER_LENGTH_MAX + 1], back[IDENTIFIER_LENGTH_MAX + 1],
                path[OBJECT_PATH_MAX];
        ObjectKind kind;

        memset(name, '-', sizeof(name));
        name[0] = '7';
        name[IDENTIFIER_LENGTH_MAX] = '\0';
        object_path_encode(OBJECT_CERTIFICATE, name, path);
        assert_int_equal(strlen(path), strlen("/org/certbroker1/certificate/") + 3 * 127);
        assert_int_equal(object_path_decode(path, &kind, back), 0);
        assert_string_equal(name, back);
        strcat(path, "_2d");
        assert_int_equal(object_path_decode(path, &kind, back), -ENOENT);
}

static void other_paths_are_nobodys(void **state)
{
        static const char *const paths[] = {
                "",
                "/",
                "/org",
                "/org/certbroker1/",
                "/org/certbroker12",
                "/org/certbroker1/certificate",
                "/org/certbroker1/certificate/",
                "/org/certbroker1/certificate/_",
                "/org/certbroker1/certificate/a_",
                "/org/certbroker1/certificate/a_2",
                "/org/certbroker1/certificate/a_2x",
                "/org/certbroker1/certificate/a-b",    /* not escaped */
                "/org/certbroker1/certificate/a_2Db",  /* another spelling of a-b */
                "/org/certbroker1/certificate/_61",    /* of a */
                "/org/certbroker1/certificate/9lives", /* of 9lives */
                "/org/certbroker1/certificate/a_2fb",  /* a/b */
                "/org/certbroker1/certificate/a_00b",
                "/org/certbroker1/certificate/a/b",
                "/org/certbroker1/certificate/_2e_2e", /* .. */
                "/org/certbroker1/source/_39",         /* begins with a digit */
                "/org/certbroker1/keys/a",
        };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                ObjectKind kind = OBJECT_SOURCE;
                char name[IDENTIFIER_LENGTH_MAX + 1] = "untouched";

                assert_int_equal(object_path_decode(paths[i], &kind, name), -ENOENT);
                assert_int_equal(kind, OBJECT_SOURCE);
                assert_string_equal(name, "untouched");
        }
}

static void not_found_can_always_be_said(void **state)
{
        char name[4000];
        Failure failure, shorter;

        assert_int_equal(object_not_found(&failure, OBJECT_CERTIFICATE, "orders"), CB_NOT_FOUND);
        assert_int_equal(failure.status, CB_NOT_FOUND);
        assert_non_null(strstr(failure.text, "certificate 'orders'"));
        object_not_found(&failure, OBJECT_BACKEND, "a\n\xff");
        assert_non_null(strstr(failure.text, "backend 'a\\x0a\\xff'"));

        memset(name, '\x01', sizeof(name));
        name[3999] = '\0';
        object_not_found(&failure, OBJECT_CERTIFICATE, name);
        name[200] = '\0';
        object_not_found(&shorter, OBJECT_CERTIFICATE, name);
        assert_string_equal(failure.text, shorter.text);
        assert_true(utf8_is_valid(failure.text, strlen(failure.text)));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(identifiers),
                cmocka_unit_test(source_names),
                cmocka_unit_test(paths_are_those_of_sd_bus),
                cmocka_unit_test(the_longest_name_fits),
                cmocka_unit_test(other_paths_are_nobodys),
                cmocka_unit_test(not_found_can_always_be_said),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
