/* SPDX-License-Identifier: Apache-2.0 */
/* Packets and their descriptors over a real SOCK_SEQPACKET pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "wire/packet.h"

static uint8_t buffer[WIRE_PACKET_MAX];

typedef struct Pair {
        int a, b;
} Pair;

static void pair_open(Pair *pair)
{
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        pair->a = fds[0];
        pair->b = fds[1];
}

static void pair_close(Pair *pair)
{
        close_fd(pair->a);
        close_fd(pair->b);
}

static unsigned count_fds(void)
{
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static uint8_t hello_data[] = "hello";
static const Bytes hello = { hello_data, 5 };

static bool same_file(int a, int b)
{
        struct stat x, y;

        assert_int_equal(fstat(a, &x), 0);
        assert_int_equal(fstat(b, &y), 0);
        return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* What any program may send, ours or not: `n` bytes with `n_fds` copies of one descriptor. */
static void send_raw(int fd, const void *data, size_t n, int what, size_t n_fds)
{
        union {
                struct cmsghdr align;
                char room[CMSG_SPACE(16 * sizeof(int))];
        } control = { 0 };
        struct iovec part = { (void *)(uintptr_t)data, n };
        struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };

        if (n_fds > 0) {
                struct cmsghdr *h;
                int fds[16];

                for (size_t i = 0; i < n_fds; i++)
                        fds[i] = what;
                m.msg_control = control.room;
                m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                h = CMSG_FIRSTHDR(&m);
                h->cmsg_level = SOL_SOCKET;
                h->cmsg_type = SCM_RIGHTS;
                h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
        }
        assert_int_equal(sendmsg(fd, &m, MSG_NOSIGNAL), (ssize_t)n);
}

static void packet_without_fds(void **state)
{
        CLEANUP(pair_close) Pair pair;
        int none[WIRE_FDS_MAX] = { -1, -1 }, got[WIRE_FDS_MAX] = { 99, 99 };

        pair_open(&pair);
        assert_int_equal(wire_send(pair.a, &hello, none, 0), 0);
        assert_int_equal(wire_send(pair.a, &hello, NULL, 0), 0);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(wire_receive(pair.b, buffer, sizeof(buffer), got, 0), 5);
                assert_memory_equal(buffer, "hello", 5);
                assert_true(got[0] == -1 && got[1] == -1);
        }
}

static void fds_keep_their_places(void **state)
{
        CLEANUP(pair_close) Pair pair;
        CLEANUP(closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        CLEANUP(closep) int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
        const int sent[][WIRE_FDS_MAX] = { { null, zero }, { null, -1 }, { -1, zero } };

        pair_open(&pair);
        for (size_t i = 0; i < ELEMENTSOF(sent); i++) {
                int got[WIRE_FDS_MAX] = { 99, 99 };

                assert_int_equal(wire_send(pair.a, &hello, sent[i], 0), 0);
                assert_int_equal(wire_receive(pair.b, buffer, sizeof(buffer), got, 0), 5);
                for (size_t k = 0; k < WIRE_FDS_MAX; k++) {
                        if (sent[i][k] < 0) {
                                assert_int_equal(got[k], -1);
                                continue;
                        }
                        assert_true(got[k] != sent[i][k] && same_file(got[k], sent[i][k]));
                        assert_true(fcntl(got[k], F_GETFD) & FD_CLOEXEC);
                        close(got[k]);
                }
        }
}

static void largest_packet_fits(void **state)
{
        CLEANUP(pair_close) Pair pair;
        static uint8_t big[WIRE_PACKET_MAX + 1];
        Bytes packet = { big, WIRE_PACKET_MAX };
        int got[WIRE_FDS_MAX];

        pair_open(&pair);
        memset(big, 0xa5, sizeof(big));
        assert_int_equal(wire_send(pair.a, &packet, NULL, MSG_DONTWAIT), 0);
        assert_int_equal(wire_receive(pair.b, buffer, sizeof(buffer), got, 0), WIRE_PACKET_MAX);
        assert_memory_equal(buffer, big, WIRE_PACKET_MAX);
        packet.n++;
        assert_int_equal(wire_send(pair.a, &packet, NULL, 0), -EMSGSIZE);
        packet.n = 0;
        assert_int_equal(wire_send(pair.a, &packet, NULL, 0), -EINVAL);
}

static void end_and_broken_pipe(void **state)
{
        CLEANUP(pair_close) Pair pair;
        int got[WIRE_FDS_MAX] = { 99, 99 };

        pair_open(&pair);
        pair.a = close_fd(pair.a);
        assert_int_equal(wire_receive(pair.b, buffer, sizeof(buffer), got, 0), 0);
        assert_true(got[0] == -1 && got[1] == -1);
        assert_int_equal(wire_send(pair.b, &hello, NULL, 0), -EPIPE); /* and no SIGPIPE */
}

static void full_and_empty_say_again(void **state)
{
        CLEANUP(pair_close) Pair pair;
        int got[WIRE_FDS_MAX], r = 0;

        pair_open(&pair);
        assert_int_equal(wire_receive(pair.b, buffer, sizeof(buffer), got, MSG_DONTWAIT), -EAGAIN);
        for (int i = 0; r == 0 && i < 1000000; i++)
                r = wire_send(pair.a, &hello, NULL, MSG_DONTWAIT);
        assert_int_equal(r, -EAGAIN);
}

/* Refused, with nothing left open here. */
static void assert_refused(Pair *pair, size_t n_buffer)
{
        int got[WIRE_FDS_MAX] = { 99, 99 };
        unsigned before = count_fds();

        assert_int_equal(wire_receive(pair->b, buffer, n_buffer, got, 0), -EBADMSG);
        assert_true(got[0] == 99 && got[1] == 99);
        assert_int_equal(count_fds(), before);
}

static void odd_packets_are_refused_and_closed(void **state)
{
        CLEANUP(pair_close) Pair pair;
        CLEANUP(closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        const int both[WIRE_FDS_MAX] = { null, null };
        int got[WIRE_FDS_MAX];

        pair_open(&pair);
        assert_int_equal(wire_send(pair.a, &hello, both, 0), 0); /* longer than the buffer */
        assert_refused(&pair, 4);
        send_raw(pair.a, "\3hello", 6, null, 1); /* says two, has one */
        assert_refused(&pair, sizeof(buffer));
        send_raw(pair.a, "\0hello", 6, null, 1); /* says none */
        assert_refused(&pair, sizeof(buffer));
        send_raw(pair.a, "\1hello", 6, -1, 0); /* says one, has none */
        assert_refused(&pair, sizeof(buffer));
        send_raw(pair.a, "\7hello", 6, null, 3); /* a place that there is not */
        assert_refused(&pair, sizeof(buffer));
        send_raw(pair.a, "\3hello", 6, null, 16); /* more than there is room for */
        assert_refused(&pair, sizeof(buffer));
        send_raw(pair.a, "\1", 1, null, 1); /* nothing in it */
        assert_refused(&pair, sizeof(buffer));
        assert_int_equal(wire_send(pair.a, &hello, NULL, 0), 0); /* and the next one is read */
        assert_int_equal(wire_receive(pair.b, buffer, sizeof(buffer), got, 0), 5);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(packet_without_fds),
                cmocka_unit_test(fds_keep_their_places),
                cmocka_unit_test(largest_packet_fits),
                cmocka_unit_test(end_and_broken_pipe),
                cmocka_unit_test(full_and_empty_say_again),
                cmocka_unit_test(odd_packets_are_refused_and_closed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
