/* SPDX-License-Identifier: Apache-2.0 */
/* Stream: bytes and file descriptors over a unix socket, against a deadline. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "descriptor.h"

#define STREAM_FDS_MAX 32

typedef struct Stream {
        Descriptor socket;
        bool ended; /* or no longer ours: the program has closed it */
        uint8_t *data; /* what came and was not taken, n bytes */
        size_t n, n_room;
        Descriptor fds[STREAM_FDS_MAX];
        size_t n_fds;
} Stream;

/* Connects without ever waiting. -errno of connect(2); -EAGAIN: the server's queue is full. */
int stream_open(Stream *stream, const Address *address);
void stream_deinit(Stream *stream);

/* Sends all of it; what comes in meanwhile is kept. -ETIMEDOUT, -EPIPE, -ENOTCONN. */
int stream_send(Stream *stream, const void *data, size_t n, const int *fds, size_t n_fds,
                uint64_t deadline);
/*
 * Waits until something more has come, at most `most` bytes of it. -ETIMEDOUT, -EINTR; -ENOTCONN at
 * the end, when everything that came before has been taken.
 */
int stream_receive(Stream *stream, size_t most, uint64_t deadline);
/* Drops the first n bytes. */
void stream_drop(Stream *stream, size_t n);
