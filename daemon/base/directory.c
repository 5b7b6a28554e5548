/* SPDX-License-Identifier: Apache-2.0 */
/* A file's name is its directory's, and is on the disk only when that is. */
#include "base/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macro.h"

int directory_sync_of(const char *path)
{
        CLEANUP(freep) char *directory = strdup(path);
        CLEANUP(closep) int fd = -1;
        char *slash;

        if (!directory)
                return -ENOMEM;
        slash = strrchr(directory, '/');
        if (slash)
                *slash = '\0';
        fd = open(slash ? (*directory ? directory : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}
