/* SPDX-License-Identifier: Apache-2.0 */
/* What `certbroker setup`, which is root's, takes from others: paths, cgroups, a folder that is theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"
#include "tokens.h"
#include "unit.h"

#define NOBODY 65534

static void test_a_word_is_one_line(void **state)
{
        char *command = NULL;

        assert_int_equal(unit_quote(&command, "/bin/true"), 0);
        assert_int_equal(unit_quote(&command, "a\"\nExecStart=/bin/sh\\ %i $x\r\t\x7f"), 0);
        assert_string_equal(command, "\"/bin/true\" \"a\\\"\\x0aExecStart=/bin/sh\\\\ %%i $$x\\x0d\\x09\\x7f\"");
        free(command);
}

/* A cgroup of a user's own, so deep that its end looked like a line of its own. */
static void test_whose_cgroup(void **state)
{
        static const char unit[] = "/system.slice/nginx.service";
        char line[2048], deep[1100];

        memset(deep, 'a', sizeof(deep) - 1);
        deep[sizeof(deep) - 1] = '\0';
        for (size_t n = 900; n < sizeof(deep); n++) {
                (void)snprintf(line, sizeof(line), "0::/%.*s%s\n", (int)n, deep, unit);
                assert_false(process_line_is_in(line, unit));
        }
        assert_true(process_line_is_in("0::/system.slice/nginx.service\n", unit));
        assert_true(process_line_is_in("1:name=systemd:/system.slice/nginx.service/worker\n", unit));
        assert_false(process_line_is_in("0::/system.slice/nginx.service.d\n", unit));
        assert_false(process_line_is_in("0::/user.slice/system.slice/nginx.service\n", unit));
        assert_false(process_line_is_in("/system.slice/nginx.service\n", unit));
        assert_false(process_line_is_in("0::/\n", "/"));
}

/* Each in a block of its own length, where a sanitizer sees what is read behind its end. */
static void test_a_modules_words(void **state)
{
        static const char *const texts[][2] = {
                { "", "" },           { "plain", "plain" }, { "%41b%2fc", "Ab/c" }, { "%4", "%4" },   { "%", "%" },
                { "a%zz%00", "a%zz%00" }, { "% 4", "% 4" }, { "%-1", "%-1" },       { "%%41", "%A" }, { "%c3%a4", "\xc3\xa4" },
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
                char *text = strdup(texts[i][0]);

                assert_non_null(text);
                tokens_decode(text);
                assert_string_equal(text, texts[i][1]);
                free(text);
        }
}

static int make(const char *folder, const char *name)
{
        char path[256];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
        if (mkdir(path, 0700) < 0)
                return -errno;
        (void)snprintf(path, sizeof(path), "%s/%s/file", folder, name);
        fd = open(path, O_WRONLY | O_CREAT, 0600);
        return fd < 0 ? -errno : close(fd);
}

/* A link in the place of the folder: nothing of root's goes. */
static void test_tokens_of_another(void **state)
{
        char home[] = "/tmp/test-cli-setup-XXXXXX", tokens[256], other[256], file[300], *names;

        if (geteuid() != 0)
                skip();
        assert_non_null(mkdtemp(home));
        assert_int_equal(chmod(home, 0755), 0);
        (void)snprintf(tokens, sizeof(tokens), "%s/tokens", home);
        (void)snprintf(other, sizeof(other), "%s/other", home);
        (void)snprintf(file, sizeof(file), "%s/precious/file", other);
        assert_int_equal(mkdir(tokens, 0700), 0);
        assert_int_equal(chown(tokens, NOBODY, NOBODY), 0);
        assert_int_equal(mkdir(other, 0755), 0);
        assert_int_equal(make(other, "precious"), 0);

        assert_int_equal(tokens_list(tokens, &names), 0);
        assert_int_equal(rmdir(tokens), 0);
        assert_int_equal(symlink(other, tokens), 0);
        assert_int_not_equal(tokens_remove_others(tokens, names, NOBODY, NOBODY), 0);
        assert_int_equal(access(file, F_OK), 0);

        /* as it is meant */
        assert_int_equal(unlink(tokens), 0);
        assert_int_equal(mkdir(tokens, 0700), 0);
        assert_int_equal(make(tokens, "new"), 0);
        (void)snprintf(file, sizeof(file), "%s/new", tokens);
        assert_int_equal(chown(file, NOBODY, NOBODY), 0);
        assert_int_equal(chown(tokens, NOBODY, NOBODY), 0);
        assert_int_equal(tokens_remove_others(tokens, names, NOBODY, NOBODY), 0);
        assert_int_equal(access(file, F_OK), -1);
        free(names);

        (void)snprintf(file, sizeof(file), "rm -r %s", home);
        assert_int_equal(system(file), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_word_is_one_line),
                cmocka_unit_test(test_whose_cgroup),
                cmocka_unit_test(test_a_modules_words),
                cmocka_unit_test(test_tokens_of_another),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
