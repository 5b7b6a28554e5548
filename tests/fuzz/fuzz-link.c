/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole conversation of the client library with a server that says whatever the input is: log-in, Hello, the answer to
 * a call, and what comes unasked. The first byte says what is wanted of the server and how many descriptors come along.
 * Holds: it ends, with a sentence; nothing crashes, leaks, or is left open.
 */
#include "fuzz.h"

#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "link.h"
#include "value.h"

#define FDS_MAX 7

static struct {
        int socket;
        const uint8_t *data;
        size_t n, n_fds;
        sem_t done; /* once for each connection: the input is the fuzzer's again */
} server;

static void send_all(int fd)
{
        union {
                char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
                struct cmsghdr align;
        } control = { { 0 } };
        struct iovec part = { (void *)(uintptr_t)server.data, server.n };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
        int fds[FDS_MAX];

        for (size_t i = 0; i < server.n_fds; i++)
                fds[i] = fd;
        if (server.n_fds > 0) {
                struct cmsghdr *c = &control.align;

                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(server.n_fds * sizeof(int));
                *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS,
                                       .cmsg_len = CMSG_LEN(server.n_fds * sizeof(int)) };
                memcpy(CMSG_DATA(c), fds, server.n_fds * sizeof(int));
        }
        if (server.n > 0)
                (void)sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void *serve(void *unused)
{
        char ignored[4096];
        int fd;

        while ((fd = accept4(server.socket, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                send_all(fd);
                (void)shutdown(fd, SHUT_WR);
                while (read(fd, ignored, sizeof(ignored)) > 0)
                        ;
                (void)close(fd);
                (void)sem_post(&server.done);
        }
        return unused;
}

static const char *start_server(void)
{
        static char address[160];
        struct sockaddr_un name = { .sun_family = AF_UNIX };
        pthread_t thread;
        int n;

        if (*address)
                return address;
        n = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "fuzz-link-%d/channel", (int)getpid());
        (void)snprintf(address, sizeof(address), "unix:abstract=%s", name.sun_path + 1);
        server.socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        FUZZ_CHECK(server.socket >= 0);
        FUZZ_CHECK(bind(server.socket, (const struct sockaddr *)&name,
                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0);
        FUZZ_CHECK(listen(server.socket, 16) == 0);
        FUZZ_CHECK(sem_init(&server.done, 0, 0) == 0);
        FUZZ_CHECK(pthread_create(&thread, NULL, serve, NULL) == 0);
        return address;
}

static void ignore(void *context, const Descriptor *socket)
{
        (void)context;
        (void)socket;
}

static void use(Link *link)
{
        const cb_method ping = { .path = "/org/certbroker1",
                                 .interface = "org.freedesktop.DBus.Peer",
                                 .member = "Ping" };
        CLEANUP(message_freep) Message *call = NULL;
        CLEANUP(cb_value_freep) cb_value *body = NULL;
        cb_error error = { 0 };
        int r;

        FUZZ_CHECK(message_new(&ping, &call, &error, "") == 0);
        r = link_call(link, call, link_broker(link), link_deadline(USEC_PER_SEC), &body, &error);
        FUZZ_CHECK(r == 0 || *error.text);
        while (link_is_alive(link)) {
                CLEANUP(incoming_freep) Incoming *message = NULL;

                if (link_next(link, link_deadline(USEC_PER_SEC), &message, &error) != 0)
                        break;
                (void)link_is_from_broker(link, message);
        }
        (void)link_refresh(link);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        const char *address = start_server();
        CLEANUP(link_freep) Link *link = NULL;
        const LinkRegister fd_register = { ignore, ignore, NULL };
        Trust trust;
        Wanted wanted = { &trust, PEER_BY_NAME, TRUST_NO_UID };
        cb_error error = { 0 };
        int r;

        if (n == 0)
                return 0;
        trust_init(&trust);
        wanted.kind = data[0] & 1 ? PEER_BUS : PEER_CHANNEL;
        server.data = data + 1;
        server.n = n - 1;
        server.n_fds = data[0] >> 1 & FDS_MAX;
        r = link_new(address, &wanted, &fd_register, link_deadline(USEC_PER_SEC), &link, &error);
        FUZZ_CHECK((r == 0) == (link != NULL) && (r == 0 || *error.text));
        if (link)
                use(link);
        link = link_free(link);
        FUZZ_CHECK(sem_wait(&server.done) == 0);
        return 0;
}
