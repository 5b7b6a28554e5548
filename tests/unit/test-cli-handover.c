/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker is handed: copies that are whole, sealed, and not longer than it would read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "handover.h"

#define MAX 50000

static int file_of(char byte, size_t n)
{
        int fd = memfd_create("file", MFD_CLOEXEC);

        assert_true(fd >= 0);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(write(fd, &byte, 1), 1);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return fd;
}

static void assert_copy(int fd, char byte, size_t n)
{
        static char data[2 * MAX];

        assert_int_equal(fcntl(fd, F_GET_SEALS),
                         F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
        assert_int_equal(read(fd, data, sizeof(data)), n);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(data[i], byte);
        (void)close(fd);
}

static void copies_a_file_that_changes_later(void **state)
{
        static const size_t lengths[] = { 0, 1, 16383, 16384, 16385, MAX };

        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
                int from = file_of('a', lengths[i]), fd;

                assert_int_equal(handover_copy(from, MAX, &fd), 0);
                if (lengths[i] > 0)
                        assert_int_equal(pwrite(from, "b", 1, 0), 1);
                assert_copy(fd, 'a', lengths[i]);
                (void)close(from);
        }
}

static void copies_a_pipe_to_its_end(void **state)
{
        int ends[2], fd;

        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], "aaa", 3), 3);
        (void)close(ends[1]);
        assert_int_equal(handover_copy(ends[0], MAX, &fd), 0);
        assert_copy(fd, 'a', 3);
        (void)close(ends[0]);
}

/* The reader is to see that it is too long, and we are not to read without an end. */
static void copies_a_little_more_than_is_taken(void **state)
{
        int from = open("/dev/zero", O_RDONLY | O_CLOEXEC), fd;
        off_t n;

        assert_int_equal(handover_copy(from, MAX, &fd), 0);
        n = lseek(fd, 0, SEEK_END);
        assert_true(n > MAX && n < 2 * MAX);
        (void)close(fd);
        (void)close(from);
}

static void tells_what_cannot_be_read(void **state)
{
        int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;

        assert_int_equal(handover_copy(folder, MAX, &fd), -EISDIR);
        assert_int_equal(fd, -1);
        (void)close(folder);
}

static void seals_what_it_is_given(void **state)
{
        int fd;

        assert_int_equal(handover_new("aa", 2, &fd), 0);
        assert_int_equal(write(fd, "b", 1), -1);
        assert_copy(fd, 'a', 2);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(copies_a_file_that_changes_later),
                cmocka_unit_test(copies_a_pipe_to_its_end),
                cmocka_unit_test(copies_a_little_more_than_is_taken),
                cmocka_unit_test(tells_what_cannot_be_read),
                cmocka_unit_test(seals_what_it_is_given),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
