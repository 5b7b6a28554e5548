/* SPDX-License-Identifier: Apache-2.0 */
/* What to do about a log that cannot be written: another thing for each reason that there is. */
#include <errno.h>
#include <stddef.h>

#include "base/macro.h"
#include "broker/audit/room.h"

static const struct {
        int error;
        const char *text;
} remedies[] = {
        { ENOSPC, "free its disk" },
        { EDQUOT, "raise the quota of certbrokerd's user, or free some of it" },
        { EROFS, "its file system is read-only: mount it for writing, or add its folder to the "
                 "unit's ReadWritePaths=" },
        { EACCES, "give file and folder back to certbrokerd's user" },
        { EPERM, "let certbrokerd's user write there; look at chattr, too" },
        { ENOENT, "make its folder again" },
        { ENOTDIR, "make its folder again" },
        { ENOTSUP, "move away what is in its place" },
        { EISDIR, "move away what is in its place" },
        { ELOOP, "move away the link that is in its place" },
        { EIO, "look after the disk: the kernel's log says more" },
        { EMFILE, "raise the unit's LimitNOFILE=" },
        { ENFILE, "the host has too many files open: raise fs.file-max" },
        { EFBIG, "raise the unit's LimitFSIZE=, or lower audit-max-size" },
        { ENOMEM, "the host is short of memory" },
};

const char *remedy_of(int error)
{
        for (size_t i = 0; i < ELEMENTSOF(remedies); i++)
                if (remedies[i].error == error)
                        return remedies[i].text;
        return "look at its file and folder";
}
