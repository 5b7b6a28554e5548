/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a child does with its parent's descriptors: it closes those that were the parent's connections, and
 * none that the program has opened since under the same number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool.h"

static int open_pair(int pair[2])
{
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

static void test_abandon_closes(void **state)
{
        LinkRegister fd_register;
        int pair[2], other[2];
        Pool *pool;

        assert_int_equal(pool_new(&pool), 0);
        fd_register = pool_register(pool);
        assert_int_equal(open_pair(pair), 0);
        assert_int_equal(open_pair(other), 0);
        fd_register.opened(fd_register.context, pair[0]);
        fd_register.opened(fd_register.context, other[0]);
        fd_register.closing(fd_register.context, other[0]);

        pool_abandon(pool);
        assert_false(is_open(pair[0]));
        assert_true(is_open(other[0])); /* struck off: no longer ours */
        close(pair[1]);
        close(other[0]);
        close(other[1]);
}

static void test_number_of_another(void **state)
{
        LinkRegister fd_register;
        int pair[2], file;
        Pool *pool;

        assert_int_equal(pool_new(&pool), 0);
        fd_register = pool_register(pool);
        assert_int_equal(open_pair(pair), 0);
        fd_register.opened(fd_register.context, pair[0]);
        /* a program that closes all that it has inherited, and then opens its own */
        close(pair[0]);
        file = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_int_equal(dup2(file, pair[0]), pair[0]);

        pool_abandon(pool);
        assert_true(is_open(pair[0]));
        close(pair[0]);
        close(pair[1]);
        if (file != pair[0])
                close(file);
}

static void test_channel(void **state)
{
        Channel channel = { 0 };
        Pool *pool;

        assert_int_equal(pool_new(&pool), 0);
        assert_int_equal(pool_channel(pool, &channel), 0);
        assert_null(channel.addresses);
        assert_int_equal(pool_set_channel(pool, "unix:path=/a", 5, 7), 0);
        assert_int_equal(pool_channel(pool, &channel), 0);
        assert_string_equal(channel.addresses, "unix:path=/a");
        assert_int_equal(channel.server_uid, 5);
        free(channel.addresses);
        assert_int_equal(pool_set_channel(pool, NULL, 0, 0), 0);
        assert_int_equal(pool_channel(pool, &channel), 0);
        assert_null(channel.addresses);
        assert_null(pool_take(pool));
        pool_free(pool);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_abandon_closes),
                cmocka_unit_test(test_number_of_another),
                cmocka_unit_test(test_channel),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
