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
/* SO_PEERCRED, SO_PEERGROUPS, SO_PEERSEC of a connected unix socket. */
int subject_from_socket(int fd, Subject *ret_subject);

/* The last label of the form NAME.service or NAME.scope in what /proc/PID/cgroup says; owned; NULL: none. */
char *unit_from_cgroup(const char *text);
