/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files a process can open, make and remove, for good: all that its user may, but for what is kept away
 * from it. By Landlock(7), and so only where the kernel has it; also what goes past files where it has that: other
 * processes' signals and abstract sockets, and TCP.
 *
 * Landlock allows, and cannot except. So what is allowed is everything beside the way from "/" to what is kept away: as
 * it is now. What is made or renamed into a folder on that way later (/run, /var/lib) is not to be opened.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A folder of which a part is kept away. */
typedef struct KeptFolder {
        const char *path; /* may be a link; need not be there */
        /* May the process have what is called so in it? A folder: with all that is in it, and will be. */
        bool (*may_have)(const void *userdata, const char *name, bool is_folder);
        const void *userdata;
} KeptFolder;

/*
 * For the calling thread and those that it starts. network: it may connect by TCP. -ENOSYS, -EOPNOTSUPP: the
 * kernel has no Landlock; other -errno: nothing is kept away either.
 */
int files_keep(const KeptFolder *folders, size_t n, bool network);
