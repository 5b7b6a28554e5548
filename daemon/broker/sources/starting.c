/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The starter's process. It reads what the broker asks for, a few bytes of fixed size and one socket, and nothing else
 * of anybody's; so it may what the broker has given up.
 *
 * Invariant: it has descriptors 0 to 2, its socket, one for SIGCHLD, and while it starts a source that one's socket.
 * What it starts has 0 to 3 and no other, an empty signal mask and default signals, and never learns of the sockets that
 * systemd gave to certbrokerd. It dies with the broker, and its children with it: whoever ends either.
 */
#include "broker/sources/starting.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stranger.h"

#define NAME      "broker-starter" /* what the kernel keeps of a name is 15 bytes */
#define CHILD_FD  3
#define SOCKET_FD 4

typedef struct Child {
        uint64_t id;
        pid_t pid;
} Child;

typedef struct Starting {
        char *helper;
        char pid[16]; /* ours, for the children */
        int signals;
        Child *children; /* not reaped yet: each pid is still its own */
        size_t n, n_room;
} Starting;

/* --- what it is --- */

static bool variable_is_the_brokers(const char *variable)
{
        static const char *const prefixes[] = { "NOTIFY_SOCKET=", "LISTEN_" };

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++) {
                if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
                        return true;
        }
        return false;
}

static void keep_environment(void)
{
        char **kept = environ;

        for (char **variable = environ; *variable; variable++) {
                if (!variable_is_the_brokers(*variable))
                        *kept++ = *variable;
        }
        *kept = NULL;
}

static int keep_descriptors(int fd)
{
        int null;

        if (fd != SOCKET_FD && dup3(fd, SOCKET_FD, O_CLOEXEC) < 0)
                return -errno;
        if (close_range(SOCKET_FD + 1, ~0U, 0) < 0 || close_range(CHILD_FD, CHILD_FD, 0) < 0)
                return -errno;
        null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (null < 0 || (null != STDIN_FILENO && dup2(null, STDIN_FILENO) < 0))
                return -errno;
        if (null > STDERR_FILENO)
                close_fd(null);
        return 0;
}

/* A signal that goes to the whole unit or terminal is the broker's to answer: it ends us by closing our socket. */
static int keep_signals(Starting *starting)
{
        sigset_t all, child;

        sigfillset(&all);
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || sigprocmask(SIG_SETMASK, &all, NULL) < 0)
                return -errno;
        starting->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
        return starting->signals < 0 ? -errno : 0;
}

/*
 * certbrokerd's unit puts it behind others that the kernel may end for want of memory. A source is one of these
 * others: it is started again alone. They cannot see to that by themselves, nor can we for so long as this file is root's,
 * as those of all are who are not to be looked into; here is nothing to see yet.
 */
static int give_way_for_memory(void)
{
        char first = '\0';
        int fd;

        if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
                return -errno;
        fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
        if (fd >= 0 && read(fd, &first, 1) == 1 && first == '-' && pwrite(fd, "0", 1, 0) < 0)
                log_debug("the score for want of memory stays: %s", strerror(errno));
        close_fd(fd);
        return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

static int set_up(Starting *starting, int fd, pid_t broker)
{
        int r;

        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_NAME, NAME, 0, 0, 0) < 0)
                return -errno;
        if (getppid() != broker) /* it has ended before the line above */
                return -EPIPE;
        snprintf(starting->pid, sizeof(starting->pid), "%d", (int)getpid());
        keep_environment();
        r = give_way_for_memory();
        if (r == 0)
                r = keep_descriptors(fd);
        return r == 0 ? keep_signals(starting) : r;
}

/* --- what it does --- */

