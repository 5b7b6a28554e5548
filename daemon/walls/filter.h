/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which system calls a program of ours does without, for good and for all that it starts: what only serves who has
 * taken it over. A list of what is refused, not of what is allowed, for the code of vendors runs behind it.
 */
#pragma once

#include <stdbool.h>

typedef enum FilterProgram {
        FILTER_SOURCE, /* one source of keys: starts nothing, listens to nobody, signals nobody */
        FILTER_BROKER, /* certbrokerd: starts nothing, signals nobody, has no socket but AF_UNIX's */
        _FILTER_PROGRAM_N
} FilterProgram;

/*
 * For every thread of the process. network: it may make sockets of the Internet's. -errno: there is no filter, as
 * where the kernel or a container has none.
 */
int filter_install(FilterProgram program, bool network);
