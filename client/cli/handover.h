/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is handed to the broker: copies in memory that nobody can change any more. So it needs no right on the files of who
 * asks, which it may not see at all (ProtectHome=, AppArmor), and reads what was there when it was named.
 */
#pragma once

#include <stddef.h>

/* The caller closes the memfd; it stands at its beginning. -errno. */
int handover_new(const void *data, size_t n, int *ret_fd);
/* What `from` gives until its end, and of more than `max` bytes so much that the reader sees that it is more. -errno. */
int handover_copy(int from, size_t max, int *ret_fd);
