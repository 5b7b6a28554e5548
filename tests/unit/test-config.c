/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration, from real files: every setting, its bounds and defaults, and what an error says. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/strings.h"
#include "broker/config/config.h"

#define HOUR_USEC (3600 * USEC_PER_SEC)

static char directory[] = "/tmp/test-config-XXXXXX";
static char main_path[64], fragments_path[64];
static Config *config;
static Failure failure;

static void write_file(const char *path, const char *text)
{
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void write_fragment(const char *name, const char *text)
{
        char path[128];

        (void)mkdir(fragments_path, 0700);
        snprintf(path, sizeof(path), "%s/%s", fragments_path, name);
        write_file(path, text);
}

static void remove_fragment(const char *name)
{
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", fragments_path, name);
        assert_int_equal(unlink(path), 0);
        (void)rmdir(fragments_path);
}

static int load(const char *text)
{
        config = config_free(config);
        failure = (Failure){ 0 };
        write_file(main_path, text);
        return config_load(main_path, &config, &failure);
}

static void load_well(const char *text)
{
        if (load(text) != 0)
                assert_string_equal(failure.text, ""); /* shows it */
        assert_non_null(config);
}

/* "FILE:LINE: …" with this line, and this in it. */
static void load_badly(const char *text, unsigned line, const char *part)
{
        char place[128];

        assert_int_equal(load(text), CB_INVALID_ARGUMENT);
        assert_null(config);
        snprintf(place, sizeof(place), "%s:%u: ", main_path, line);
        if (strncmp(failure.text, place, strlen(place)) != 0 || !strstr(failure.text, part)) {
                print_error("expected '%s' in: %s\n", part, failure.text);
                assert_string_equal(failure.text, place);
        }
}

static int setup(void **state)
{
        (void)state;
        unsetenv("STATE_DIRECTORY");
        unsetenv("RUNTIME_DIRECTORY");
        unsetenv("CREDENTIALS_DIRECTORY");
        config = config_free(config);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        config = config_free(config);
        (void)unlink(main_path);
        return 0;
}

/* --- broker --- */

static void test_defaults(void **state)
{
        (void)state;
        load_well("");
        assert_string_equal(config->state_directory, "/var/lib/certbroker");
        assert_string_equal(config->runtime_directory, "/run/certbroker");
        assert_null(config->credentials_directory);
        assert_string_equal(config->bus, "system");
        assert_string_equal(config->audit_log, "/var/lib/certbroker/audit.jsonl");
        assert_int_equal(config->audit_sync_usec, 100 * USEC_PER_MSEC);
        assert_false(config->audit_continue);
        assert_int_equal(config->audit_max_size, 1024 * 1024 * 1024);
        assert_true(config->rotation_grace_usec == 24 * HOUR_USEC);
        assert_int_equal(config->n_expiry_warnings, 3);
        assert_true(config->expiry_warnings_usec[0] == 30 * 24 * HOUR_USEC);
        assert_true(config->expiry_warnings_usec[1] == 7 * 24 * HOUR_USEC);
        assert_true(config->expiry_warnings_usec[2] == 24 * HOUR_USEC);
        assert_int_equal(config->max_in_flight_per_client, 64);
        assert_int_equal(config->request_timeout_usec, 20 * USEC_PER_SEC);
        assert_int_equal(config->verify_signatures, VERIFY_RSA);
        assert_int_equal(config->n_sources, 0);
        assert_int_equal(config->grants.n, 0);
        assert_null(config->warnings);
}

static void test_every_broker_setting(void **state)
{
        uint64_t version;

        (void)state;
        load_well("broker = {\n"
                  "  state-directory = \"/srv/state/\";\n"
                  "  runtime-directory = \"/srv/run\";\n"
                  "  bus = \"unix:path=/tmp/bus\";\n"
                  "  audit-sync = \"always\";\n"
                  "  audit-failure = \"continue\";\n"
                  "  audit-max-size = \"64MiB\";\n"
                  "  rotation-grace = \"90m\";\n"
                  "  expiry-warnings = [ \"1d\", \"30d\", \"1d\", \"12h\" ];\n"
                  "  max-in-flight-per-client = 7;\n"
                  "  request-timeout = \"1500ms\";\n"
                  "  verify-signatures = \"always\";\n"
                  "};\n");
        assert_string_equal(config->state_directory, "/srv/state");
        assert_string_equal(config->runtime_directory, "/srv/run");
        assert_string_equal(config->bus, "unix:path=/tmp/bus");
        assert_string_equal(config->audit_log, "/srv/state/audit.jsonl");
        assert_int_equal(config->audit_sync_usec, 0);
        assert_true(config->audit_continue);
        assert_int_equal(config->audit_max_size, 64 * 1024 * 1024);
        assert_true(config->rotation_grace_usec == 90 * 60 * USEC_PER_SEC);
        assert_int_equal(config->n_expiry_warnings, 3); /* descending, each once */
        assert_true(config->expiry_warnings_usec[0] == 720 * HOUR_USEC);
        assert_true(config->expiry_warnings_usec[1] == 24 * HOUR_USEC);
        assert_true(config->expiry_warnings_usec[2] == 12 * HOUR_USEC);
        assert_int_equal(config->max_in_flight_per_client, 7);
        assert_int_equal(config->request_timeout_usec, 1500 * USEC_PER_MSEC);
        assert_int_equal(config->verify_signatures, VERIFY_ALWAYS);
        version = config->grants.version;

        load_well("broker = { expiry-warnings = \"2d\"; audit-log = \"/x/y\"; bus = \"session\";\n"
                  "  audit-sync = \"1s\"; verify-signatures = \"never\"; };");
        assert_int_equal(config->n_expiry_warnings, 1);
        assert_string_equal(config->audit_log, "/x/y");
        assert_int_equal(config->audit_sync_usec, USEC_PER_SEC);
        assert_int_equal(config->verify_signatures, VERIFY_NEVER);
        assert_true(config->grants.version != version);
        load_well("broker = { expiry-warnings = [ ]; };");
        assert_int_equal(config->n_expiry_warnings, 0);
}

static void test_directories_from_environment(void **state)
{
        (void)state;
        setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two", 1);
        setenv("RUNTIME_DIRECTORY", "/run/one", 1);
        setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x", 1);
        load_well("");
        assert_string_equal(config->state_directory, "/var/lib/one");
        assert_string_equal(config->runtime_directory, "/run/one");
        assert_string_equal(config->credentials_directory, "/run/credentials/x");
        assert_string_equal(config->audit_log, "/var/lib/one/audit.jsonl");
        load_well("broker = { state-directory = \"/mine\"; };"); /* the configuration wins */
        assert_string_equal(config->state_directory, "/mine");
        setenv("RUNTIME_DIRECTORY", "relative", 1);
        assert_int_equal(load(""), CB_INVALID_ARGUMENT);
        assert_non_null(strstr(failure.text, "$RUNTIME_DIRECTORY"));
}

static void test_bad_broker(void **state)
{
        static const struct {
                const char *setting, *part;
        } rows[] = {
                { "state-directory = \"relative\"", "absolute path" },
                { "state-directory = 3", "string in quotes" },
                { "state-directory = \"\"", "empty" },
                { "state-directory = \"/a\\nb\"", "control" },
                { "state-directory = \"/a\\xff\"", "UTF-8" },
                { "bus = \"elsewhere\"", "D-Bus address" },
                { "audit-sync = \"sometimes\"", "duration" },
                { "audit-sync = \"2h\"", "from 1ms to 1m" },
                { "audit-failure = \"ignore\"", "refuse, continue" },
                { "audit-max-size = \"1GB\"", "size" },
                { "audit-max-size = \"12\"", "size" },
                { "audit-max-size = \"1B\"", "bytes" },
                { "audit-max-size = \"99999999999999999999999TiB\"", "bytes" },
                { "rotation-grace = \"1w\"", "duration" },
                { "rotation-grace = 24", "string in quotes" },
                { "rotation-grace = \"99999999999999999999d\"", "from" },
                { "expiry-warnings = 5", "list of durations" },
                { "expiry-warnings = [ \"x\" ]", "duration" },
                { "expiry-warnings = ( \"1d\", 2 )", "string" },
                { "max-in-flight-per-client = 0", "from 1" },
                { "max-in-flight-per-client = -1", "from 1" },
                { "max-in-flight-per-client = \"64\"", "whole number" },
                { "max-in-flight-per-client = 99999999999L", "to 65536" },
                { "request-timeout = \"1ms\"", "from 10ms" },
                { "verify-signatures = \"rsa \"", "always, rsa, never" },
                { "verify-signatures = true", "string" },
                { "colour = \"red\"", "unknown setting 'colour'" },
                { "state_directory = \"/x\"", "known are: state-directory" },
        };
        char text[256];

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                snprintf(text, sizeof(text), "# first\nbroker = {\n  %s;\n};\n", rows[i].setting);
                load_badly(text, 3, rows[i].part);
        }
}

