/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One packet with its descriptors over a SOCK_SEQPACKET socket.
 * wire_send: 0; -EAGAIN where the socket is full (with MSG_DONTWAIT), else -errno. Descriptors stay the caller's.
 * wire_receive: the packet's length, 0 at the end, -errno; descriptors are close-on-exec and the caller's; more
 * than WIRE_FDS_MAX, or a truncated packet, is -EBADMSG (and all are closed).
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "wire/message.h"

int wire_send(int fd, const Bytes *packet, const int fds[WIRE_FDS_MAX], int flags);
ssize_t wire_receive(int fd, void *buffer, size_t n_buffer, int ret_fds[WIRE_FDS_MAX], int flags);
