/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of calls, and which interfaces a node has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/bus/node.h"

static void test_objects(void **state)
{
        Node node;

        node_parse("/org/certbroker1", &node);
        assert_int_equal(node.type, NODE_OBJECT);
        assert_int_equal(node.kind, OBJECT_MANAGER);

        node_parse("/org/certbroker1/certificate/web_2d1", &node);
        assert_int_equal(node.type, NODE_OBJECT);
        assert_int_equal(node.kind, OBJECT_CERTIFICATE);
        assert_string_equal(node.name, "web-1");

        node_parse("/org/certbroker1/source/hsm", &node);
        assert_int_equal(node.type, NODE_OBJECT);
        assert_int_equal(node.kind, OBJECT_SOURCE);
        assert_string_equal(node.name, "hsm");
}

static void test_folders(void **state)
{
        Node node;

        node_parse("/", &node);
        assert_int_equal(node.type, NODE_FOLDER);
        assert_string_equal(node.child, "org");

        node_parse("/org", &node);
        assert_int_equal(node.type, NODE_FOLDER);
        assert_string_equal(node.child, "certbroker1");

        node_parse("/org/certbroker1/backend", &node);
        assert_int_equal(node.type, NODE_FOLDER);
        assert_int_equal(node.kind, OBJECT_BACKEND);
        assert_null(node.child);
}

static void test_foreign(void **state)
{
        static const char *const paths[] = {
                "",
                "/orgs",
                "/org/certbroker",
                "/org/certbroker10",
                "/org/certbroker1/",
                "/org/certbroker1/nothing",
                "/org/certbroker1/nothing/x",
                "/org/certbroker1/certificate/",
                "/org/certbroker1/certificate/a/b",
                "/org/certbroker1/certificate/a_2",
                "/org/freedesktop/DBus",
        };
        Node node;

        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
                node_parse(paths[i], &node);
                assert_int_equal(node.type, NODE_FOREIGN);
                for (InterfaceId id = 0; id < _INTERFACE_N; id++)
                        assert_false(node_has_interface(&node, id));
        }
}

/* Each kind of object has its own interface, and nobody else's. */
static void test_interfaces(void **state)
{
        static const struct {
                const char *path;
                InterfaceId own;
        } rows[] = {
                { "/org/certbroker1", INTERFACE_MANAGER },
                { "/org/certbroker1/certificate/a", INTERFACE_CERTIFICATE },
                { "/org/certbroker1/backend/a", INTERFACE_BACKEND },
                { "/org/certbroker1/source/a", INTERFACE_SOURCE },
                { "/org/certbroker1/certificate", _INTERFACE_N },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                Node node;

                node_parse(rows[i].path, &node);
                for (InterfaceId id = INTERFACE_MANAGER; id <= INTERFACE_SOURCE; id++)
                        assert_int_equal(node_has_interface(&node, id), id == rows[i].own);
                assert_true(node_has_interface(&node, INTERFACE_PROPERTIES));
                assert_true(node_has_interface(&node, INTERFACE_INTROSPECTABLE));
                assert_true(node_has_interface(&node, INTERFACE_PEER));
                assert_int_equal(node_has_interface(&node, INTERFACE_OBJECT_MANAGER), i == 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_objects),
                cmocka_unit_test(test_folders),
                cmocka_unit_test(test_foreign),
                cmocka_unit_test(test_interfaces),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
