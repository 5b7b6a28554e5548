/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of grants: every setting, and the warnings about what can never match. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/strings.h"
#include "config-bench.h"

static void test_grants(void **state)
{
        const Grant *grant;

        (void)state;
        load_well("grant = {\n"
                  "  full = { user = \"root\"; group = \"root\"; unit = \"nginx.service\"; label = "
                  "\"l\";\n"
                  "    allow = [ \"use\", \"manage\" ]; certificate = [ \"orders-*\", \"x?\" ];\n"
                  "    backend = ( \"a\", \"b\" ); source = [ \"*\" ]; algorithm = [ \"ecdsa-sha256\", "
                  "\"rsa-pkcs1-sha1\" ];\n"
                  "    rate = \"500/s\"; burst = 1000; };\n"
                  "  numbers = { user = 4000000000L; group = \"123\"; allow = \"tls\"; certificate "
                  "= \"*\";\n"
                  "    rate = \"120/m\"; };\n"
                  "  auditor = { user = 1; allow = \"audit\"; };\n"
                  "};\n");
        assert_int_equal(config->grants->n, 3);
        grant = config->grants->items[0];
        assert_string_equal(grant->name, "full");
        assert_true(grant->has_user && grant->has_group);
        assert_int_equal(grant->uid, 0);
        assert_int_equal(grant->gid, 0);
        assert_string_equal(grant->unit, "nginx.service");
        assert_string_equal(grant->label, "l");
        assert_int_equal(grant->operations,
                         OPERATION_READ | OPERATION_TLS | OPERATION_SIGN | OPERATION_MANAGE);
        assert_int_equal(strv_length(grant->certificates), 2);
        assert_string_equal(grant->backends[1], "b");
        assert_string_equal(grant->sources[0], "*");
        assert_int_equal(grant->algorithms, ALGORITHM_BIT(ALGORITHM_ECDSA_SHA256) |
                                                    ALGORITHM_BIT(ALGORITHM_RSA_PKCS1_SHA1));
        assert_int_equal(grant->rate_per_sec, 500);
        assert_int_equal(grant->burst, 1000);
        grant = config->grants->items[1];
        assert_int_equal(grant->uid, 4000000000U);
        assert_int_equal(grant->gid, 123);
        assert_int_equal(grant->operations, OPERATION_READ | OPERATION_TLS);
        assert_int_equal(grant->algorithms, 0);
        assert_int_equal(grant->rate_per_sec, 2);
        assert_int_equal(grant->burst, 2);
        assert_null(grant->unit);
        assert_null(grant->sources);
        assert_int_equal(config->grants->items[2]->operations, OPERATION_AUDIT);
        if (config->warnings) { /* a kernel may tell no labels */
                assert_int_equal(strv_length(config->warnings), 1);
                assert_non_null(strstr(config->warnings[0], "label 'l' can never match"));
        }
}

static void test_bad_grants(void **state)
{
        static const struct {
                const char *setting, *part;
        } rows[] = {
                { "user = \"no-such-user-here\"", "no user 'no-such-user-here'" },
                { "group = \"no-such-group-here\"", "no group 'no-such-group-here'" },
                { "user = 4294967295L", "to 4294967294" },
                { "user = \"4294967295\"", "no user" },
                { "user = -1", "from 0" },
                { "user = [ \"root\" ]", "string" },
                { "user = 1; allow = [ \"sign\" ]", "unknown operation 'sign'" },
                { "user = 1; allow = [ ]", "must not be empty" },
                { "user = 1; allow = \"\"", "must not be empty" },
                { "user = 1; certificate = 5", "list of strings" },
                { "user = 1; algorithm = \"md5\"",
                  "unknown algorithm 'md5'; known are: rsa-pkcs1-sha256" },
                { "user = 1; algorithm = [ ]", "must not be empty" },
                { "user = 1; rate = \"5\"", "like \"500/s\"" },
                { "user = 1; rate = 5", "string" },
                { "user = 1; rate = \"0/s\"", "from 1/s" },
                { "user = 1; rate = \"90/m\"", "whole number a second" },
                { "user = 1; rate = \"99999999999999999999999/s\"", "from 1/s" },
                { "user = 1; burst = 0", "from 1" },
                { "users = \"root\"",
                  "unknown setting 'users' in a grant; known are: user, group" },
        };
        char text[256];

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                snprintf(text, sizeof(text), "grant = { g = {\n\n%s; }; };\n", rows[i].setting);
                load_badly(text, 3, rows[i].part);
        }
        load_badly("grant = {\n g = { unit = \"x.service\"; allow = \"read\"; };\n};", 2,
                   "must name 'user' or 'group'");
        load_badly("grant = {\n g = { user = 1; };\n};", 2, "needs 'allow'");
        load_badly("grant = {\n g = 1;\n};", 2, "must be a group");
}

