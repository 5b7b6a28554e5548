/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to standard error, one write() each, so that lines of several threads never mix. Invariant: a
 * line is valid UTF-8 without control characters, whatever was put into it. A reader that does not read
 * costs 100 ms at most and then the line, never the loop. Nothing secret is ever passed here; SIGPIPE is
 * ignored by every program that logs.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strings.h"

#define LINE_MAX_BYTES 2048 /* below PIPE_BUF: a write that poll() allows does not block */
#define WAIT_MSEC      100

/* Written once, by log_open() in main(), before there are threads. */
static const char *program_name = "certbroker";
static bool to_journal;
static bool with_debug;

/* systemd.exec(5): $JOURNAL_STREAM is the device and inode of the journal's socket. */
static bool stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        char own[64];
        struct stat st;

        if (!stream || fstat(STDERR_FILENO, &st) < 0)
                return false;
        snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        return strcmp(own, stream) == 0;
}

void log_open(const char *program)
{
        const char *debug = getenv("CERTBROKER_DEBUG");

        program_name = program;
        to_journal = stderr_is_journal();
        with_debug = debug && strcmp(debug, "1") == 0;
}

static const char *level_word(enum log_level level)
{
        switch (level) {
        case LOG_LEVEL_ERROR:
                return "error: ";
        case LOG_LEVEL_WARNING:
                return "warning: ";
        case LOG_LEVEL_INFO:
                return "";
        case LOG_LEVEL_DEBUG:
                return "debug: ";
        }
        return "";
}

static void write_line(const char *line, size_t n)
{
        struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };
        ssize_t written;

        /* One try: half a line is worse than none, and a full disk does not get better by asking. */
        if (poll(&pfd, 1, WAIT_MSEC) <= 0 || !(pfd.revents & POLLOUT))
                return;
        do {
                written = write(STDERR_FILENO, line, n);
        } while (written < 0 && errno == EINTR);
}

void log_line(enum log_level level, const char *format, ...)
{
        int saved = errno;
        char line[LINE_MAX_BYTES];
        size_t n_prefix, n;
        va_list args;
        int r;

        if (level == LOG_LEVEL_DEBUG && !with_debug)
                return;
        if (to_journal)
                r = snprintf(line, sizeof(line), "<%d>", (int)level);
        else
                r = snprintf(line, sizeof(line), "%.64s: %s", program_name, level_word(level));
        n_prefix = (size_t)r;

        va_start(args, format);
        errno = saved; /* for %m */
        r = vsnprintf(line + n_prefix, sizeof(line) - n_prefix - 1, format, args);
        va_end(args);
        if (r >= 0) {
                text_clean(line + n_prefix, (size_t)r >= sizeof(line) - n_prefix - 1);
                n = strlen(line);
                line[n++] = '\n';
                write_line(line, n);
        }
        errno = saved;
}
