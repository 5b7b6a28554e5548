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

int rotated_open(const char *path, int number)
{
        CLEANUP(freep) char *rotated = NULL;
        int fd;

        if (number > 0 && rotated_path(path, (unsigned)number, &rotated) < 0)
                return -ENOMEM;
        fd = open(rotated ? rotated : path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? -errno : fd;
}

static int is_there(const char *path, unsigned number)
{
        CLEANUP(freep) char *rotated = NULL;

        if (rotated_path(path, number, &rotated) < 0)
                return -ENOMEM;
        return access(rotated, F_OK) == 0;
}

int rotated_last(const char *path)
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

/* Nothing is missing in between: else it is no hole of ours, and what has gone has to show. */
static bool goes_on(const char *path, int older, int younger)
{
        CLEANUP(closep) int older_fd = rotated_open(path, older);
        CLEANUP(closep) int younger_fd = rotated_open(path, younger);
        const AuditHead none = { .seq = 0 };
        AuditHead first;
        AuditTail tail;

        audit_tail_init(&tail, &none);
        return older_fd >= 0 && younger_fd >= 0 && audit_first_read(younger_fd, &first) == 0 &&
               audit_tail_read(older_fd, &none, &tail) == 0 && first.seq == tail.head.seq + 1 &&
               strcmp(first.hash, tail.head.hash) == 0;
}

int rotated_close_hole(const char *path)
{
        int last = rotated_last(path), r = MIN(last, 0);

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
        last = rotated_last(path);
        for (int i = last; r == 0 && i >= 1; i--)
                r = rename_to(path, (unsigned)i, (unsigned)i + 1);
        if (r < 0)
                (void)rotated_close_hole(path);
        return last < 0 ? last : r;
}
