/* SPDX-License-Identifier: Apache-2.0 */
/* Fork: moments in which no other thread can fork this process. */
#pragma once

/*
 * Between the two a fork in another thread waits; so hold it for a few system calls that cannot
 * wait, and never around another hold. Where the handlers cannot be had (out of memory) it holds
 * nothing.
 */
void fork_hold(void);
void fork_release(void);
