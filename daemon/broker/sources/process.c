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
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/macro.h"

#define CHILD_FD    3
#define CHILD_STACK (256 * 1024)
#define RESERVED    64           /* the numbers below */
#define KILLED_USEC USEC_PER_SEC /* in which whatever can be killed is gone */
/* Room for many packets at once, where we may (CAP_NET_ADMIN) or the system's limit lets us. */
#define SOCKET_BUFFER (4 * 1024 * 1024)

static bool is_reserved; /* CHILD_FD */

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

/* --- the child, until it is another program: it has our memory, and descriptors of its own alone --- */

typedef struct Child {
        int fd; /* of the socket */
        char *const *arguments;
        char *const *environment;
        int error;
} Child;

static void default_signals(void)
{
        const struct sigaction action = { .sa_handler = SIG_DFL };
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                (void)sigaction(i, &action, NULL); /* not for some */
        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Descriptors 0 to 2, the socket as CHILD_FD, and no other, in a table of its own. */
static bool keep_descriptors(int fd)
{
        /*
         * It begins with our table. What is above is not even copied: to close what others have handed in could
         * wait for ever, and we for it. The kernel copies by 64, so the numbers below that are kept from others
         * (process_reserve()).
         */
        if (close_range((unsigned)fd + 1, ~0U, CLOSE_RANGE_UNSHARE) < 0)
                return false;
        if (fd != CHILD_FD && (dup2(fd, CHILD_FD) < 0 || close_range(CHILD_FD + 1, ~0U, 0) < 0))
                return false;
        return fcntl(CHILD_FD, F_SETFD, 0) == 0;
}

static int child_main(void *userdata)
{
        Child *child = userdata;
        int null;

        if (keep_descriptors(child->fd)) {
                default_signals();
                null = open("/dev/null", O_RDONLY | O_CLOEXEC);
                if (null >= 0 && dup2(null, STDIN_FILENO) == STDIN_FILENO)
                        execve(child->arguments[0], child->arguments, child->environment);
        }
        child->error = -errno;
        _exit(127);
}

/* We wait until it is the other program, or has failed. */
static int start_child(Child *child, pid_t *ret_pid)
{
        sigset_t all, before;
        void *stack;
        int r;

        stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (stack == MAP_FAILED)
                return -errno;
        sigfillset(&all); /* no handler of ours runs in it */
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        *ret_pid = clone(child_main, (uint8_t *)stack + CHILD_STACK,
                         CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, child);
        r = *ret_pid < 0 ? -errno : child->error;
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        munmap(stack, CHILD_STACK);
        if (r < 0 && *ret_pid > 0)
                while (waitpid(*ret_pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        return r;
}

/* Numbers that are open already, as what systemd has given, stay what they are. */
int process_reserve(void)
{
        struct rlimit limit;
        int fd = -1;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return -errno;
        if (limit.rlim_cur < 8 * RESERVED)
                return -EMFILE;
        do {
                fd = fd < 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC)
                            : fcntl(fd, F_DUPFD_CLOEXEC, 0);
                if (fd < 0)
                        return -errno;
                is_reserved |= fd == CHILD_FD;
        } while (fd < RESERVED);
        close_fd(fd);
        return is_reserved ? 0 : -EBUSY;
}

/* While the child is made its socket is at the reserved place, where there is one. */
static int spawn(const char *helper, int child_fd, char **environment, pid_t *ret_pid)
{
        char option[] = "--fd", number[] = "3";
        CLEANUP(freep) char *name = strdup(helper);
        char *arguments[4] = { name, option, number, NULL };
        Child child = { is_reserved ? CHILD_FD : child_fd, arguments, environment, 0 };
        CLEANUP(closep) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        int r;

        if (!name || null < 0)
                return name ? -errno : -ENOMEM;
        if (is_reserved && dup3(child_fd, CHILD_FD, O_CLOEXEC) < 0)
                return -errno;
        r = start_child(&child, ret_pid);
        if (is_reserved)
                (void)dup3(null, CHILD_FD, O_CLOEXEC);
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
