/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into certbroker: of its renames the one that RENAME_FAULT counts fails as on a disk that does. */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define PUBLIC __attribute__((__visibility__("default")))

PUBLIC int rename(const char *from, const char *to);

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
