/* SPDX-License-Identifier: Apache-2.0 */
/* The host of one driver: wire in, bounded queue, workers, wire out. */
#pragma once

/*
 * Serves the broker at the other end of fd until that closes it. Returns 0 then, -errno where the host
 * itself failed. The caller ends the process at once: workers may still be in a call.
 */
int host_run(int fd);
