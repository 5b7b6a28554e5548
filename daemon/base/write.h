/* SPDX-License-Identifier: Apache-2.0 */
/* Writing all of something, or saying how far it went. */
#pragma once

#include <stddef.h>

/* To a descriptor that blocks. 0 or -errno; ret_n_written, if it is given, after failures too. */
int write_all(int fd, const void *data, size_t n, size_t *ret_n_written);
