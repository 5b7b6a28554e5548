/* SPDX-License-Identifier: Apache-2.0 */
#include "companion.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "build-config.h"

/* No answer is longer. It may come from another user's process. */
#define ANSWER_MAX (16U << 20)

int companion_find(Cli *cli, const char *name, char **ret_path)
{
        /* as they are installed, and in a build tree */
        static const char *const folders[] = { "",         "/../libexec",   "/../../daemon/broker",
                                               "/../probe", "/../token", "/../handshake" };
        CLEANUP(free_text) char *self = realpath("/proc/self/exe", NULL);
        char path[PATH_MAX];

        *ret_path = NULL;
        if (!self)
                return cli_fail(cli, -errno, "This program cannot find itself: %s", strerror(errno));
        *strrchr(self, '/') = '\0';
        for (size_t i = 0; i < ELEMENTSOF(folders) && !*ret_path; i++) {
                (void)snprintf(path, sizeof(path), "%s%s/%s", self, folders[i], name);
                if (access(path, X_OK) == 0)
                        *ret_path = realpath(path, NULL);
        }
        (void)snprintf(path, sizeof(path), LIBEXECDIR "/%s", name);
        if (!*ret_path && access(path, X_OK) == 0)
                *ret_path = strdup(path);
        return *ret_path ? 0
                         : cli_fail(cli, CB_FAILED,
                                    "%s, which belongs to this program, is not on this machine.", name);
}

static int open_input(const char *text)
{
        int fd = text ? memfd_create("input", MFD_CLOEXEC) : open("/dev/null", O_RDONLY | O_CLOEXEC);
        size_t n = text ? strlen(text) : 0;

        if (fd < 0)
                return -errno;
        if (n == 0 || (write(fd, text, n) == (ssize_t)n && lseek(fd, 0, SEEK_SET) == 0))
                return fd;
        (void)close(fd);
        return -EIO;
}

static int in_nothing(void)
{
        return open("/dev/null", O_WRONLY | O_CLOEXEC);
}

/* In the child: its exit status alone tells that something failed. */
static void __attribute__((noreturn)) become(const Companion *companion, int in, int out)
{
        const struct passwd *as = companion->as;

        if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
                _exit(127);
        /* Whose processes can write into its memory: they are not to type at our terminal (TIOCSTI). */
        if (as && (setsid() < 0 || dup2(in_nothing(), STDERR_FILENO) < 0))
                _exit(127);
        if (as && (initgroups(as->pw_name, as->pw_gid) < 0 ||
                   setresgid(as->pw_gid, as->pw_gid, as->pw_gid) < 0 ||
                   setresuid(as->pw_uid, as->pw_uid, as->pw_uid) < 0))
                _exit(126);
        (void)alarm(companion->n_seconds);
        (void)execve(companion->argv[0], companion->argv, companion->environment);
        _exit(127);
}

static int start(const Companion *companion, int out, pid_t *ret_pid)
{
        CLEANUP(close_fd) int in = open_input(companion->input);
        pid_t pid;

        if (in < 0)
                return in;
        (void)fflush(stdout);
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                become(companion, in, out);
        *ret_pid = pid;
        return 0;
}

/* By a clock that nobody sets; 0: there is no end. */
static time_t end_of(unsigned n_seconds)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return n_seconds ? now.tv_sec + (time_t)n_seconds + 1 : 0;
}

static int msec_until(time_t end)
{
        time_t now = end_of(1) - 2;

        return end == 0 ? -1 : now < end ? (int)(end - now) * 1000 : 0;
}

/* Another process of its user may keep the pipe open. */
static bool wait_for_more(int fd, time_t end)
{
        struct pollfd polled = { .fd = fd, .events = POLLIN };

        return poll(&polled, 1, msec_until(end)) != 0;
}

static json_t *read_answer(int fd, time_t end)
{
        CLEANUP(free_text) char *data = malloc(ANSWER_MAX);
        size_t n = 0;
        ssize_t r = 1;

        while (data && n < ANSWER_MAX && r != 0 && wait_for_more(fd, end)) {
                r = read(fd, data + n, ANSWER_MAX - n);
                if (r < 0 && errno != EINTR)
                        return NULL;
                n += r > 0 ? (size_t)r : 0;
        }
        return data ? json_loadb(data, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

/* Its user may have stopped it, so that its own alarm does nothing. */
static void wait_for_end(pid_t pid, time_t end, int *ret_status)
{
        static const struct timespec pause = { .tv_nsec = 10000000L };
        pid_t ended = 0;

        while (ended != pid) {
                ended = waitpid(pid, ret_status, end == 0 ? 0 : WNOHANG);
                if (ended < 0 && errno != EINTR)
                        return;
                if (ended == 0 && msec_until(end) == 0)
                        (void)kill(pid, SIGKILL);
                if (ended == 0)
                        (void)nanosleep(&pause, NULL);
        }
}

int companion_ask(Cli *cli, const Companion *companion, json_t **ret_answer, int *ret_status)
{
        const time_t end = end_of(companion->n_seconds);
        pid_t pid = -1;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return cli_fail(cli, -errno, "No pipe: %s", strerror(errno));
        r = start(companion, fds[1], &pid);
        (void)close(fds[1]);
        if (r == 0)
                *ret_answer = read_answer(fds[0], end);
        (void)close(fds[0]); /* whoever says more than that is not to wait for us */
        if (r)
                return cli_fail(cli, r, "%s cannot be run: %s", companion->argv[0], strerror(-r));
        wait_for_end(pid, end, ret_status);
        if (WIFEXITED(*ret_status) && WEXITSTATUS(*ret_status) >= 126) {
                json_decref(*ret_answer);
                *ret_answer = NULL;
                return cli_fail(cli, CB_FAILED, "%s cannot be run.", companion->argv[0]);
        }
        return 0;
}
