/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that closes our descriptors and opens its own under their numbers: of what is its own,
 * nothing is read, written or closed, and the connection counts as ended.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream.h"

static const char unread[] = "the program's own";

typedef struct Scene {
        Stream stream;
        int ours;    /* the other end of the stream */
        int program; /* the other end of what the program has put under our number; -1: none */
        int number;
} Scene;

static int new_stream(Stream *stream)
{
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        *stream = (Stream){ .socket = DESCRIPTOR_NONE };
        assert_int_equal(descriptor_init(&stream->socket, pair[0]), 0);
        return pair[1];
}

/* The program puts a socket under the number, with bytes that it has not read yet. */
static Scene socket_scene(void)
{
        Scene scene = { .program = -1 };
        int pair[2];

        scene.ours = new_stream(&scene.stream);
        scene.number = scene.stream.socket.fd;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(dup2(pair[0], scene.number), scene.number);
        close(pair[0]);
        scene.program = pair[1];
        assert_int_equal(write(scene.program, unread, sizeof(unread)), sizeof(unread));
        return scene;
}

static void check_untouched(const Scene *scene)
{
        char text[2 * sizeof(unread)];

        assert_int_equal(recv(scene->number, text, sizeof(text), MSG_DONTWAIT), sizeof(unread));
        assert_string_equal(text, unread);
        assert_int_equal(recv(scene->program, text, sizeof(text), MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN); /* neither written to nor closed */
}

static void end(Scene *scene)
{
        stream_deinit(&scene->stream);
        assert_true(fcntl(scene->number, F_GETFD) >= 0);
        close(scene->number);
        close(scene->program);
        close(scene->ours);
}

static void test_reading(void **state)
{
        Scene scene = socket_scene();

        assert_int_equal(stream_receive(&scene.stream, SIZE_MAX, UINT64_MAX), -ENOTCONN);
        assert_true(scene.stream.ended);
        check_untouched(&scene);
        end(&scene);
}

static void test_writing(void **state)
{
        Scene scene = socket_scene();

        assert_int_equal(stream_send(&scene.stream, "a call", 6, NULL, 0, UINT64_MAX), -ENOTCONN);
        assert_true(scene.stream.ended);
        check_untouched(&scene);
        end(&scene);
}

static void test_closing(void **state)
{
        Scene scene = socket_scene();

        stream_deinit(&scene.stream);
        check_untouched(&scene);
        end(&scene);
}

static void test_closed_number(void **state)
{
        Scene scene = { 0 };

        scene.ours = new_stream(&scene.stream);
        close(scene.stream.socket.fd);
        assert_int_equal(stream_receive(&scene.stream, SIZE_MAX, UINT64_MAX), -ENOTCONN);
        assert_int_equal(stream_send(&scene.stream, "a call", 6, NULL, 0, UINT64_MAX), -ENOTCONN);
        stream_deinit(&scene.stream);
        close(scene.ours);
}

/* What came with half a message lies there as long as the connection is idle. */
static void test_descriptor_that_came(void **state)
{
        Stream stream;
        Stream sender = { .socket = DESCRIPTOR_NONE };
        int file = open("/dev/null", O_RDONLY | O_CLOEXEC), came;

        assert_int_equal(descriptor_init(&sender.socket, new_stream(&stream)), 0);
        assert_int_equal(stream_send(&sender, "l", 1, &file, 1, 0), 0);
        assert_int_equal(stream_receive(&stream, SIZE_MAX, UINT64_MAX), 0);
        assert_int_equal(stream.n_fds, 1);
        came = stream.fds[0].fd;
        close(file);
        file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
        assert_int_equal(dup2(file, came), came);

        stream_deinit(&stream);
        assert_true(fcntl(came, F_GETFD) >= 0);
        stream_deinit(&sender);
        close(came);
        close(file);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_reading),       cmocka_unit_test(test_writing),
                cmocka_unit_test(test_closing),       cmocka_unit_test(test_closed_number),
                cmocka_unit_test(test_descriptor_that_came),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
