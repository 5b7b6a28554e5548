/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's half of the starter: requests go out, reports come in. Nothing here waits for the starter but who says so,
 * and its end.
 */
#include "broker/sources/starter.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/sources/starting.h"

#define TITLE    "certbrokerd: starter"
#define END_MSEC 1000
/* Room for many packets at once, where we may (CAP_NET_ADMIN) or the system's limit lets us. */
#define SOCKET_BUFFER (4 * 1024 * 1024)

struct Starter {
        char *helper;
        pid_t pid;
        int fd;
};

static void socket_grow(int fd, int option, int forced_option)
{
        const int size = SOCKET_BUFFER;

        /* Without either, the default still holds one packet of the greatest size. */
        if (setsockopt(fd, SOL_SOCKET, forced_option, &size, sizeof(size)) < 0)
                (void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

static int socket_pair(int ret_fds[2])
{
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0)
                return -errno;
        for (size_t i = 0; i < 2; i++) {
                socket_grow(ret_fds[i], SO_SNDBUF, SO_SNDBUFFORCE);
                socket_grow(ret_fds[i], SO_RCVBUF, SO_RCVBUFFORCE);
        }
        return 0;
}

/* What ps(1) shows of it. The arguments lie one behind the other, in whatever order they are pointed to. */
static void take_title(char **argv)
{
        char *start = argv[0], *end = start;

        for (; *argv; argv++)
                end = MAX(end, *argv + strlen(*argv));
        memset(start, 0, (size_t)(end - start));
        snprintf(start, (size_t)(end - start) + 1, "%s", TITLE);
}

static int fork_process(Starter *starter, char **argv)
{
        pid_t broker = getpid();
        int fds[2], r;

        r = socket_pair(fds);
        if (r < 0)
                return r;
        starter->fd = fds[0];
        starter->pid = fork();
        if (starter->pid == 0) {
                if (argv && argv[0])
                        take_title(argv);
                starting_main(fds[1], broker, starter->helper);
        }
        r = starter->pid < 0 ? -errno : 0;
        close_fd(fds[1]);
        return r;
}

int starter_new(const char *helper, char **argv, Starter **ret_starter)
{
        CLEANUP(starter_freep) Starter *starter = calloc(1, sizeof(*starter));
        int r;

        if (!starter)
                return -ENOMEM;
        starter->fd = -1;
        starter->helper = strdup(helper);
        if (!starter->helper)
                return -ENOMEM;
        r = fork_process(starter, argv);
        if (r < 0)
                return r;
        *ret_starter = TAKE(starter);
        return 0;
}

/* One that does not end in time is ended by the kernel when we do. */
static void end_process(const Starter *starter)
{
        struct pollfd end = { .fd = starter->fd };

        (void)shutdown(starter->fd, SHUT_WR);
        if (poll(&end, 1, END_MSEC) > 0 && (end.revents & POLLHUP))
                while (waitpid(starter->pid, NULL, 0) < 0 && errno == EINTR)
                        ;
}

Starter *starter_free(Starter *starter)
{
        if (!starter)
                return NULL;
        if (starter->pid > 0)
                end_process(starter);
        close_fd(starter->fd);
        free(starter->helper);
        free(starter);
        return NULL;
}

const char *starter_helper(const Starter *starter)
{
        return starter->helper;
}

int starter_fd(const Starter *starter)
{
        return starter->fd;
}

/* --- requests --- */

/* fd: goes along; -1: none. */
static int send_request(const Starter *starter, uint64_t id, StarterOrder order, int fd)
{
        StarterRequest request = { .id = id, .order = (int32_t)order };
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control = { 0 };
        struct iovec part = { &request, sizeof(request) };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
        ssize_t n;

        if (fd >= 0) {
                message.msg_control = control.bytes;
                message.msg_controllen = sizeof(control.bytes);
                *CMSG_FIRSTHDR(&message) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
                                                             .cmsg_level = SOL_SOCKET,
                                                             .cmsg_type = SCM_RIGHTS };
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &fd, sizeof(fd));
        }
        do {
                n = sendmsg(starter->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

int starter_start(Starter *starter, uint64_t id, int *ret_fd)
{
        int fds[2], r;

        r = socket_pair(fds);
        if (r < 0)
                return r;
        r = send_request(starter, id, STARTER_START, fds[1]);
        close_fd(fds[1]);
        if (r < 0) {
                close_fd(fds[0]);
                return r;
        }
        *ret_fd = fds[0];
        return 0;
}

int starter_kill(Starter *starter, uint64_t id)
{
        return send_request(starter, id, STARTER_KILL, -1);
}

/* --- reports --- */

int starter_receive(Starter *starter, uint64_t timeout_usec, StarterReport *ret_report)
{
        struct pollfd readable = { .fd = starter->fd, .events = POLLIN };
        StarterReport report;
        ssize_t n;

        if (timeout_usec > 0 && poll(&readable, 1, (int)(timeout_usec / USEC_PER_MSEC) + 1) <= 0)
                return 0;
        n = recv(starter->fd, &report, sizeof(report), MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0)
                return -EPIPE;
        if (n != sizeof(report))
                return -EBADMSG;
        *ret_report = report;
        return 1;
}
