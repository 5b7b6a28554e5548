/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The starter: a process of certbrokerd's own that starts those of the sources, ends them where it is told to, and
 * tells how they ended. What it starts was fixed when it was made. certbrokerd itself has lost the right since, and with
 * it the rights that only a source needs.
 *
 * Invariant: a source's process is named by a number that is never given twice. A pid is for people to read.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/macro.h"

typedef struct Starter Starter;

typedef enum StarterEvent {
        STARTER_STARTED, /* detail: its pid */
        STARTER_FAILED,  /* detail: the errno; there is no process */
        STARTER_ENDED,   /* detail: as siginfo_t.si_status; code: .si_code */
        _STARTER_EVENT_N
} StarterEvent;

typedef struct StarterReport {
        uint64_t id;
        int32_t event, detail, code, unused;
} StarterReport;

/*
 * First of all in the program: while there is one thread, nothing is open that others have handed in, and the process
 * still may what a source may. It inherits limits and umask, and the sources from it; and the environment, without
 * NOTIFY_SOCKET and LISTEN_*. argv: main()'s, for its title; NULL: it has none.
 */
int starter_new(const char *helper, char **argv, Starter **ret_starter);
/* Its process ends, and those that it has started with it. */
Starter *starter_free(Starter *starter);
DEFINE_CLEANUP(Starter, starter_free)

const char *starter_helper(const Starter *starter);
int starter_fd(const Starter *starter); /* readable: there is a report */

/*
 * Has `helper --fd 3 --parent PID` started with one end of a new SOCK_SEQPACKET pair as descriptor 3, and returns the
 * other (close-on-exec), which can be written to at once. What came of it is in the reports.
 */
int starter_start(Starter *starter, uint64_t id, int *ret_fd);
/* SIGKILL. One that has ended already is left alone. */
int starter_kill(Starter *starter, uint64_t id);
/* 1: a report; 0: there is none, within timeout_usec; -errno: the starter is gone, and all that it has started. */
int starter_receive(Starter *starter, uint64_t timeout_usec, StarterReport *ret_report);
