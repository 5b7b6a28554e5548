/* SPDX-License-Identifier: Apache-2.0 */
/* The walls around a source's process, before it runs a vendor's code or talks to anybody but the broker. */
#pragma once

/* First of all. fd: the socket to the broker. Ends the process where the broker has ended already. */
int confine_begin(int fd);
/* As soon as the settings are known; while there is one thread. What the system has not is logged, and done without. */
void confine(char *const *settings);
