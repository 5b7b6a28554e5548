/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The marks: a table by number. Invariant: the mark of a number goes before the number does, so that a
 * descriptor that gets the number next has none.
 */
#include "base/stranger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>

#define MARKS_MAX 65536 /* four times what the unit lets certbrokerd have open */

static _Atomic uint64_t marks[MARKS_MAX]; /* the uid and one; 0: nobody's */

void stranger_mark(int fd, uint32_t uid)
{
        if (fd >= 0 && fd < MARKS_MAX)
                atomic_store(&marks[fd], (uint64_t)uid + 1);
}

bool stranger_take(int fd, uint32_t *ret_uid)
{
        uint64_t mark = 0;

        if (fd >= 0 && fd < MARKS_MAX && atomic_load(&marks[fd]) != 0)
                mark = atomic_exchange(&marks[fd], 0);
        if (mark == 0)
                return false;
        *ret_uid = (uint32_t)(mark - 1);
        return true;
}

int stranger_duplicate(int fd)
{
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

        if (copy < 0)
                return -errno;
        if (fd < MARKS_MAX && copy < MARKS_MAX)
                atomic_store(&marks[copy], atomic_load(&marks[fd]));
        return copy;
}
