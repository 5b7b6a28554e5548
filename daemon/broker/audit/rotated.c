/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of the log's older files. The invariant: they are only renamed, never removed and never written, and a rename
 * never meets a file that is there.
 */
#include "broker/audit/rotated.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/macro.h"
#include "broker/audit/tail.h"

#define ROTATED_MAX 9999

int rotated_path(const char *path, unsigned number, char **ret_path)
{
        return asprintf(ret_path, "%s.%u", path, number) < 0 ? -ENOMEM : 0;
}

static int is_there(const char *path, unsigned number)
{
        CLEANUP(freep) char *rotated = NULL;

        if (rotated_path(path, number, &rotated) < 0)
                return -ENOMEM;
        return access(rotated, F_OK) == 0;
}

/* The last of those that are there without a hole; 0: none. -ENOMEM. */
static int find_last(const char *path)
{
        unsigned last = 0;
        int r = 1;

        while (r == 1 && last < ROTATED_MAX) {
                r = is_there(path, last + 1);
                if (r == 1)
                        last++;
        }
        return r < 0 ? r : (int)last;
}

static int rename_to(const char *path, unsigned from, unsigned to)
{
        CLEANUP(freep) char *old = NULL;
        CLEANUP(freep) char *new = NULL;

        if (rotated_path(path, from, &old) < 0 || rotated_path(path, to, &new) < 0)
                return -ENOMEM;
        return rename(old, new) < 0 ? -errno : 0;
}

/* Number 0 is PATH itself. */
static int open_number(const char *path, int number)
{
        CLEANUP(freep) char *rotated = NULL;

        if (number > 0 && rotated_path(path, (unsigned)number, &rotated) < 0)
                return -ENOMEM;
        return open(rotated ? rotated : path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

/* Nothing is missing in between: else it is no hole of ours, and what has gone has to show. */
static bool goes_on(const char *path, int older, int younger)
{
        CLEANUP(closep) int older_fd = open_number(path, older);
        CLEANUP(closep) int younger_fd = open_number(path, younger);
        AuditHead first, last;

        return older_fd >= 0 && younger_fd >= 0 && audit_first_read(younger_fd, &first) == 0 &&
               audit_last_find(older_fd, &last) == 0 && first.seq == last.seq + 1 &&
               strcmp(first.hash, last.hash) == 0;
}

int rotated_close_hole(const char *path)
{
        int last = find_last(path), r = MIN(last, 0);

        if (last >= 0 && !goes_on(path, last + 2, last))
                return 0;
        for (unsigned i = (unsigned)MAX(last, 0) + 2; r == 0; i++) {
                r = is_there(path, i);
                if (r <= 0)
                        return r;
                r = rename_to(path, i, i - 1);
        }
        return r;
}

/* The oldest first. */
int rotated_make_room(const char *path)
{
        int r = rotated_close_hole(path), last;

        if (r < 0)
                return r;
        last = find_last(path);
        for (int i = last; r == 0 && i >= 1; i--)
                r = rename_to(path, (unsigned)i, (unsigned)i + 1);
        if (r < 0)
                (void)rotated_close_hole(path);
        return last < 0 ? last : r;
}
