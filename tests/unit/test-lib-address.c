/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of D-Bus addresses: what is usable, what is skipped, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "text.h"

static void test_path(void **state)
{
        const char *list = "unix:path=/run/dbus/system_bus_socket,guid=0123";
        Address address;

        assert_int_equal(address_next(&list, &address), 0);
        assert_string_equal(address.socket.sun_path, "/run/dbus/system_bus_socket");
        assert_int_equal(address.n_socket, offsetof(struct sockaddr_un, sun_path) + 28);
        assert_int_equal(address_next(&list, &address), -ENOENT);
}

static void test_abstract(void **state)
{
        const char *list = "unix:abstract=/run/x%20y";
        Address address;

        assert_int_equal(address_next(&list, &address), 0);
        assert_memory_equal(address.socket.sun_path, "\0/run/x y", 9);
        assert_int_equal(address.n_socket, offsetof(struct sockaddr_un, sun_path) + 9);
}

static void test_list(void **state)
{
        const char *list = "tcp:host=h,port=1;unix:path=/a;;unixexec:path=/bin/sh;unix:path=/b;";
        Address address;

        assert_int_equal(address_next(&list, &address), -EPROTONOSUPPORT);
        assert_int_equal(address_next(&list, &address), 0);
        assert_string_equal(address.socket.sun_path, "/a");
        assert_int_equal(address_next(&list, &address), -EPROTONOSUPPORT);
        assert_int_equal(address_next(&list, &address), 0);
        assert_string_equal(address.socket.sun_path, "/b");
        assert_int_equal(address_next(&list, &address), -ENOENT);
}

static void test_malformed(void **state)
{
        static const char *const bad[] = {
                "",
                ";",
                "system",
                "unix",
                ":path=/a",
                "unix:",
                "unix:path",
                "unix:path=",
                "unix:=/a",
                "unix:path=/a%",
                "unix:path=/a%2",
                "unix:path=/a%zz",
                "unix:path=/a%00b",
                "unix:guid=12",
                "unix:path=/a,abstract=b",
                "tcp:host=x",
                "unix:path=/a;nonsense",
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                if (address_is_valid(bad[i]))
                        fail_msg("\"%s\" was taken for an address", bad[i]);
        assert_true(address_is_valid("unix:path=/a"));
        assert_true(address_is_valid("tcp:host=x;unix:path=/a"));
}

static void test_too_long(void **state)
{
        char text[200] = "unix:path=/";
        const char *list = text;
        Address address;

        memset(text + 11, 'a', 106); /* 107 bytes and the NUL: as many as fit */
        assert_int_equal(address_next(&list, &address), 0);
        memset(text + 11, 'a', 107);
        list = text;
        assert_int_equal(address_next(&list, &address), -ENAMETOOLONG);
        memcpy(text, "unix:abstract=/", 15);
        memset(text + 15, 'a', sizeof(text) - 16);
        list = text;
        assert_int_equal(address_next(&list, &address), -ENAMETOOLONG);
}

static void test_of_path(void **state)
{
        char *text = address_of_path("/run/user/1 0;,%", "/bus");
        const char *list = text;
        Address address;

        assert_non_null(text);
        assert_int_equal(address_next(&list, &address), 0);
        assert_string_equal(address.socket.sun_path, "/run/user/1 0;,%/bus");
        free(text);
}

static void test_utf8(void **state)
{
        static const struct {
                const char *text;
                size_t n;
                bool valid;
        } cases[] = {
                { "", 0, true },
                { "abc", 3, true },
                { "\xc3\xa4", 2, true },
                { "\xe2\x82\xac", 3, true },
                { "\xf0\x9f\x94\x91", 4, true },
                { "a\0b", 3, false },
                { "\xff", 1, false },
                { "\xc3", 1, false },
                { "\xc0\xaf", 2, false },
                { "\xe0\x80\xaf", 3, false },
                { "\xed\xa0\x80", 3, false },
                { "\xf4\x90\x80\x80", 4, false },
                { "\xf0\x80\x80\xaf", 4, false },
                { "\x80", 1, false },
                { "\xe2\x82", 2, false },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                if (text_is_utf8(cases[i].text, cases[i].n) != cases[i].valid)
                        fail_msg("case %zu", i);
}

static void test_names(void **state)
{
        assert_true(text_is_path("/"));
        assert_true(text_is_path("/a/b_1"));
        assert_false(text_is_path(NULL));
        assert_false(text_is_path(""));
        assert_false(text_is_path("a"));
        assert_false(text_is_path("/a/"));
        assert_false(text_is_path("//a"));
        assert_false(text_is_path("/a-b"));
        assert_true(text_is_name("org.certbroker1.Manager", true));
        assert_false(text_is_name("org", true));
        assert_false(text_is_name("org..x", true));
        assert_false(text_is_name("org.1x", true));
        assert_false(text_is_name(".org", true));
        assert_true(text_is_name("GetAll", false));
        assert_false(text_is_name("Get.All", false));
        assert_false(text_is_name("", false));
        assert_false(text_is_name(NULL, false));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_path),     cmocka_unit_test(test_abstract),
                cmocka_unit_test(test_list),     cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_too_long), cmocka_unit_test(test_of_path),
                cmocka_unit_test(test_utf8),     cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
