/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of an audit log with its rotated files, oldest first, a buffer at a time. */
#pragma once

#include "cli.h"

typedef struct Log Log;

typedef struct LogLine {
        const char *text; /* without its newline; valid until the next one is read; may hold NUL */
        size_t n;
        unsigned file;   /* for log_name() */
        uint64_t number; /* from 1 */
        bool is_cut;     /* no newline ends it */
        bool is_long;    /* more than any record has; text is its beginning */
} LogLine;

/*
 * The log of --file; else the one that the running daemon has open; else, where none runs, the one of the
 * configuration. Its older files come with it: FILE.N, and what fits into the chain.
 */
int log_open(Cli *cli, Log **ret_log);
Log *log_free(Log *log);
DEFINE_CLEANUP(Log *, log_free)

/* 1: a line; 0: the end; or a failure. */
int log_next(Cli *cli, Log *log, LogLine *ret_line);

const char *log_name(const Log *log, unsigned file);
size_t log_n_files(const Log *log);
uint64_t log_size(const Log *log); /* of all, when it was opened */
uint64_t log_read(const Log *log); /* how far it was read */

/* One of its files that is compressed and was not read, and how many there are; NULL: none. */
const char *log_packed(const Log *log, size_t *ret_n);

/* What the daemon said of the log's end, when its log is the one that was opened. */
typedef struct LogEnd {
        bool is_live; /* the daemon runs and writes it */
        uint64_t seq; /* 0 and "": nobody knows */
        char hash[65];
        uint64_t seq_max; /* of the daemon, after the log's size was taken; else 0 */
        char hash_max[65];
        const char *who; /* "certbrokerd", "its store" */
        uint64_t n_lost; /* that could not be written, and that no record tells of yet, by its store; 0: none known */
} LogEnd;

const LogEnd *log_end(const Log *log);
