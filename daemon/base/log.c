/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to standard error, one write() each, so that lines of several threads never mix. Invariant: a
 * line is valid UTF-8 without control characters, whatever was put into it. A reader that does not read
 * costs 100 ms once and then each line until it reads again, which is told how many; never the loop. Nothing secret is
 * ever passed here; SIGPIPE is ignored by every program that logs.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
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
static atomic_uint n_lost; /* lines that nobody read, since the last that somebody did */

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

static bool can_write(int wait_msec)
{
        struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };

        return poll(&pfd, 1, wait_msec) > 0 && (pfd.revents & POLLOUT);
}

/* One try: half a line is worse than none, and a full disk does not get better by asking. */
static void write_once(const char *line, size_t n)
{
        ssize_t written;

        do {
                written = write(STDERR_FILENO, line, n);
        } while (written < 0 && errno == EINTR);
}

static size_t begin_line(enum log_level level, char line[LINE_MAX_BYTES])
{
        int r = to_journal ? snprintf(line, LINE_MAX_BYTES, "<%d>", (int)level)
                           : snprintf(line, LINE_MAX_BYTES, "%.64s: %s", program_name, level_word(level));

        return (size_t)r;
}

/* Who has not read once is not waited for again until he does. */
static void write_line(const char *line, size_t n)
{
        unsigned lost = atomic_load(&n_lost);
        char text[LINE_MAX_BYTES];
        size_t n_text;

        if (!can_write(lost ? 0 : WAIT_MSEC)) {
                atomic_fetch_add(&n_lost, 1);
                return;
        }
        lost = atomic_exchange(&n_lost, 0);
        if (lost) {
                n_text = begin_line(LOG_LEVEL_WARNING, text);
                n_text += (size_t)snprintf(text + n_text, sizeof(text) - n_text,
                                           "%u lines before this one are missing: nobody read them\n", lost);
                write_once(text, n_text);
        }
        write_once(line, n);
}

void log_line(enum log_level level, const char *format, ...)
{
        int saved = errno;
        char line[LINE_MAX_BYTES], text[LINE_MAX_BYTES];
        size_t n_prefix, n;
        va_list args;
        int r;

        if (level == LOG_LEVEL_DEBUG && !with_debug)
                return;
        n_prefix = begin_line(level, line);

        va_start(args, format);
        errno = saved; /* for %m */
        r = vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        if (r >= 0) {
                text_clean_to(text, (size_t)r >= sizeof(text), line + n_prefix,
                              sizeof(line) - n_prefix - 1);
                n = strlen(line);
                line[n++] = '\n';
                write_line(line, n);
        }
        errno = saved;
}
