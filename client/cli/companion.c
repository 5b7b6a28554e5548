/* SPDX-License-Identifier: Apache-2.0 */
#include "companion.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

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

static json_t *read_answer(int fd)
{
        CLEANUP(free_text) char *data = malloc(ANSWER_MAX);
        size_t n = 0;
        ssize_t r = 1;

        while (data && n < ANSWER_MAX && r != 0) {
                r = read(fd, data + n, ANSWER_MAX - n);
                if (r < 0 && errno != EINTR)
                        return NULL;
                n += r > 0 ? (size_t)r : 0;
        }
        return data ? json_loadb(data, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

int companion_ask(Cli *cli, const Companion *companion, json_t **ret_answer, int *ret_status)
{
        CLEANUP(close_fd) int from = -1;
        pid_t pid = -1;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return cli_fail(cli, -errno, "No pipe: %s", strerror(errno));
        from = fds[0];
        r = start(companion, fds[1], &pid);
        (void)close(fds[1]);
        if (r)
                return cli_fail(cli, r, "%s cannot be run: %s", companion->argv[0], strerror(-r));
        *ret_answer = read_answer(from);
        (void)close(from); /* whoever says more than that is not to wait for us */
        from = -1;
        while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
                ;
        if (WIFEXITED(*ret_status) && WEXITSTATUS(*ret_status) >= 126) {
                json_decref(*ret_answer);
                *ret_answer = NULL;
                return cli_fail(cli, CB_FAILED, "%s cannot be run.", companion->argv[0]);
        }
        return 0;
}
