/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process of certbroker-source: how it is started, and how all of them are waited for at the
 * end.
 *
 * Invariant: the child has descriptors 0 to 3 and no other, an empty signal mask and default
 * signals, and never learns of the sockets that systemd gave to us. Nothing secret is in arguments
 * or environment. It dies with us: its socket reports the end, whatever ended us.
 */
#include "broker/sources/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/macro.h"

#define CHILD_FD    3
#define KILLED_USEC USEC_PER_SEC /* in which whatever can be killed is gone */
/* Room for many packets at once, where we may (CAP_NET_ADMIN) or the system's limit lets us. */
#define SOCKET_BUFFER (4 * 1024 * 1024)

static bool variable_is_ours_alone(const char *variable)
{
        static const char *const prefixes[] = { "NOTIFY_SOCKET=", "LISTEN_" };

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++) {
                if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
                        return true;
        }
        return false;
}

/* Borrows the strings; only the vector is the caller's. */
static char **child_environment(void)
{
        size_t n = 0, n_kept = 0;
        char **kept;

        while (environ[n])
                n++;
        kept = calloc(n + 1, sizeof(*kept));
        if (!kept)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                if (!variable_is_ours_alone(environ[i]))
                        kept[n_kept++] = environ[i];
        }
        return kept;
}

static void socket_grow(int fd, int option, int forced_option)
{
        const int size = SOCKET_BUFFER;

        /* Without either, the default still holds one packet of the greatest size. */
        if (setsockopt(fd, SOL_SOCKET, forced_option, &size, sizeof(size)) < 0)
                (void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

static int socket_pair(int ret_fds[2])
{
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0)
                return -errno;
        for (size_t i = 0; i < 2; i++) {
                socket_grow(ret_fds[i], SO_SNDBUF, SO_SNDBUFFORCE);
                socket_grow(ret_fds[i], SO_RCVBUF, SO_RCVBUFFORCE);
        }
        return 0;
}

static int prepare_actions(posix_spawn_file_actions_t *actions, int child_fd)
{
        int r;

        r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, child_fd, CHILD_FD);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(actions, CHILD_FD + 1);
        return -r;
}

static int prepare_attributes(posix_spawnattr_t *attributes)
{
        sigset_t none, all;
        int r;

        sigemptyset(&none);
        sigfillset(&all);
        r = posix_spawnattr_setsigmask(attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attributes, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(attributes,
                                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        return -r;
}

static int spawn(const char *helper, int child_fd, char **environment, pid_t *ret_pid)
{
        char option[] = "--fd", number[] = "3", *arguments[4] = { NULL, option, number, NULL };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        char *name;
        int r;

        name = strdup(helper);
        if (!name)
                return -ENOMEM;
        arguments[0] = name;

        posix_spawn_file_actions_init(&actions); /* neither allocates in glibc */
        posix_spawnattr_init(&attributes);
        r = prepare_actions(&actions, child_fd);
        if (r == 0)
                r = prepare_attributes(&attributes);
        if (r == 0)
                r = -posix_spawn(ret_pid, helper, &actions, &attributes, arguments, environment);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
        free(name);
        return r;
}

int process_start(const char *helper, pid_t *ret_pid, int *ret_fd)
{
        int fds[2] = { -1, -1 };
        char **environment;
        pid_t pid = 0;
        int r;

        r = socket_pair(fds);
        if (r < 0)
                return r;
        environment = child_environment();
        r = environment ? spawn(helper, fds[1], environment, &pid) : -ENOMEM;
        free(environment);
        close_fd(fds[1]);
        if (r < 0) {
                close_fd(fds[0]);
                return r;
        }
        *ret_pid = pid;
        *ret_fd = fds[0];
        return 0;
}

static void wait_for_exit(pid_t pid, uint64_t until_usec)
{
        CLEANUP(closep) int fd = pidfd_open(pid, 0);
        struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
        uint64_t now_usec;

        if (fd < 0)
                return; /* cannot wait for it: it is killed at once */
        while ((now_usec = clock_monotonic_usec()) < until_usec) {
                int timeout_msec = (int)((until_usec - now_usec) / USEC_PER_MSEC) + 1;
                int n = poll(&poll_fd, 1, timeout_msec);

                if (n > 0 || (n < 0 && errno != EINTR))
                        return;
        }
}

void process_reap_all(const pid_t *pids, size_t n, uint64_t timeout_usec)
{
        uint64_t until_usec = clock_monotonic_usec() + timeout_usec;

        /* One after the other, but with one end for all. */
        for (size_t i = 0; i < n; i++) {
                if (pids[i] > 0)
                        wait_for_exit(pids[i], until_usec);
        }
        for (size_t i = 0; i < n; i++) {
                if (pids[i] > 0)
                        (void)kill(pids[i], SIGKILL); /* not reaped yet: the pid is still its own */
        }
        /* One that is in a call into the kernel which does not return is left to init. */
        until_usec = clock_monotonic_usec() + KILLED_USEC;
        for (size_t i = 0; i < n; i++) {
                if (pids[i] <= 0)
                        continue;
                wait_for_exit(pids[i], until_usec);
                while (waitpid(pids[i], NULL, WNOHANG) < 0 && errno == EINTR)
                        ;
        }
}
