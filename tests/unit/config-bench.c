/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bench of the tests of the configuration: it writes files, reads them, and shows what went
 * wrong.
 */
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

#include "config-bench.h"

static char directory[] = "/tmp/test-config-XXXXXX";

char main_path[64], fragments_path[64];
Config *config;
Failure failure;

static void write_file(const char *path, const char *text)
{
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

void write_fragment(const char *name, const char *text)
{
        char path[128];

        (void)mkdir(fragments_path, 0700);
        snprintf(path, sizeof(path), "%s/%s", fragments_path, name);
        write_file(path, text);
}

void remove_fragment(const char *name)
{
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", fragments_path, name);
        assert_int_equal(unlink(path), 0);
        (void)rmdir(fragments_path);
}

int load(const char *text)
{
        config = config_free(config);
        failure = (Failure){ 0 };
        write_file(main_path, text);
        return config_load(main_path, &config, &failure);
}

void load_well(const char *text)
{
        if (load(text) != 0)
                assert_string_equal(failure.text, ""); /* shows it */
        assert_non_null(config);
}

/* "FILE:LINE: …" with this line, and this in it. */
void load_badly(const char *text, unsigned line, const char *part)
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

int bench_run(const struct CMUnitTest *tests, size_t n)
{
        struct CMUnitTest each[32];
        int n_failed;

        assert_always(n <= ELEMENTSOF(each));
        for (size_t i = 0; i < n; i++) {
                each[i] = tests[i];
                each[i].setup_func = setup;
                each[i].teardown_func = teardown;
        }
        umask(022);
        if (!mkdtemp(directory))
                return 1;
        snprintf(main_path, sizeof(main_path), "%s/certbroker.conf", directory);
        snprintf(fragments_path, sizeof(fragments_path), "%s/conf.d", directory);
        n_failed = _cmocka_run_group_tests("configuration", each, n, NULL, NULL);
        return rmdir(directory) < 0 ? 1 : n_failed;
}