static void test_bad_files(void **state)
{
        (void)state;
        load_badly("broker = {\n", 2, "syntax error");
        load_badly("\nbroker : 5;\n", 2, "must be a group");
        load_badly("\n\nbrokers = { };\n", 3, "unknown group 'brokers'; known are: broker, source");
        load_badly("broker = { bus = \"system\";\n bus = \"session\"; };\n", 2, "duplicate");
        load_badly("x = 1;\n", 1, "unknown group 'x'");

        assert_int_equal(config_load("/nonexistent/certbroker.conf", &config, &failure),
                         CB_INVALID_ARGUMENT);
        assert_non_null(
                strstr(failure.text, "/nonexistent/certbroker.conf: cannot be read: No such"));
        assert_int_equal(config_load(directory, &config, &failure), CB_INVALID_ARGUMENT);
        assert_non_null(strstr(failure.text, "not a regular file"));
        assert_int_equal(config_load("/dev/null", &config, &failure), CB_INVALID_ARGUMENT);

        assert_int_equal(load(""), 0);
        assert_int_equal(chmod(main_path, 0666), 0);
        load_well("");
        assert_int_equal(strv_length(config->warnings), 1);
        assert_non_null(strstr(config->warnings[0], main_path));
        assert_int_equal(unlink(main_path), 0);
}

