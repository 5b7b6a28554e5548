/* SPDX-License-Identifier: Apache-2.0 */
/* Incoming: a message that came, its header read and its body still bytes. */
#pragma once

#include <certbroker/certbroker.h>

#include "descriptor.h"
#include "macro.h"

#define INCOMING_SIZE_MAX (32 * 1024 * 1024)
#define INCOMING_FDS_MAX  16

enum { INCOMING_CALL = 1, INCOMING_RETURN = 2, INCOMING_ERROR = 3, INCOMING_SIGNAL = 4 };

typedef struct Incoming {
        uint8_t *data;
        size_t n, body_at;
        bool swapped;
        uint8_t type;
        uint32_t reply_serial; /* 0: none */
        uint32_t n_fds_told;
        /* into data; "" where the header has none */
        const char *path, *interface, *member, *error_name, *sender, *signature;
        Descriptor fds[INCOMING_FDS_MAX];
        size_t n_fds;
} Incoming;

/*
 * How long the message is of which these are the first n bytes: -EAGAIN: too few to tell; -EBADMSG.
 */
int incoming_size(const uint8_t *data, size_t n, size_t *ret_size);

/* Takes data, also on failure: a whole message. -EBADMSG, -ENOMEM. The caller fills in the fds. */
int incoming_new(uint8_t *data, size_t n, Incoming **ret_incoming);
Incoming *incoming_free(Incoming *incoming); /* closes the fds */
DEFINE_CLEANUP(Incoming *, incoming_free)

/*
 * The arguments: a list, which is a tree's root. Descriptors are copied. -EBADMSG, -ENOMEM,
 * -EMFILE.
 */
int incoming_body(const Incoming *incoming, cb_value **ret_value);
