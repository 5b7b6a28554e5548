/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program and gives what it said. Both of its outputs are read as they come, so it never waits for us. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "macro.h"

#define OUTPUT_MAX    ((size_t)1 << 20)
#define LIMIT_SECONDS 300

extern char **environ;

typedef struct Stream {
        int fd; /* -1: it has ended */
        char *text;
        size_t n;
} Stream;

static int spawn(const char *const *argv, int input, int out, int err, pid_t *ret_pid)
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none;
        int r;

        (void)sigemptyset(&none);
        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawnattr_init(&attributes);
        /* A key typed at the terminal ends us, in our own way: it is not to end a step half-way. */
        r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
        if (r == 0)
                r = posix_spawnattr_setsigmask(&attributes, &none);
        if (r == 0)
                r = input >= 0 ? posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
                               : posix_spawn_file_actions_addopen(&actions, STDIN_FILENO,
                                                                  "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
        if (r == 0)
                r = posix_spawnp(ret_pid, argv[0], &actions, &attributes,
                                 (char *const *)(uintptr_t)argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
        (void)posix_spawnattr_destroy(&attributes);
        return -r;
}

/* What is above the limit is read and forgotten. */
static int read_stream(Stream *stream)
{
        char rest[4096];
        bool is_full = stream->n == OUTPUT_MAX;
        ssize_t got = read(stream->fd, is_full ? rest : stream->text + stream->n,
                           is_full ? sizeof(rest) : OUTPUT_MAX - stream->n);

        if (got < 0 && errno == EINTR)
                return 0;
        if (got <= 0) {
                (void)close(stream->fd);
                stream->fd = -1;
        } else if (!is_full) {
                stream->n += (size_t)got;
        }
        return 0;
}

/* Until both have ended; false: the time is over. */
static time_t now_sec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

static bool read_streams(Stream streams[2])
{
        const time_t end = now_sec() + LIMIT_SECONDS;

        while (streams[0].fd >= 0 || streams[1].fd >= 0) {
                struct pollfd polled[2] = { { .fd = streams[0].fd, .events = POLLIN },
                                            { .fd = streams[1].fd, .events = POLLIN } };
                time_t now = now_sec();

                if (now >= end)
                        return false;
                if (poll(polled, 2, (int)(end - now) * 1000) < 0 && errno != EINTR)
                        return false;
                for (int i = 0; i < 2; i++)
                        if (polled[i].revents)
                                (void)read_stream(&streams[i]);
        }
        return true;
}

static int wait_for(pid_t pid)
{
        int status = 0;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run(const char *const *argv, int input, Stream streams[2], Program *program)
{
        int out[2], err[2], r;
        pid_t pid;

        if (pipe2(out, O_CLOEXEC) < 0)
                return -errno;
        if (pipe2(err, O_CLOEXEC) < 0) {
                r = -errno;
                (void)close(out[0]);
                (void)close(out[1]);
                return r;
        }
        streams[0].fd = out[0];
        streams[1].fd = err[0];
        r = spawn(argv, input, out[1], err[1], &pid);
        (void)close(out[1]);
        (void)close(err[1]);
        if (r)
                return r;
        if (!read_streams(streams))
                (void)kill(-pid, SIGKILL);
        program->status = wait_for(pid);
        return 0;
}

int program_run(const char *const *argv, int input, Program *ret_program)
{
        Stream streams[2] = { { .fd = -1 }, { .fd = -1 } };
        int r = -ENOMEM;

        *ret_program = (Program){ .status = -1 };
        streams[0].text = malloc(OUTPUT_MAX + 1);
        streams[1].text = malloc(OUTPUT_MAX + 1);
        if (streams[0].text && streams[1].text)
                r = run(argv, input, streams, ret_program);
        for (int i = 0; i < 2; i++) {
                close_fd(&streams[i].fd);
                if (streams[i].text)
                        streams[i].text[streams[i].n] = '\0';
        }
        ret_program->output = streams[0].text;
        ret_program->errors = streams[1].text;
        return r;
}

void program_deinit(Program *program)
{
        free(TAKE(program->output));
        free(TAKE(program->errors));
}

/* Its newline, and what comes after, is cut off. */
static const char *last_line(char *text)
{
        size_t n = text ? strlen(text) : 0;
        char *newline;

        while (n > 0 && strchr(" \t\r\n", text[n - 1]))
                text[--n] = '\0';
        newline = n > 0 ? strrchr(text, '\n') : NULL;
        return newline ? newline + 1 : text;
}

const char *program_complaint(Program *program)
{
        const char *line = last_line(program->errors);

        if (!line || !*line)
                line = last_line(program->output);
        return line ? line : "";
}

bool program_is_there(const char *name)
{
        const char *path = getenv("PATH");
        char file[512];

        for (const char *at = path; at && *at; at += strspn(at, ":")) {
                size_t n = strcspn(at, ":");

                (void)snprintf(file, sizeof(file), "%.*s/%s", (int)n, at, name);
                if (access(file, X_OK) == 0)
                        return true;
                at += n;
        }
        return false;
}