/* --- several files --- */

static void test_fragments(void **state)
{
        (void)state;
        write_fragment("20-b.conf",
                       "broker = { bus = \"session\"; max-in-flight-per-client = 3; };\n"
                       "grant = { two = { user = 2; allow = \"read\"; "
                       "certificate = \"*\"; }; };");
        write_fragment("10-a.conf",
                       "broker = { bus = \"unix:path=/x\"; request-timeout = \"5s\"; };\n"
                       "source = { a = { driver = \"pkcs11\"; uri = \"pkcs11:\"; }; };");
        write_fragment(".hidden.conf", "garbage");
        write_fragment("30-c.conf.bak", "garbage");
        load_well("broker = { request-timeout = \"9s\"; verify-signatures = \"always\"; };\n"
                  "source = { z = { driver = \"pkcs11\"; uri = \"pkcs11:\"; }; };\n"
                  "grant = { one = { user = 1; allow = \"read\"; backend = \"*\"; }; };");
        assert_string_equal(config->bus, "session");
        assert_int_equal(config->request_timeout_usec, 5 * USEC_PER_SEC);
        assert_int_equal(config->max_in_flight_per_client, 3);
        assert_int_equal(config->verify_signatures, VERIFY_ALWAYS);
        assert_int_equal(config->n_sources, 2);
        assert_string_equal(config->sources[0]->name, "a"); /* by name */
        assert_string_equal(config->sources[1]->name, "z");
        assert_int_equal(config->grants.n, 2);
        assert_string_equal(config->grants.items[0]->name, "one");
        assert_null(config->warnings);

        /* Named twice: both places are told. */
        write_fragment("40-d.conf",
                       "\n\nsource = {\n  z = { driver = \"pkcs11\"; uri = \"pkcs11:\"; };\n};");
        assert_int_equal(load("source = { z = { driver = \"pkcs11\"; uri = \"pkcs11:\"; }; };"),
                         CB_INVALID_ARGUMENT);
        assert_non_null(strstr(failure.text, "conf.d/40-d.conf:4: source 'z' is already at "));
        assert_non_null(strstr(failure.text, "certbroker.conf:1"));
        write_fragment("40-d.conf", "grant = { two = { user = 1; allow = \"read\"; }; };");
        assert_int_equal(load(""), CB_INVALID_ARGUMENT);
        assert_non_null(strstr(failure.text, "40-d.conf:1: grant 'two' is already at "));
        assert_non_null(strstr(failure.text, "20-b.conf:2"));
        write_fragment("40-d.conf", "broker = {\n oops");
        assert_int_equal(load(""), CB_INVALID_ARGUMENT);
        assert_non_null(strstr(failure.text, "40-d.conf:2: syntax error"));

        remove_fragment("40-d.conf");
        remove_fragment("30-c.conf.bak");
        remove_fragment("20-b.conf");
        remove_fragment("10-a.conf");
        remove_fragment(".hidden.conf");
        load_well("");
        assert_int_equal(config->n_sources, 0);
}

