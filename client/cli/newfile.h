/* SPDX-License-Identifier: Apache-2.0 */
/* New files: how everything that this program writes comes to its place. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

typedef struct NewFile {
        const char *path; /* the caller's */
        char *temporary;  /* beside it; NULL: none, or in its place by now */
        int fd;           /* -1: none */
} NewFile;

/*
 * Begins a file beside the place that it is for, of mode 0600. -errno; -ENOTSUP where a device or a
 * descriptor is, and another where something of certbrokerd's own is: they are not replaced. To be ended by newfile_deinit(), after failures too.
 */
int newfile_begin(NewFile *file, const char *path);
/* Also where something of certbrokerd's own is: for who replaces just that, while no certbrokerd runs. */
int newfile_begin_own(NewFile *file, const char *path);
int newfile_write(NewFile *file, const void *data, size_t n);
/* Makes it durable, with this mode. */
int newfile_finish(NewFile *file, mode_t mode);
/* Puts it in its place, whatever of a file, link, FIFO or socket is there; durable, too. */
int newfile_place(NewFile *file);
/* What was not put in its place goes. */
void newfile_deinit(NewFile *file);

/* Why it could not be, for a person. */
const char *newfile_reason(int r);

/*
 * The descriptor that a name stands for (/dev/stdin, /dev/stdout, /dev/stderr, /dev/fd/N and what leads there):
 * one that this program was started with. -ENOENT: it stands for none; -EBADF: for one that is not
 * there, or is this program's own.
 */
int newfile_descriptor(const char *path);
/* Writes all of it to a descriptor. */
int newfile_write_fd(int fd, const void *data, size_t n);
