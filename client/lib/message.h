/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to be sent: method calls, checked and marshalled. */
#pragma once

#include <stdarg.h>

#include <certbroker/certbroker.h>

#include "macro.h"

#define MESSAGE_FDS_MAX 16

typedef struct Message Message;

/*
 * Descriptors stay the caller's and must outlive the message. signature and what follows: as
 * cb_call().
 */
int message_new(const cb_method *method, Message **ret_message, cb_error *error,
                const char *signature, ...);
int message_new_v(const cb_method *method, Message **ret_message, cb_error *error,
                  const char *signature, va_list list);
Message *message_free(Message *message);
DEFINE_CLEANUP(Message *, message_free)

/*
 * The bytes to send, under a serial that is not 0, to a destination (NULL: none, as on a channel),
 * with the flag that no service is started for it. The caller frees them. -ENOMEM.
 */
int message_encode(const Message *message, uint32_t serial, const char *destination,
                   uint8_t **ret_data, size_t *ret_n);
const int *message_fds(const Message *message, size_t *ret_n);
