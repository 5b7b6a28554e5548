/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which descriptors somebody else has handed in, and who. Closing such a one can wait for ever in the kernel,
 * as reading it can: a file system of the caller's own is asked, and need not answer. Whoever closes asks
 * here. Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* From here on it is this uid's, until stranger_take(). */
void stranger_mark(int fd, uint32_t uid);
/* Was it marked? It is not any more; whose it was. */
bool stranger_take(int fd, uint32_t *ret_uid);
/* A duplicate, close-on-exec, of the same owner's; or -errno. */
int stranger_duplicate(int fd);
