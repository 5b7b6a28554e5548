/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of sources: every setting of each driver, its bounds and defaults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/strings.h"
#include "config-bench.h"

static void test_token(void **state)
{
        CLEANUP(source_config_freep) SourceConfig *copy = NULL;
        static const char text[] = "source = { hsm = { driver = \"pkcs11\"; uri = \"pkcs11:token=a;"
                                   "serial=1\"; module = \"/usr/lib/m.so\"; pin-file = \"%s\"; "
                                   "sessions = 3; }; };\nbroker = { request-timeout = \"2s\"; };";
        char buffer[512];
        const SourceConfig *source;

        (void)state;
        setenv("CREDENTIALS_DIRECTORY", "/etc/cred", 1);
        snprintf(buffer, sizeof(buffer), text, "hsm-pin");
        load_well(buffer);
        source = config->sources[0];
        assert_string_equal(source->name, "hsm");
        assert_string_equal(source->driver, "pkcs11");
        assert_string_equal(source_config_get(source, "uri"), "pkcs11:token=a;serial=1");
        assert_string_equal(source_config_get(source, "module"), "/usr/lib/m.so");
        assert_string_equal(source_config_get(source, "pin-file"), "/etc/cred/hsm-pin");
        assert_string_equal(source_config_get(source, "sessions"), "3");
        assert_string_equal(source_config_get(source, "state-directory"), "/var/lib/certbroker");
        assert_string_equal(source_config_get(source, "request-timeout-usec"), "2000000");
        assert_null(source_config_get(source, "driver"));
        assert_null(source_config_get(source, "mod"));
        for (char **s = source->settings; s[1]; s++)
                assert_true(strcmp(s[0], s[1]) < 0);

        /* outside of the unit, as a person checks it */
        unsetenv("CREDENTIALS_DIRECTORY");
        load_well(buffer);
        source = config->sources[0];
        assert_string_equal(source_config_get(source, "pin-file"),
                            "$CREDENTIALS_DIRECTORY/hsm-pin");
        assert_non_null(config->warnings);
        assert_non_null(strstr(config->warnings[0], "certbroker.conf:1: 'pin-file' names"));
        setenv("CREDENTIALS_DIRECTORY", "/etc/cred", 1);
        load_well(buffer);
        source = config->sources[0];

        assert_int_equal(source_config_copy(source, &copy), 0);
        load_well(buffer);
        assert_true(source_config_equal(config->sources[0], copy));
        snprintf(buffer, sizeof(buffer), text, "/etc/pin");
        load_well(buffer);
        assert_string_equal(source_config_get(config->sources[0], "pin-file"), "/etc/pin");
        assert_false(source_config_equal(config->sources[0], copy));

        load_well("source = { hsm = { driver = \"pkcs11\"; uri = \"pkcs11:\"; }; };");
        assert_string_equal(source_config_get(config->sources[0], "sessions"), "8");
        assert_null(source_config_get(config->sources[0], "module"));
        assert_null(source_config_get(config->sources[0], "pin-file"));
}

static void test_vault(void **state)
{
        const SourceConfig *source;

        (void)state;
        setenv("CREDENTIALS_DIRECTORY", "/etc/cred", 1);
        load_well("source = { vault = { driver = \"azure-key-vault\"; "
                  "uri = \"https://contoso.vault.azure.net\"; }; };");
        source = config->sources[0];
        assert_string_equal(source_config_get(source, "auth"), "managed-identity");
        assert_string_equal(source_config_get(source, "refresh"), "14400000000");
        assert_string_equal(source_config_get(source, "max-stale"), "604800000000");
        assert_string_equal(source_config_get(source, "signing"), "remote");
        assert_string_equal(source_config_get(source, "api-version"), "7.4");
        assert_string_equal(source_config_get(source, "imds-endpoint"), "http://169.254.169.254");

        load_well("source = { vault = { driver = \"azure-key-vault\"; uri = "
                  "\"https://127.0.0.1:8443\";"
                  " auth = \"client-secret\"; client-id = \"c\"; tenant-id = \"t\";"
                  " client-secret-file = \"secret\"; token-file = \"/t\"; authority = "
                  "\"https://login\";"
                  " resource = \"https://vault.azure.net\"; certificate = \"me\"; refresh = \"1s\";"
                  " max-stale = \"1h\"; signing = \"local\"; ca-file = \"/ca.pem\";"
                  " proxy = \"http://proxy:3128\"; api-version = \"7.5\";"
                  " imds-endpoint = \"http://127.0.0.1:1\"; }; };");
        source = config->sources[0];
        assert_string_equal(source_config_get(source, "client-secret-file"), "/etc/cred/secret");
        assert_string_equal(source_config_get(source, "refresh"), "1000000");
        assert_string_equal(source_config_get(source, "signing"), "local");
}

