/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: the settings of the broker itself, several files, and what an error says. */
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

#include "base/strings.h"
#include "config-bench.h"

#define HOUR_USEC (3600 * USEC_PER_SEC)

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
        assert_int_equal(config->grants->n, 0);
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
        version = config->grants->version;

        load_well("broker = { expiry-warnings = \"2d\"; audit-log = \"/x/y\"; bus = \"session\";\n"
                  "  audit-sync = \"1s\"; verify-signatures = \"never\"; };");
        assert_int_equal(config->n_expiry_warnings, 1);
        assert_string_equal(config->audit_log, "/x/y");
        assert_int_equal(config->audit_sync_usec, USEC_PER_SEC);
        assert_int_equal(config->verify_signatures, VERIFY_NEVER);
        assert_true(config->grants->version != version);
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
        assert_int_equal(config_load("/tmp", &config, &failure), CB_INVALID_ARGUMENT);
        assert_non_null(strstr(failure.text, "not a regular file"));
        assert_int_equal(config_load("/dev/null", &config, &failure), CB_INVALID_ARGUMENT);

        load_badly("# @include \"x\"\n@include \"x\"\n", 2, "@include is not taken");
        load_badly("broker = {\n\t @include \"x\"\n};\n", 2, "put the file into conf.d");
}

static void expect_refused(const char *path, const char *text, const char *remedy)
{
        config = config_free(config);
        failure = (Failure){ 0 };
        assert_int_equal(config_load(main_path, &config, &failure), CB_INVALID_ARGUMENT);
        assert_null(config);
        assert_non_null(strstr(failure.text, path));
        assert_non_null(strstr(failure.text, text));
        assert_non_null(strstr(failure.text, remedy));
}

static void test_files_of_others(void **state)
{
        char fragment[128];

        (void)state;
        load_well("");
        assert_int_equal(chmod(main_path, 0620), 0);
        expect_refused(main_path, "may be written by its group (mode 0620)", "chmod go-w");
        assert_int_equal(chmod(main_path, 0602), 0);
        expect_refused(main_path, "may be written by everyone", "chmod go-w");
        assert_int_equal(chmod(main_path, 0600), 0);

        write_fragment("10-a.conf", "");
        snprintf(fragment, sizeof(fragment), "%s/10-a.conf", fragments_path);
        assert_int_equal(chmod(fragment, 0666), 0);
        expect_refused(fragment, "may be written by everyone", "chmod go-w");
        assert_int_equal(chmod(fragment, 0600), 0);
        assert_int_equal(chmod(fragments_path, 0777), 0);
        expect_refused(fragments_path, "may be written by everyone", "chmod go-w");
        assert_int_equal(chmod(fragments_path, 01777), 0);
        expect_refused(fragments_path, "others may make files", "another folder");
        assert_int_equal(chmod(fragments_path, 0700), 0);
        load_well("");
        remove_fragment("10-a.conf");
}

/* Each setting of a source that names a file, and what that file must be. */
static void test_files_that_settings_name(void **state)
{
        static const struct {
                const char *settings, *name;
                mode_t bad, good;
        } rows[] = {
                { "driver = \"pkcs11\"; uri = \"pkcs11:\";", "module", 0666, 0644 },
                { "driver = \"pkcs11\"; uri = \"pkcs11:\";", "pin-file", 0644, 0640 },
                { "driver = \"pkcs11\"; uri = \"pkcs11:\";", "pin-file", 0620, 0400 },
                { "driver = \"azure-key-vault\"; uri = \"https://x\";", "ca-file", 0664, 0644 },
                { "driver = \"azure-key-vault\"; uri = \"https://x\";", "client-secret-file", 0604,
                  0600 },
                { "driver = \"azure-key-vault\"; uri = \"https://x\";", "token-file", 0646, 0644 },
        };
        char path[128], text[512];

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                write_fragment("file", "x");
                snprintf(path, sizeof(path), "%s/file", fragments_path);
                snprintf(text, sizeof(text), "source = { x = { %s\n %s = \"%s\"; }; };",
                         rows[i].settings, rows[i].name, path);
                assert_int_equal(chmod(path, rows[i].bad), 0);
                load_badly(text, 2, path);
                assert_non_null(strstr(failure.text, rows[i].name));
                assert_non_null(strstr(failure.text, "; chmod "));
                assert_int_equal(chmod(path, rows[i].good), 0);
                load_well(text);
                assert_int_equal(unlink(path), 0);
                load_well(text); /* the source says that it is missing */
                (void)rmdir(fragments_path);
        }
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
        assert_int_equal(config->grants->n, 2);
        assert_string_equal(config->grants->items[0]->name, "one");
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

/* The example of the public contract, but for the names that only some host knows. */
static void test_example(void **state)
{
        (void)state;
        setenv("CREDENTIALS_DIRECTORY", "/etc/cred", 1);
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
        assert_int_equal(config->grants->n, 1);
        assert_null(config->warnings);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_every_broker_setting),
                cmocka_unit_test(test_directories_from_environment),
                cmocka_unit_test(test_bad_broker),
                cmocka_unit_test(test_bad_files), cmocka_unit_test(test_files_of_others),
                cmocka_unit_test(test_files_that_settings_name),
                cmocka_unit_test(test_fragments),
                cmocka_unit_test(test_example),
        };

        return bench_run(tests, ELEMENTSOF(tests));
}
