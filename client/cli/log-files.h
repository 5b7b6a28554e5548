/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an audit log: FILE and what was rotated away from it, all open at once. */
#pragma once

#include <sys/types.h>

#include "cli.h"

typedef struct LogFile {
        char *name;
        int fd;
        unsigned long long rotation; /* N of FILE.N; 0: FILE itself */
        uint64_t size;
        dev_t dev;
        ino_t ino;
} LogFile;

typedef struct LogFiles {
        LogFile *items; /* oldest first */
        size_t n;
} LogFiles;

/* All of them, as they were at one moment. CB_NOT_FOUND: there is no FILE. */
int log_files_open(Cli *cli, const char *path, LogFiles *files);
void log_files_deinit(LogFiles *files);
/* Is this one of them? */
bool log_files_has(const LogFiles *files, int fd);