static void test_bad_sources(void **state)
{
        static const struct {
                const char *source;
                unsigned line;
                const char *part;
        } rows[] = {
                { "s = 5;", 2, "must be a group" },
                { "s = {\n};", 2, "needs 'driver'" },
                { "s = {\n driver = \"tpm\"; };", 3, "unknown driver 'tpm'" },
                { "s = {\n driver = \"pkcs11\"; };", 2, "needs 'uri'" },
                { "s = { driver = \"pkcs11\";\n uri = \"token=x\"; };", 3, "pkcs11:" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:token=x?pin-value=1\"; };", 3,
                  "pin-value" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:pin-source=/x\"; };", 3,
                  "pin-source" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:a=b?c=d&module-path=/x\"; };", 3,
                  "module-path" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:a=b;MODULE-NAME=x\"; };", 3,
                  "module-name" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:token=a;object=b\"; };", 3,
                  "'object' selects an object" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:id=%01;token=a\"; };", 3,
                  "an object" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:type=private\"; };", 3,
                  "an object" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:token=a;tokn=b\"; };", 3, "'tokn'" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:token\"; };", 3, "'token'" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:token=a;token=b\"; };", 3, "twice" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:token=a b\"; };", 3, "encoded" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:token=a%2\"; };", 3, "encoded" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:token=a;\"; };", 3, "ends" },
                { "s = { driver = \"pkcs11\";\n uri = \"pkcs11:token=a?x=y\"; };", 3, "'?'" },
                { "s = { driver = \"pkcs11\"; uri = \"pkcs11:\";\n module = \"m.so\"; };", 3,
                  "absolute path" },
                { "s = { driver = \"pkcs11\"; uri = \"pkcs11:\";\n pin-file = \"../pin\"; };", 3,
                  "absolute path" },
                { "s = { driver = \"pkcs11\"; uri = \"pkcs11:\";\n sessions = 65; };", 3,
                  "from 1 to 64" },
                { "s = { driver = \"pkcs11\"; uri = \"pkcs11:\";\n pin = \"1234\"; };", 3,
                  "unknown setting 'pin'" },
                { "s = { driver = \"pkcs11\"; uri = \"pkcs11:\";\n signing = \"local\"; };", 3,
                  "driver 'pkcs11'" },
                { "s = { driver = \"azure-key-vault\";\n uri = \"http://x\"; };", 3, "https://" },
                { "s = { driver = \"azure-key-vault\";\n uri = \"https://u:p@x\"; };", 3,
                  "credentials" },
                { "s = { driver = \"azure-key-vault\"; uri = \"https://x\";\n"
                  " proxy = \"http://u:p@x\"; };",
                  3, "nor is a proxy that wants some" },
                { "s = { driver = \"azure-key-vault\";\n uri = \"https://\"; };", 3, "URL" },
                { "s = { driver = \"azure-key-vault\"; uri = \"https://x\";\n auth = \"basic\"; };",
                  3, "one of managed-identity" },
                { "s = { driver = \"azure-key-vault\"; uri = \"https://x\"; auth = "
                  "\"client-secret\"; };",
                  2, "needs 'client-id'" },
                { "*bad = { driver = \"pkcs11\"; uri = \"pkcs11:\"; };", 2,
                  "no name for a source" },
        };
        char text[512], many[128];

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                snprintf(text, sizeof(text), "source = {\n%s\n};\n", rows[i].source);
                load_badly(text, rows[i].line, rows[i].part);
        }
        memset(many, 'a', 64);
        many[64] = '\0';
        snprintf(text, sizeof(text), "source = { %s = { }; };", many);
        load_badly(text, 1, "no name for a source");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_token),
                cmocka_unit_test(test_vault),
                cmocka_unit_test(test_bad_sources),
        };

        return bench_run(tests, ELEMENTSOF(tests));
}
