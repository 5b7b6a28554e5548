/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into certbroker: of its renames the one that RENAME_FAULT counts fails as on a disk that does. */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define PUBLIC __attribute__((__visibility__("default")))

PUBLIC int rename(const char *from, const char *to);
PUBLIC int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);

static bool is_its_turn(void)
{
        static int n;
        const char *nth = getenv("RENAME_FAULT");

        if (!nth || ++n != atoi(nth))
                return false;
        errno = EIO;
        return true;
}

PUBLIC int rename(const char *from, const char *to)
{
        int (*next)(const char *, const char *);

        if (is_its_turn())
                return -1;
        *(void **)&next = dlsym(RTLD_NEXT, "rename");
        return next(from, to);
}

PUBLIC int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
        int (*next)(int, const char *, int, const char *, unsigned);

        if (is_its_turn())
                return -1;
        *(void **)&next = dlsym(RTLD_NEXT, "renameat2");
        return next(from_fd, from, to_fd, to, flags);
}
