/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an audit log: FILE and what was rotated away from it, all open at once. */
#pragma once

#include <sys/types.h>

#include "cli.h"
#include "log-ends.h"

typedef struct LogFile {
        char *name;
        int fd;
        unsigned long long rotation; /* N of FILE.N, else 0 */
        bool is_asked;               /* FILE itself */
        bool is_ours;                /* part of the log */
        uint64_t size;
        dev_t dev;
        ino_t ino;
        LogEnds ends;
        uint64_t place; /* the number of a record in it, by which it is sorted */
} LogFile;

typedef struct LogFiles {
        LogFile *items; /* oldest first */
        size_t n;
        char *packed; /* the name of one that is compressed and so cannot be read, or NULL */
        size_t n_packed;
} LogFiles;

/*
 * All of them, as they were at one moment, whatever they are called: FILE.N by its number, others
 * by the chain, into which they fit. CB_NOT_FOUND: there is no FILE.
 */
int log_files_open(Cli *cli, const char *path, LogFiles *files);
void log_files_deinit(LogFiles *files);
/* Is this one of them? */
bool log_files_has(const LogFiles *files, int fd);
