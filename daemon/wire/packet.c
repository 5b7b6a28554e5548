/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One packet with its descriptors over a SOCK_SEQPACKET socket.
 *
 * Invariant: a descriptor is where the sender put it (SCM_RIGHTS alone keeps order, not gaps: one byte
 * ahead of the packet says which places are taken), and none is left open when a packet is refused.
 * It must not look into the packet, wait longer than the socket does, or raise SIGPIPE.
 */
#include "wire/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Room for more than we take, so that a sender's excess shows as such and is closed here. */
#define FDS_ROOM 8

union control {
        struct cmsghdr align;
        char buffer[CMSG_SPACE(FDS_ROOM * sizeof(int))];
};

int wire_send(int fd, const Bytes *packet, const int fds[WIRE_FDS_MAX], int flags)
{
        int present[WIRE_FDS_MAX];
        uint8_t mask = 0;
        size_t n_present = 0;
        union control control = { 0 };
        struct iovec parts[2] = { { &mask, 1 }, { packet->data, packet->n } };
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
        ssize_t n;

        if (packet->n == 0) /* would look like the end */
                return -EINVAL;
        if (packet->n > WIRE_PACKET_MAX)
                return -EMSGSIZE;
        for (size_t i = 0; fds && i < WIRE_FDS_MAX; i++)
                if (fds[i] >= 0) {
                        mask |= (uint8_t)(1U << i);
                        present[n_present++] = fds[i];
                }
        if (n_present > 0) {
                struct cmsghdr *header;

                message.msg_control = control.buffer;
                message.msg_controllen = CMSG_SPACE(n_present * sizeof(int));
                header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(n_present * sizeof(int));
                memcpy(CMSG_DATA(header), present, n_present * sizeof(int));
        }
        do
                n = sendmsg(fd, &message, flags | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

/* All descriptors that came, so that each can be handed on or closed. */
static size_t collect_fds(struct msghdr *message, int received[FDS_ROOM])
{
        size_t n = 0;

        for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h)) {
                size_t n_here;

                if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
                        continue;
                n_here = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                assert_always(n + n_here <= FDS_ROOM);
                memcpy(received + n, CMSG_DATA(h), n_here * sizeof(int));
                n += n_here;
        }
        return n;
}

/* Puts the descriptors into their places; false where mask and number do not agree. */
static bool place_fds(uint8_t mask, const int *received, size_t n_received,
                      int places[WIRE_FDS_MAX])
{
        size_t next = 0;

        if (mask >> WIRE_FDS_MAX || (size_t)__builtin_popcount(mask) != n_received)
                return false;
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                places[i] = mask & (1U << i) ? received[next++] : -1;
        return true;
}

ssize_t wire_receive(int fd, void *buffer, size_t n_buffer, int ret_fds[WIRE_FDS_MAX], int flags)
{
        int received[FDS_ROOM];
        uint8_t mask = 0;
        size_t n_received;
        union control control;
        struct iovec parts[2] = { { &mask, 1 }, { buffer, n_buffer } };
        struct msghdr message = { .msg_iov = parts,
                                  .msg_iovlen = 2,
                                  .msg_control = control.buffer,
                                  .msg_controllen = sizeof(control.buffer) };
        ssize_t n;

        do
                n = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        n_received = collect_fds(&message, received);
        if (n == 0 && n_received == 0) {
                for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                        ret_fds[i] = -1;
                return 0;
        }
        if (n >= 2 && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
            place_fds(mask, received, n_received, ret_fds))
                return n - 1;

        for (size_t i = 0; i < n_received; i++)
                close_fd(received[i]);
        return -EBADMSG;
}
