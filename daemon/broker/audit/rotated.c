/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of the log's older files. The invariant: they are only renamed, never removed and never written, and a rename
 * never meets a file that is there. What is in them is others' business.
 */
#include "broker/audit/rotated.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/macro.h"

#define ROTATED_MAX 9999

int rotated_path(const char *path, unsigned number, char **ret_path)
{
        return asprintf(ret_path, "%s.%u", path, number) < 0 ? -ENOMEM : 0;
}

int rotated_last(const char *path)
{
        unsigned last = 0;

        for (unsigned i = 1; i <= ROTATED_MAX; i++) {
                CLEANUP(freep) char *rotated = NULL;

                if (rotated_path(path, i, &rotated) < 0)
                        return -ENOMEM;
                if (access(rotated, F_OK) < 0)
                        break;
                last = i;
        }
        return (int)last;
}

static int rename_up(const char *path, unsigned from)
{
        CLEANUP(freep) char *old = NULL;
        CLEANUP(freep) char *new = NULL;

        if (rotated_path(path, from, &old) < 0 || rotated_path(path, from + 1, &new) < 0)
                return -ENOMEM;
        return rename(old, new) < 0 ? -errno : 0;
}

/* The oldest first. */
int rotated_make_room(const char *path)
{
        int last = rotated_last(path);

        for (int i = last; i >= 1; i--) {
                int r = rename_up(path, (unsigned)i);

                if (r < 0)
                        return r;
        }
        return last < 0 ? last : 0;
}
