/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes and descriptors over a unix socket. Nothing here blocks but ppoll(2), which ends at the
 * deadline, however many signals come. It connects without blocking too: connect(2) on a blocking
 * socket waits without end for a server that is stopped and whose queue is full, and a gateway's
 * event loop with it. SIGPIPE is never raised. Nothing is read, written or closed that is no longer
 * ours (descriptor.c).
 */
#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "link.h"

#define READ_SIZE (16 * 1024)

int stream_open(Stream *stream, const Address *address)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *)&address->socket, address->n_socket) < 0) {
                r = -errno;
                (void)close(fd);
                return r;
        }
        *stream = (Stream){ .socket = DESCRIPTOR_NONE };
        return descriptor_init(&stream->socket, fd);
}

void stream_deinit(Stream *stream)
{
        for (size_t i = 0; i < stream->n_fds; i++)
                descriptor_close(&stream->fds[i]);
        descriptor_close(&stream->socket);
        free(stream->data);
        *stream = (Stream){ .socket = DESCRIPTOR_NONE };
}

/* To be asked before each use of the number. */
static bool has_ended(Stream *stream)
{
        if (!stream->ended)
                stream->ended = !descriptor_is_ours(&stream->socket);
        return stream->ended;
}

static int wait_for(Stream *stream, short events, uint64_t deadline)
{
        uint64_t now = link_now(), left = deadline > now ? deadline - now : 0;
        struct timespec timeout = { .tv_sec = (time_t)(left / USEC_PER_SEC),
                                    .tv_nsec = (long)(left % USEC_PER_SEC) * 1000 };
        struct pollfd p = { .fd = stream->socket.fd, .events = events };
        int n;

        if (has_ended(stream))
                return -ENOTCONN;
        n = ppoll(&p, 1, deadline == UINT64_MAX ? NULL : &timeout, NULL);
        if (n < 0)
                return -errno;
        return n == 0 ? -ETIMEDOUT : 0;
}

static int reserve(Stream *stream, size_t n)
{
        size_t room = stream->n_room;
        uint8_t *data;

        if (n <= room - stream->n)
                return 0;
        while (room - stream->n < n)
                room = room < READ_SIZE ? READ_SIZE : 2 * room;
        data = realloc(stream->data, room);
        if (!data)
                return -ENOMEM;
        stream->data = data;
        stream->n_room = room;
        return 0;
}

/* Keeps the descriptors of a message; of more than anybody may send, the rest is closed. */
static void keep_fds(Stream *stream, struct msghdr *message)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
                        if (stream->n_fds == STREAM_FDS_MAX)
                                (void)close(fd);
                        else if (descriptor_init(&stream->fds[stream->n_fds], fd) == 0)
                                stream->n_fds++;
                }
        }
}

/* Reads once. -EAGAIN: nothing there. */
static int read_some(Stream *stream, size_t most)
{
        union {
                char bytes[CMSG_SPACE(STREAM_FDS_MAX * sizeof(int))];
                struct cmsghdr align;
        } control;
        struct iovec part;
        struct msghdr message = { .msg_iov = &part,
                                  .msg_iovlen = 1,
                                  .msg_control = &control,
                                  .msg_controllen = sizeof(control) };
        size_t n_read = most < READ_SIZE ? most : READ_SIZE;
        ssize_t n;
        int r;

        r = reserve(stream, n_read);
        if (r)
                return r;
        if (has_ended(stream))
                return -ENOTCONN;
        part = (struct iovec){ stream->data + stream->n, n_read };
        n = recvmsg(stream->socket.fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0 && (errno == ECONNRESET || errno == EPIPE))
                n = 0;
        if (n < 0)
                return -errno;
        if (n == 0) {
                stream->ended = true;
                return -ENOTCONN;
        }
        keep_fds(stream, &message);
        stream->n += (size_t)n;
        return 0;
}

int stream_receive(Stream *stream, size_t most, uint64_t deadline)
{
        int r;

        for (;;) {
                r = read_some(stream, most);
                if (r != -EAGAIN)
                        return r;
                r = wait_for(stream, POLLIN, deadline);
                if (r)
                        return r;
        }
}

void stream_drop(Stream *stream, size_t n)
{
        stream->n -= n;
        memmove(stream->data, stream->data + n, stream->n);
}

/* The descriptors go with the first byte. */
static ssize_t write_some(Stream *stream, const uint8_t *data, size_t n, const int *fds,
                          size_t n_fds)
{
        union {
                char bytes[CMSG_SPACE(STREAM_FDS_MAX * sizeof(int))];
                struct cmsghdr align;
        } control = { { 0 } };
        struct iovec part = { (void *)(uintptr_t)data, n };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
        ssize_t written;

        if (n_fds > 0) {
                struct cmsghdr *c;

                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
        }
        if (has_ended(stream))
                return -ENOTCONN;
        written = sendmsg(stream->socket.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        return written < 0 ? -errno : written;
}

/* Until it can be written; reading meanwhile, for the server may wait for us to read. */
static int wait_writable(Stream *stream, uint64_t deadline)
{
        int r = wait_for(stream, POLLIN | POLLOUT, deadline);

        if (r == -EINTR)
                return 0;
        if (r)
                return r;
        r = stream->n < INCOMING_SIZE_MAX ? read_some(stream, READ_SIZE) : 0;
        return r == -EAGAIN || r == -EINTR ? 0 : r;
}

int stream_send(Stream *stream, const void *data, size_t n, const int *fds, size_t n_fds,
                uint64_t deadline)
{
        const uint8_t *p = data;

        while (n > 0) {
                ssize_t written = write_some(stream, p, n, fds, n_fds);

                if (written == -EAGAIN) {
                        int r = wait_writable(stream, deadline);

                        if (r)
                                return r;
                        continue;
                }
                if (written == -EINTR)
                        continue;
                if (written < 0)
                        return (int)written;
                p += written;
                n -= (size_t)written;
                n_fds = 0;
        }
        return 0;
}
