/* SPDX-License-Identifier: Apache-2.0 */
/* Who is behind a connection: from the bus's credentials of it, or from its socket. */
#pragma once

#include <stddef.h>

#include "core/grants.h"

struct DBusMessage;

/*
 * From the answer to GetConnectionCredentials. < 0 unless it is one and has a uid: ret_subject is untouched then.
 * Without groups in it the subject has none: the database is no substitute for the process.
 */
int subject_from_credentials(struct DBusMessage *reply, Subject *ret_subject);
/* uid and groups alone, of a connected unix socket: cheap, and enough to turn somebody away; it allows nothing. */
int subject_peek(int fd, Subject *ret_subject);
/* SO_PEERCRED, SO_PEERGROUPS, SO_PEERSEC of a connected unix socket; SO_PEERPIDFD, where there is one, for its unit. */
int subject_from_socket(int fd, Subject *ret_subject);
