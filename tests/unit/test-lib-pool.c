/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a child does with its parent's descriptors: it closes those that were the parent's connections,
 * one that another thread is just making included, and none that the program has opened since under
 * the same number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool.h"

#define N_THREADS 4
#define FDS_MAX   64 /* more than this program ever has open */
#ifdef __SANITIZE_ADDRESS__
#define N_CHILDREN 100 /* each copies the sanitizer's shadow: 20 ms */
#else
#define N_CHILDREN 1000
#endif

static int open_pair(int pair[2])
{
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
}

/* Notes a socket in the pool. */
static Descriptor opened(Pool *pool, int fd)
{
        LinkRegister fd_register = pool_register(pool);
        Descriptor descriptor;

        assert_int_equal(descriptor_init(&descriptor, fd), 0);
        fd_register.opened(fd_register.context, &descriptor);
        return descriptor;
}

static void closing(Pool *pool, const Descriptor *descriptor)
{
        LinkRegister fd_register = pool_register(pool);

        fd_register.closing(fd_register.context, descriptor);
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

static void test_abandon_closes(void **state)
{
        int pair[2], other[2];
        Descriptor struck;
        Pool *pool;

        assert_int_equal(pool_new(&pool), 0);
        assert_int_equal(open_pair(pair), 0);
        assert_int_equal(open_pair(other), 0);
        (void)opened(pool, pair[0]);
        struck = opened(pool, other[0]);
        closing(pool, &struck);

        pool_abandon(pool);
        assert_false(is_open(pair[0]));
        assert_true(is_open(other[0])); /* struck off: no longer ours */
        close(pair[1]);
        close(other[0]);
        close(other[1]);
}

static void test_number_of_another(void **state)
{
        int pair[2], file;
        Pool *pool;

        assert_int_equal(pool_new(&pool), 0);
        assert_int_equal(open_pair(pair), 0);
        (void)opened(pool, pair[0]);
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

/* The program has closed a number, and a connection since has got it: only the older one is struck off. */
static void test_number_twice(void **state)
{
        Descriptor first, second;
        int pair[2], other[2];
        Pool *pool;

        assert_int_equal(pool_new(&pool), 0);
        assert_int_equal(open_pair(pair), 0);
        assert_int_equal(open_pair(other), 0);
        first = opened(pool, pair[0]);
        assert_int_equal(dup2(other[0], pair[0]), pair[0]);
        second = opened(pool, pair[0]);
        assert_int_equal(first.fd, second.fd);
        closing(pool, &first);

        pool_abandon(pool);
        assert_false(is_open(pair[0]));
        close(pair[1]);
        close(other[0]);
        close(other[1]);
}

/* A server that hangs up on everybody, in a process of its own: its sockets are not counted. */
static pid_t start_server(const char *name)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1);
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        pid_t pid;

        n += (socklen_t)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "%s", name);
        assert_int_equal(bind(listener, (struct sockaddr *)&address, n), 0);
        assert_int_equal(listen(listener, 64), 0);
        pid = fork();
        for (int fd; pid == 0 && (fd = accept(listener, NULL, NULL)) >= 0;)
                close(fd);
        if (pid == 0)
                _exit(0);
        close(listener);
        return pid;
}

typedef struct Caller {
        Pool *pool;
        const char *addresses;
        atomic_bool stop;
        atomic_uint n_made;
} Caller;

static void *connect_always(void *argument)
{
        Caller *caller = argument;
        const Trust trust = { .bus_uid = TRUST_NO_UID, .broker_uid = TRUST_NO_UID };
        const Wanted wanted = { .trust = &trust, .only = TRUST_NO_UID };
        LinkRegister fd_register = pool_register(caller->pool);

        while (!atomic_load(&caller->stop)) {
                Link *link = NULL;

                (void)link_new(caller->addresses, &wanted, &fd_register,
                               link_deadline(USEC_PER_SEC), &link, NULL);
                link_free(link);
                atomic_fetch_add(&caller->n_made, 1);
        }
        return NULL;
}

static int count_sockets(void)
{
        struct stat st;
        int n = 0;

        for (int fd = 0; fd < FDS_MAX; fd++)
                n += fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
        return n;
}

/* The sockets that are left in one child. */
static int fork_one(Pool *pool)
{
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                pool_abandon(pool);
                _exit(count_sockets());
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_fork_while_connecting(void **state)
{
        char name[64], addresses[96];
        pthread_t threads[N_THREADS];
        Caller caller = { .addresses = addresses };
        int n_left = 0, n_before = count_sockets();
        pid_t server;

        snprintf(name, sizeof(name), "certbroker-test-%d", (int)getpid());
        snprintf(addresses, sizeof(addresses), "unix:abstract=%s", name);
        server = start_server(name);
        assert_int_equal(pool_new(&caller.pool), 0);
        for (size_t i = 0; i < N_THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, connect_always, &caller), 0);
        while (atomic_load(&caller.n_made) < N_THREADS)
                (void)usleep(1000);
        for (size_t i = 0; i < N_CHILDREN; i++)
                n_left += fork_one(caller.pool) - n_before;
        atomic_store(&caller.stop, true);
        for (size_t i = 0; i < N_THREADS; i++)
                (void)pthread_join(threads[i], NULL);
        kill(server, SIGKILL);
        assert_int_equal(waitpid(server, NULL, 0), server);
        pool_free(caller.pool);
        assert_int_equal(n_left, 0);
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
                cmocka_unit_test(test_number_twice),
                cmocka_unit_test(test_fork_while_connecting),
                cmocka_unit_test(test_channel),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
