/* SPDX-License-Identifier: Apache-2.0 */
/* Files that belong together, replaced as near to at once as a file system allows, and durable afterwards. */
#include "replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "macro.h"

static int write_all(int fd, const char *text)
{
        size_t n = strlen(text);

        while (n > 0) {
                ssize_t written = write(fd, text, n);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return -errno;
                text += written;
                n -= (size_t)written;
        }
        return fchmod(fd, 0644) < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int write_beside(const NewFile *file, char **ret_temporary)
{
        CLEANUP(close_fd) int fd = -1;
        char *temporary;
        int r;

        if (asprintf(&temporary, "%s.XXXXXX", file->path) < 0)
                return -ENOMEM;
        fd = mkostemp(temporary, O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                free(temporary);
                return r;
        }
        *ret_temporary = temporary;
        return write_all(fd, file->text);
}

static int sync_directory(const char *path)
{
        const char *slash = strrchr(path, '/');
        CLEANUP(free_text)
        char *directory = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
        CLEANUP(close_fd) int fd = -1;

        if (!directory)
                return -ENOMEM;
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int files_replace(const NewFile *files, size_t n_files, const char **ret_failed)
{
        char *temporaries[REPLACE_MAX] = { NULL };
        size_t i = 0;
        int r = 0;

        for (i = 0; r == 0 && i < n_files; i++) {
                *ret_failed = files[i].path;
                r = write_beside(&files[i], &temporaries[i]);
        }
        for (i = 0; r == 0 && i < n_files; i++) {
                *ret_failed = files[i].path;
                if (rename(temporaries[i], files[i].path) < 0) {
                        r = -errno;
                        break;
                }
                free(TAKE(temporaries[i]));
        }
        for (i = 0; r == 0 && i < n_files; i++)
                r = sync_directory(files[i].path);
        for (i = 0; i < n_files; i++) {
                if (temporaries[i])
                        (void)unlink(temporaries[i]);
                free(temporaries[i]);
        }
        return r;
}
