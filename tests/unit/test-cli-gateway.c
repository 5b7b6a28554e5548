/* SPDX-License-Identifier: Apache-2.0 */
/* Directives for gateways: exactly what the credential says, or nothing; and nothing that means more there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway.h"

static char id[] = "client", url[] = "https://orders.example:8443/x", no_ca[] = "";
static char *none[] = { NULL };

static cb_credential credential_of(char *at)
{
        return (cb_credential){ .id = id,
                                .generation = 3,
                                .url = at,
                                .validate_chain = true,
                                .validate_name = true,
                                .server_names = none,
                                .server_thumbprints = none,
                                .ca_file = no_ca };
}

static const GatewayFiles files = { "orders", "/etc/x/o.pem", "/etc/x/o.pem.key" };

/* The text; NULL: refused, with a reason. */
static char *write_for(const char *gateway, const cb_credential *credential)
{
        char why[GATEWAY_WHY_MAX] = "", *text = NULL;
        int r = gateway_write(gateway_find(gateway), &files, credential, &text, why);

        if (r != 0) {
                assert_int_equal(r, CB_NOT_SUPPORTED);
                assert_true(strlen(why) > 10);
                assert_null(text);
        }
        return text;
}

static void assert_has(char *text, const char *line)
{
        assert_non_null(text);
        if (!strstr(text, line))
                fail_msg("no '%s' in:\n%s", line, text);
        free(text);
}

static void test_all_verified(void **state)
{
        cb_credential c = credential_of(url);

        (void)state;
        assert_has(write_for("nginx", &c),
                   "proxy_ssl_verify on;\nproxy_ssl_verify_depth 10;\n"
                   "proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;\n");
        assert_has(write_for("nginx", &c),
                   "proxy_ssl_server_name on;\nproxy_ssl_name orders.example;\n");
        assert_has(write_for("haproxy", &c),
                   "backend orders\n    server orders orders.example:8443 ssl crt /etc/x/o.pem "
                   "ssl-min-ver TLSv1.2 verify required ca-file @system-ca sni str(orders.example) "
                   "verifyhost orders.example\n");
}

static void test_nothing_verified(void **state)
{
        cb_credential c = credential_of(url);

        (void)state;
        c.validate_chain = c.validate_name = false;
        assert_has(write_for("nginx", &c), "proxy_ssl_verify off;\n");
        assert_has(write_for("haproxy", &c), " verify none ");
}

static void test_one_of_them(void **state)
{
        cb_credential c = credential_of(url);

        (void)state;
        c.validate_chain = false;
        assert_null(write_for("nginx", &c));
        assert_null(write_for("haproxy", &c));
        c.validate_chain = true;
        c.validate_name = false;
        assert_null(write_for("nginx", &c));
        /* with an SNI it would verify that name */
        assert_has(write_for("haproxy", &c), " verify required ca-file @system-ca\n");
}

static void test_pins(void **state)
{
        static char pin[] = "00";
        char *pins[] = { pin, NULL };
        cb_credential c = credential_of(url);

        (void)state;
        c.server_thumbprints = pins;
        assert_null(write_for("nginx", &c));
        assert_null(write_for("haproxy", &c));
        /* also where nothing else is verified: the pin is */
        c.validate_chain = c.validate_name = false;
        assert_null(write_for("nginx", &c));
        assert_null(write_for("haproxy", &c));
}

static void test_addresses(void **state)
{
        static char v4[] = "https://10.0.0.1/", v6[] = "https://[2001:db8::1]:8443/";
        static char name[] = "orders.example";
        char *names[] = { v4 + 8, name, NULL };
        cb_credential c = credential_of(v6);

        (void)state;
        assert_null(write_for("nginx", &c));
        assert_null(write_for("haproxy", &c));
        c.server_names = names;
        v4[16] = '\0'; /* "10.0.0.1": an address is no name either */
        assert_has(write_for("nginx", &c), "proxy_ssl_name orders.example;\n");
        assert_has(write_for("haproxy", &c), " server orders [2001:db8::1]:8443 ssl ");
        c.server_names = none;
        c.validate_name = c.validate_chain = false;
        assert_has(write_for("nginx", &c), "proxy_ssl_server_name off;\n");
}

/* Whatever a setting holds, it cannot end a directive, begin another, or become a variable. */
static void test_nothing_gets_in(void **state)
{
        static char evil[][64] = { "https://x;include /etc/passwd;/",
                                   "https://x y/",
                                   "https://$host/",
                                   "https://x\nbackend y/",
                                   "https://x{}/",
                                   "https://{x}/",
                                   "http://x/",
                                   "https://x:443@evil.example/",
                                   "https://[::1]evil.example/",
                                   "https:///",
                                   "https://#/" };
        static char ca[][32] = {
                "/a b", "/a;b", "relative", "/a\nb", "/$a", "/a\"b", "/a'b", "/a{b"
        };
        static char ids[][48] = { "x\nprogram pwn\n command /bin/sh\n#", "x\r", "x y", "", "x#", "x;y", "\xc3\xa4" };
        static char name[] = "x;y";
        char *names[] = { name, NULL };

        (void)state;
        for (size_t i = 0; i < sizeof(evil) / sizeof(evil[0]); i++) {
                cb_credential c = credential_of(evil[i]);

                assert_null(write_for("nginx", &c));
                assert_null(write_for("haproxy", &c));
        }
        for (size_t i = 0; i < sizeof(ca) / sizeof(ca[0]); i++) {
                cb_credential c = credential_of(url);

                c.ca_file = ca[i];
                assert_null(write_for("nginx", &c));
                assert_null(write_for("haproxy", &c));
        }
        for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
                cb_credential c = credential_of(url);

                c.id = ids[i];
                assert_null(write_for("nginx", &c));
                assert_null(write_for("haproxy", &c));
        }
        for (int i = 0; i < 2; i++) {
                cb_credential c = credential_of(url);
                char *text;

                c.server_names = names;
                text = write_for(i ? "nginx" : "haproxy", &c);
                assert_non_null(text);
                assert_null(strstr(text, name));
                free(text);
        }
}

static void test_files(void **state)
{
        const Gateway *nginx = gateway_find("nginx"), *haproxy = gateway_find("haproxy");

        (void)state;
        assert_null(gateway_find("apache"));
        assert_null(gateway_check_files(nginx, &(GatewayFiles){ "x", "/a/b", "/c/d" }));
        assert_non_null(gateway_check_files(nginx, &(GatewayFiles){ "x", "/a b", "/c" }));
        assert_non_null(gateway_check_files(nginx, &(GatewayFiles){ "x", "/a", "/c;" }));
        assert_non_null(gateway_check_files(nginx, &(GatewayFiles){ "x\ny", "/a", "/c" }));
        assert_null(gateway_check_files(haproxy, &(GatewayFiles){ "x", "/a", "/a" }));
        assert_null(gateway_check_files(haproxy, &(GatewayFiles){ "x", "/a", "/a.key" }));
        assert_non_null(gateway_check_files(haproxy, &(GatewayFiles){ "x", "/a", "/b.key" }));
        assert_non_null(gateway_check_files(haproxy, &(GatewayFiles){ "x", "/ab", "/a" }));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all_verified), cmocka_unit_test(test_nothing_verified),
                cmocka_unit_test(test_one_of_them),  cmocka_unit_test(test_pins),
                cmocka_unit_test(test_addresses),    cmocka_unit_test(test_nothing_gets_in),
                cmocka_unit_test(test_files),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
