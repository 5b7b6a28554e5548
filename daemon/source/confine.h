/* SPDX-License-Identifier: Apache-2.0 */
/* The walls around a source's process, before it runs a vendor's code or talks to anybody but the broker. */
#pragma once

#include <sys/types.h>

/* First of all. parent: who starts sources. Ends the process where that one has ended already. */
int confine_begin(pid_t parent);
/* As soon as the settings are known; while there is one thread. What the system has not is logged, and done without. */
void confine(char *const *settings);
