/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and ending one process of certbroker-source. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/*
 * Keeps the lowest numbers of descriptors from whatever else is opened or comes in, so it is called before that: 3 is
 * where the child's end of the socket is while it is started. -EBUSY: it has been taken.
 */
int process_reserve(void);

/*
 * Starts `helper --fd 3` with one end of a new SOCK_SEQPACKET pair as descriptor 3, and returns the
 * other (close-on-exec). Its environment is ours without NOTIFY_SOCKET and LISTEN_*. It
 * ends when the socket is closed. The child must be reaped: SIGCHLD is blocked in the caller.
 */
int process_start(const char *helper, pid_t *ret_pid, int *ret_fd);

/*
 * Waits for n children (pid 0: none) until `timeout_usec` is over, kills what is left, reaps all
 * but those that cannot be killed.
 */
void process_reap_all(const pid_t *pids, size_t n, uint64_t timeout_usec);
