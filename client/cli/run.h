/* SPDX-License-Identifier: Apache-2.0 */
/* A command of the user's, run to its end. */
#pragma once

#include <signal.h>

/*
 * Runs `/bin/sh -c command` in a process group of its own and waits for it: at most five minutes, or until *stop
 * is not 0; then the group is ended. Its wait status, or -errno: -EINTR when stopped, -ETIMEDOUT.
 */
int command_run(const char *command, const volatile sig_atomic_t *stop, int *ret_status);