/* --- sources --- */

static void test_token(void **state)
{
        CLEANUP(source_config_freep) SourceConfig *copy = NULL;
        static const char text[] = "source = { hsm = { driver = \"pkcs11\"; uri = \"pkcs11:token=a;"
                                   "serial=1\"; module = \"/usr/lib/m.so\"; pin-file = \"%s\"; "
                                   "sessions = 3; }; };\nbroker = { request-timeout = \"2s\"; };";
        char buffer[512];
        const SourceConfig *source;

        (void)state;
        setenv("CREDENTIALS_DIRECTORY", "/run/cred", 1);
        snprintf(buffer, sizeof(buffer), text, "hsm-pin");
        load_well(buffer);
        source = config->sources[0];
        assert_string_equal(source->name, "hsm");
        assert_string_equal(source->driver, "pkcs11");
        assert_string_equal(source_config_get(source, "uri"), "pkcs11:token=a;serial=1");
        assert_string_equal(source_config_get(source, "module"), "/usr/lib/m.so");
        assert_string_equal(source_config_get(source, "pin-file"), "/run/cred/hsm-pin");
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
        setenv("CREDENTIALS_DIRECTORY", "/run/cred", 1);
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
        setenv("CREDENTIALS_DIRECTORY", "/run/cred", 1);
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
        assert_string_equal(source_config_get(source, "client-secret-file"), "/run/cred/secret");
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

/* --- grants --- */

static void test_grants(void **state)
{
        const Grant *grant;

        (void)state;
        load_well("grant = {\n"
                  "  full = { user = \"root\"; group = \"root\"; unit = \"nginx.service\"; label = "
                  "\"l\";\n"
                  "    allow = [ \"use\", \"manage\" ]; certificate = [ \"orders-*\", \"x?\" ];\n"
                  "    backend = ( \"a\", \"b\" ); algorithm = [ \"ecdsa-sha256\", "
                  "\"rsa-pkcs1-sha1\" ];\n"
                  "    rate = \"500/s\"; burst = 1000; };\n"
                  "  numbers = { user = 4000000000L; group = \"123\"; allow = \"tls\"; certificate "
                  "= \"*\";\n"
                  "    rate = \"120/m\"; };\n"
                  "};\n");
        assert_int_equal(config->grants.n, 2);
        grant = config->grants.items[0];
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
        assert_int_equal(grant->algorithms, ALGORITHM_BIT(ALGORITHM_ECDSA_SHA256) |
                                                    ALGORITHM_BIT(ALGORITHM_RSA_PKCS1_SHA1));
        assert_int_equal(grant->rate_per_sec, 500);
        assert_int_equal(grant->burst, 1000);
        grant = config->grants.items[1];
        assert_int_equal(grant->uid, 4000000000U);
        assert_int_equal(grant->gid, 123);
        assert_int_equal(grant->operations, OPERATION_READ | OPERATION_TLS);
        assert_int_equal(grant->algorithms, 0);
        assert_int_equal(grant->rate_per_sec, 2);
        assert_int_equal(grant->burst, 2);
        assert_null(grant->unit);
        assert_null(config->warnings);
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
                { "user = 1; allow = \"export\"; backend = \"*\"", "'decrypt' and 'export'" },
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

/* The example of the public contract, but for the names that only some host knows. */
static void test_example(void **state)
{
        (void)state;
        setenv("CREDENTIALS_DIRECTORY", "/run/cred", 1);
        load_well("broker = { state-directory = \"/var/lib/certbroker\"; bus = \"system\";\n"
                  " audit-log = \"/var/lib/certbroker/audit.jsonl\"; audit-sync = \"100ms\";\n"
                  " audit-failure = \"refuse\"; audit-max-size = \"1GiB\"; rotation-grace = "
                  "\"24h\";\n"
                  " expiry-warnings = [ \"30d\", \"7d\", \"1d\" ]; max-in-flight-per-client = 64;\n"
                  " request-timeout = \"20s\"; verify-signatures = \"rsa\"; # checked\n};\n"
                  "source = { hsm = { driver = \"pkcs11\"; uri = \"pkcs11:token=prod\";\n"
                  "  module = \"/usr/lib/softhsm/libsofthsm2.so\"; pin-file = \"hsm-pin\"; "
                  "sessions = 8; };\n"
                  " vault = { driver = \"azure-key-vault\"; uri = "
                  "\"https://contoso.vault.azure.net\";\n"
                  "  auth = \"managed-identity\"; client-id = \"x\"; refresh = \"4h\"; max-stale = "
                  "\"7d\";\n"
                  "  signing = \"remote\"; ca-file = \"/ca\"; imds-endpoint = "
                  "\"http://169.254.169.254\"; };\n"
                  "};\n"
                  "grant = { orders-gateway = { user = \"root\"; allow = [ \"use\" ];\n"
                  "  certificate = [ \"orders-*\" ]; backend = [ \"orders*\" ];\n"
                  "  algorithm = [ \"ecdsa-sha256\", \"rsa-pss-sha256\" ]; rate = \"500/s\"; burst "
                  "= 1000;\n"
                  " };\n};\n");
        assert_int_equal(config->n_sources, 2);
        assert_int_equal(config->grants.n, 1);
        assert_null(config->warnings);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
                cmocka_unit_test_setup_teardown(test_every_broker_setting, setup, teardown),
                cmocka_unit_test_setup_teardown(test_directories_from_environment, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_broker, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_files, setup, teardown),
                cmocka_unit_test_setup_teardown(test_fragments, setup, teardown),
                cmocka_unit_test_setup_teardown(test_token, setup, teardown),
                cmocka_unit_test_setup_teardown(test_vault, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_sources, setup, teardown),
                cmocka_unit_test_setup_teardown(test_grants, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_grants, setup, teardown),
                cmocka_unit_test_setup_teardown(test_grant_warnings, setup, teardown),
                cmocka_unit_test_setup_teardown(test_example, setup, teardown),
        };
        int n_failed;

        if (!mkdtemp(directory))
                return 1;
        snprintf(main_path, sizeof(main_path), "%s/certbroker.conf", directory);
        snprintf(fragments_path, sizeof(fragments_path), "%s/conf.d", directory);
        n_failed = cmocka_run_group_tests(tests, NULL, NULL);
        return rmdir(directory) < 0 ? 1 : n_failed;
}