/* It begins with the signals as they are by default, and ends when its socket does. */
static int spawn_with(const Starting *starting, posix_spawn_file_actions_t *actions,
                      posix_spawnattr_t *attributes, int fd, pid_t *ret_pid)
{
        char fd_option[] = "--fd", number[] = "3", parent_option[] = "--parent";
        char parent[sizeof(starting->pid)];
        char *arguments[] = { starting->helper, fd_option, number, parent_option, parent, NULL };
        sigset_t none, all;
        int r;

        memcpy(parent, starting->pid, sizeof(parent));
        sigemptyset(&none);
        sigfillset(&all);
        r = posix_spawn_file_actions_adddup2(actions, fd, CHILD_FD);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(actions, CHILD_FD + 1);
        if (r == 0)
                r = posix_spawnattr_setsigmask(attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attributes, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(attributes,
                                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        if (r == 0)
                r = posix_spawn(ret_pid, starting->helper, actions, attributes, arguments, environ);
        return -r;
}

static int spawn(const Starting *starting, int fd, pid_t *ret_pid)
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int r;

        r = -posix_spawn_file_actions_init(&actions);
        if (r < 0)
                return r;
        r = -posix_spawnattr_init(&attributes);
        if (r == 0) {
                r = spawn_with(starting, &actions, &attributes, fd, ret_pid);
                posix_spawnattr_destroy(&attributes);
        }
        posix_spawn_file_actions_destroy(&actions);
        return r;
}

static int report(uint64_t id, StarterEvent event, int detail, int code)
{
        const StarterReport message = {
                .id = id, .event = (int32_t)event, .detail = detail, .code = code
        };

        return send(SOCKET_FD, &message, sizeof(message), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int make_room(Starting *starting)
{
        size_t n_room = 2 * starting->n_room + 8;
        Child *children;

        if (starting->n < starting->n_room)
                return 0;
        children = reallocarray(starting->children, n_room, sizeof(*children));
        if (!children)
                return -ENOMEM;
        starting->children = children;
        starting->n_room = n_room;
        return 0;
}

static int start(Starting *starting, uint64_t id, int fd)
{
        pid_t pid = 0;
        int r;

        r = fd >= 0 ? make_room(starting) : -EBADMSG;
        if (r == 0)
                r = spawn(starting, fd, &pid);
        if (r < 0)
                return report(id, STARTER_FAILED, -r, 0);
        starting->children[starting->n++] = (Child){ id, pid };
        return report(id, STARTER_STARTED, pid, 0);
}

static void kill_child(const Starting *starting, uint64_t id)
{
        for (size_t i = 0; i < starting->n; i++) {
                if (starting->children[i].id == id)
                        (void)kill(starting->children[i].pid, SIGKILL);
        }
}

static int on_end(Starting *starting, const siginfo_t *info)
{
        for (size_t i = 0; i < starting->n; i++) {
                uint64_t id = starting->children[i].id;

                if (starting->children[i].pid != info->si_pid)
                        continue;
                starting->children[i] = starting->children[--starting->n];
                return report(id, STARTER_ENDED, info->si_status, info->si_code);
        }
        return 0;
}

static int reap(Starting *starting)
{
        struct signalfd_siginfo signal;
        int r = 0;

        (void)!read(starting->signals, &signal, sizeof(signal)); /* one may stand for several */
        while (r == 0) {
                siginfo_t info = { 0 };

                if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
                        return 0;
                r = on_end(starting, &info);
        }
        return r;
}

/* All sources would go with the starter: what the kernel may do in a moment is tried again. */
static bool is_passing(int r)
{
        return r == -EINTR || r == -EAGAIN || r == -ENOMEM || r == -ENOBUFS;
}

/* 1: a request; 0: the broker has closed its end. What comes along is the broker's own, and closed at once. */
static int receive(StarterRequest *request, int *ret_fd)
{
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control;
        struct iovec part = { request, sizeof(*request) };
        struct msghdr message = { .msg_iov = &part,
                                  .msg_iovlen = 1,
                                  .msg_control = control.bytes,
                                  .msg_controllen = sizeof(control.bytes) };
        const struct cmsghdr *rights;
        ssize_t n = recvmsg(SOCKET_FD, &message, MSG_CMSG_CLOEXEC);
        uint32_t uid;

        if (n <= 0)
                return n < 0 ? -errno : 0;
        rights = CMSG_FIRSTHDR(&message);
        if (rights && rights->cmsg_type == SCM_RIGHTS &&
            rights->cmsg_len == CMSG_LEN(sizeof(int))) {
                memcpy(ret_fd, CMSG_DATA(rights), sizeof(*ret_fd));
                (void)stranger_take(*ret_fd, &uid);
        }
        return n == sizeof(*request) ? 1 : -EBADMSG;
}

static int take_request(Starting *starting)
{
        CLEANUP(closep) int fd = -1;
        StarterRequest request;
        int r;

        r = receive(&request, &fd);
        if (is_passing(r))
                return 0;
        if (r <= 0)
                return r < 0 ? r : -EPIPE;
        switch ((StarterOrder)request.order) {
        case STARTER_START:
                return start(starting, request.id, fd);
        case STARTER_KILL:
                kill_child(starting, request.id);
                return 0;
        case _STARTER_ORDER_N:
                break;
        }
        return -EBADMSG;
}

/* Until the broker closes its end. */
static int serve(Starting *starting)
{
        struct pollfd fds[] = {
                { .fd = SOCKET_FD, .events = POLLIN },
                { .fd = starting->signals, .events = POLLIN },
        };
        int r = 0;

        while (r == 0) {
                if (poll(fds, ELEMENTSOF(fds), -1) < 0) {
                        if (!is_passing(-errno))
                                return -errno;
                        continue;
                }
                if (fds[1].revents)
                        r = reap(starting);
                if (r == 0 && fds[0].revents)
                        r = take_request(starting);
        }
        return r;
}

void starting_main(int fd, pid_t broker, char *helper)
{
        Starting starting = { .helper = helper };
        int r;

        r = set_up(&starting, fd, broker);
        if (r == 0)
                r = serve(&starting);
        for (size_t i = 0; i < starting.n; i++)
                (void)kill(starting.children[i].pid, SIGKILL);
        if (r == -EPIPE || r == -ECONNRESET)
                _exit(EXIT_SUCCESS);
        log_error("the starter ends: %s", strerror(-r));
        _exit(EX_SOFTWARE);
}
