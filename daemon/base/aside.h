/* SPDX-License-Identifier: Apache-2.0 */
/* Makes room in a directory that is ours: for what a program needs there, whatever lies in its way. */
#pragma once

/*
 * Takes `name` out of the way: removes it, whatever it is (a link, never what it leads to); a folder that is not empty
 * gets another name beside it. 0 also where nothing is there; -errno. Only for directories in which nobody else may
 * make, rename or remove anything.
 */
int aside_put(int directory_fd, const char *name);

/*
 * A lock file that nobody else can open, and so nobody else can lock: what is in its place and is not one is put
 * aside. -EWOULDBLOCK: another process has the lock, which goes with the descriptor.
 */
int aside_lock(int directory_fd, const char *name, int *ret_fd);
