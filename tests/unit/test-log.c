/* SPDX-License-Identifier: Apache-2.0 */
/* A log line is one line, and does nothing to the terminal on which it is read, whatever was put into it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macro.h"
#include "characters.h"

/* What log_warning() writes of a text, without the words before it. */
static const char *logged(const char *text, char *buffer, size_t n_max)
{
        static const char before[] = "certbroker: warning: ";
        int stderr_kept = dup(STDERR_FILENO), ends[2];
        ssize_t n;

        assert_int_equal(pipe(ends), 0);
        assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
        log_warning("%s", text);
        assert_int_equal(dup2(stderr_kept, STDERR_FILENO), STDERR_FILENO);
        n = read(ends[0], buffer, n_max - 1);
        close(ends[0]);
        close(ends[1]);
        close(stderr_kept);

        assert_true(n > (ssize_t)strlen(before));
        assert_memory_equal(buffer, before, strlen(before));
        assert_int_equal(buffer[n - 1], '\n');
        buffer[n - 1] = '\0';
        return buffer + strlen(before);
}

static void shows_no_hidden_character(void **state)
{
        char text[32], expected[32], buffer[100];

        for (size_t i = 0; i < N_HIDDEN_CHARACTERS; i++) {
                snprintf(text, sizeof(text), "a%sb", hidden_characters[i]);
                write_escaped(hidden_characters[i], expected);
                assert_string_equal(logged(text, buffer, sizeof(buffer)), expected);
        }
        for (size_t i = 0; i < N_SHOWN_CHARACTERS; i++) {
                snprintf(text, sizeof(text), "a%sb", shown_characters[i]);
                assert_string_equal(logged(text, buffer, sizeof(buffer)), text);
        }
}

static void is_one_line(void **state)
{
        char buffer[100];

        assert_string_equal(logged("two\nlines\tand a tab\n", buffer, sizeof(buffer)),
                            "two lines and a tab ");
}

static void is_cut_between_characters(void **state)
{
        char text[3 * 1000 + 1], buffer[4096];
        size_t n;

        for (size_t i = 0; i < 1000; i++)
                memcpy(text + 3 * i, "€", 4);
        n = strlen(logged(text, buffer, sizeof(buffer)));
        assert_true(n > 2000 && n < 2048 && n % 3 == 0);
}

/* Each is missing; the next that is read says how many, and only of them. */
static void tells_of_lines_that_nobody_read(void **state)
{
        int stderr_kept = dup(STDERR_FILENO), ends[2];
        char buffer[1 << 17], *said;
        size_t n_written = 0;
        ssize_t n;

        assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
        assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
        memset(buffer, 'x', sizeof(buffer));
        while ((n = write(ends[1], buffer, 4096)) > 0)
                n_written += (size_t)n;
        for (unsigned i = 0; i < 1000; i++)
                log_warning("lost");
        while (n_written > 0)
                n_written -= (size_t)read(ends[0], buffer, MIN(n_written, sizeof(buffer)));
        log_warning("read");
        log_warning("and this");
        assert_int_equal(dup2(stderr_kept, STDERR_FILENO), STDERR_FILENO);
        n = read(ends[0], buffer, sizeof(buffer) - 1);
        buffer[MAX(n, 0)] = '\0';
        close(ends[0]);
        close(ends[1]);
        close(stderr_kept);

        assert_null(strstr(buffer, "lost"));
        said = strstr(buffer, "warning: 1000 lines before this one are missing");
        assert_ptr_equal(said, strchr(buffer, ' ') + 1);
        assert_non_null(strstr(said, "warning: read\n"));
        assert_non_null(strstr(said, "warning: and this\n"));
        assert_null(strstr(said + strlen("warning: 1000 lines"), "lines before"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(shows_no_hidden_character),
                cmocka_unit_test(is_one_line),
                cmocka_unit_test(is_cut_between_characters),
                cmocka_unit_test(tells_of_lines_that_nobody_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