static void test_grant_warnings(void **state)
{
        static const struct {
                const char *settings, *part;
        } rows[] = {
                { "user = 1; allow = \"use\"", "allows nothing" },
                { "user = 1; allow = [ \"use\", \"audit\" ]", "allows nothing but 'audit'" },
                { "user = 1; allow = \"export\"; backend = \"*\"", "'decrypt' and 'export'" },
                { "user = 1; allow = \"export\"; source = \"*\"", "'decrypt' and 'export'" },
                { "user = 1; allow = \"tls\"; source = \"*\"", "'tls' and 'use'" },
                { "user = 1; allow = \"audit\"; source = \"*\"", "names objects" },
                { "user = 1; allow = \"manage\"; certificate = \"a-*\"", "it names none" },
                { "user = 1; allow = \"read\"; certificate = \"*\"; algorithm = \"ed25519\"",
                  "narrows nothing" },
                { "user = 1; allow = \"tls\"; certificate = \"*\"; algorithm = "
                  "\"rsa-pkcs1-sha256\"",
                  "can never sign" },
                { "user = 1; allow = \"read\"; certificate = \"*\"; burst = 3", "without 'rate'" },
                { "user = 1; allow = \"read\"; certificate = \"a/b\"", "can never match" },
                { "user = 1; allow = \"read\"; certificate = \"*\"; unit = \"nginx\"",
                  "full name" },
                { "user = \"nobody\"; group = \"root\"; allow = \"read\"; certificate = \"*\"",
                  "not in its group" },
        };
        char text[256];

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char place[128];

                snprintf(text, sizeof(text), "grant = {\n g = { %s; };\n};\n", rows[i].settings);
                load_well(text);
                snprintf(place, sizeof(place), "%s:2: ", main_path);
                assert_int_equal(strv_length(config->warnings), 1);
                assert_memory_equal(config->warnings[0], place, strlen(place));
                if (!strstr(config->warnings[0], rows[i].part))
                        assert_string_equal(config->warnings[0], rows[i].part);
        }
        load_well("grant = { g = { user = 1; allow = \"use\"; certificate = \"*\"; "
                  "algorithm = \"rsa-pkcs1-sha256\"; }; };");
        assert_null(config->warnings);
}

/* It is judged once all files are read: the source may be in a later one. */
static void test_sources_that_are_not_there(void **state)
{
        (void)state;
        write_fragment("10-hsm.conf", "source = { hsm-1 = { driver = \"pkcs11\"; "
                                      "uri = \"pkcs11:token=t\"; }; };");
        load_well("grant = {\n"
                  "  a = { user = 1; allow = \"read\"; source = [ \"hsm-1\", \"h*\", \"*\" ]; };\n"
                  "  b = { user = 1; allow = \"read\"; source = [ \"hsm-1\", \"hsm\" ]; };\n"
                  "};\n");
        assert_int_equal(strv_length(config->warnings), 1);
        assert_non_null(strstr(config->warnings[0], "grant 'b' names the source 'hsm'"));
        remove_fragment("10-hsm.conf");
}

/* Judged over all files, too. `manage` on everything once included what is 'audit' now. */
static void test_nobody_has_audit(void **state)
{
        static const char administrator[] = "grant = {\n a = { user = 1; allow = \"manage\"; "
                                            "certificate = [ \"x\", \"*\" ]; source = \"*\"; };\n};\n";

        (void)state;
        load_well(administrator);
        assert_int_equal(strv_length(config->warnings), 1);
        assert_non_null(strstr(config->warnings[0], "grant 'a' allows 'manage' on all certificates"));
        assert_non_null(strstr(config->warnings[0], "add \"audit\""));

        write_fragment("10-audit.conf", "grant = { b = { group = 2; allow = \"audit\"; }; };");
        load_well(administrator);
        assert_null(config->warnings);
        remove_fragment("10-audit.conf");

        load_well("grant = { a = { user = 1; allow = \"manage\"; certificate = \"a*\"; "
                  "source = \"*\"; }; b = { user = 1; allow = \"use\"; certificate = \"*\"; }; };");
        assert_null(config->warnings);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_grants),
                cmocka_unit_test(test_bad_grants),
                cmocka_unit_test(test_grant_warnings),
                cmocka_unit_test(test_sources_that_are_not_there),
                cmocka_unit_test(test_nobody_has_audit),
        };

        return bench_run(tests, ELEMENTSOF(tests));
}
