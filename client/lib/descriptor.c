/* SPDX-License-Identifier: Apache-2.0 */
/*
 * We live in programs of others, and some close all descriptors that they do not know (closefrom(3), as
 * daemons do) and then open their own under our numbers. So a number is looked at before it is used or
 * closed: the kernel never gives two open sockets the same inode. What another thread of the program
 * does between the look and the use cannot be seen, by nobody: there is no lock on a number.
 */
#include "descriptor.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

int descriptor_init(Descriptor *descriptor, int fd)
{
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0) {
                r = -errno;
                (void)close(fd);
                return r;
        }
        *descriptor = (Descriptor){ fd, st.st_dev, st.st_ino };
        return 0;
}

bool descriptor_is_ours(const Descriptor *descriptor)
{
        struct stat st;

        return descriptor->fd >= 0 && fstat(descriptor->fd, &st) == 0 &&
               st.st_dev == descriptor->device && st.st_ino == descriptor->inode;
}

void descriptor_close(Descriptor *descriptor)
{
        if (descriptor_is_ours(descriptor))
                (void)close(descriptor->fd);
        *descriptor = DESCRIPTOR_NONE;
}
