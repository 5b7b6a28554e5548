/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file behind the log's path. The invariant: no record goes into a file that the path does not lead to. Whoever
 * renames the log, as logrotate does, gets a new one with the next record, in which the chain goes on; whoever removes it
 * takes what is in it, which the log then says.
 */
#include "broker/audit/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/audit/rotated.h"

/* A line that another has left there is ended, so that the next one begins on a line of its own. */
static int end_line(int fd, off_t *size)
{
        char last;

        if (*size == 0 || pread(fd, &last, 1, *size - 1) != 1 || last == '\n')
                return 0;
        if (write(fd, "\n", 1) != 1)
                return -errno;
        (*size)++;
        return 0;
}

static int open_file(const char *path, bool is_anew, struct stat *ret_status)
{
        int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        int r = 0;

        if (fd < 0)
                return -errno;
        if (fstat(fd, ret_status) < 0)
                r = -errno;
        else if (is_anew && !S_ISREG(ret_status->st_mode))
                r = -ENOTSUP; /* nobody has configured that */
        else if (is_anew)
                r = end_line(fd, &ret_status->st_size);
        if (r == 0)
                return fd;
        close(fd);
        return r;
}

static void take(Audit *audit, int fd, const struct stat *status)
{
        if (audit->fd >= 0)
                audit_leave_file(audit);
        audit->fd = fd;
        audit->dev = status->st_dev;
        audit->ino = status->st_ino;
        audit->size = (uint64_t)status->st_size;
        audit->n_files++;
        audit->is_name_unsynced = true;
        audit->n_torn = 0;
}

int audit_end_line(Audit *audit)
{
        struct stat status;
        int r;

        if (fstat(audit->fd, &status) < 0)
                return -errno;
        r = end_line(audit->fd, &status.st_size);
        if (r == 0)
                audit->size = (uint64_t)status.st_size;
        return r;
}

int files_open(Audit *audit)
{
        struct stat status;
        int fd = open_file(audit->path, false, &status);

        if (fd < 0)
                return fd;
        take(audit, fd, &status);
        return 0;
}

/* What cannot be looked at is where it was. */
bool files_is_at(const Audit *audit)
{
        struct stat status;

        if (lstat(audit->path, &status) < 0)
                return errno != ENOENT && errno != ENOTDIR;
        return status.st_dev == audit->dev && status.st_ino == audit->ino;
}

int files_begin_anew(Audit *audit)
{
        struct stat before, status;
        bool is_removed = fstat(audit->fd, &before) == 0 && before.st_nlink == 0;
        int fd = open_file(audit->path, true, &status);

        if (fd < 0)
                return fd;
        snprintf(audit->moved, sizeof(audit->moved), "%s after record %llu",
                 is_removed ? "removed" : "renamed", (unsigned long long)audit->head.seq);
        take(audit, fd, &status);
        if (audit->events.moved)
                audit->events.moved(audit->userdata, audit->moved);
        if (audit->oldest.seq != 0)
                oldest_check(audit);
        return 0;
}

int files_append_moved(Audit *audit)
{
        int r;

        if (!audit->moved[0])
                return 0;
        r = audit_append_line(audit, &(AuditRecord){ .event = AUDIT_EVENT_MOVED,
                                                     .object = audit->moved,
                                                     .result = "ok" });
        if (r == 0)
                audit->moved[0] = '\0';
        return r;
}

int files_rotate(Audit *audit)
{
        CLEANUP(freep) char *first = NULL;
        int r;

        r = rotated_make_room(audit->path);
        if (r < 0)
                return r;

        if (rotated_path(audit->path, 1, &first) < 0)
                return -ENOMEM;
        if (rename(audit->path, first) < 0) {
                r = -errno;
                (void)rotated_close_hole(audit->path);
                return r;
        }

        r = files_open(audit);
        if (r < 0) {
                (void)rename(first, audit->path); /* else the next try finds nothing to rename */
                (void)rotated_close_hole(audit->path);
                return r;
        }
        if (audit->oldest.seq != 0)
                oldest_check(audit);
        return 0;
}
