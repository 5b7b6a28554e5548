/* SPDX-License-Identifier: Apache-2.0 */
/* What certbrokerd cannot do behind its filter, and what it lives on; each tried by a process that has put it up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macro.h"
#include "walls/filter.h"

/* Each returns what the call did; errno says why it did not. */

static long make_socket(uint64_t family)
{
        long fd = syscall(SYS_socket, family, SOCK_DGRAM, 0);

        if (fd >= 0)
                close((int)fd);
        return fd;
}

static long try_inet(void)
{
        return make_socket(AF_INET);
}

static long try_inet6(void)
{
        return make_socket(AF_INET6);
}

/* The kernel drops the upper half of a family. */
static long try_inet_upper(void)
{
        return make_socket(AF_INET | UINT64_C(1) << 32);
}

static long try_netlink(void)
{
        return make_socket(AF_NETLINK);
}

static long try_unknown_family(void)
{
        return make_socket(70);
}

static long try_unix(void)
{
        return make_socket(AF_UNIX);
}

static long try_listen(void)
{
        const struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        long r = bind(fd, (const struct sockaddr *)&address, sizeof(sa_family_t));

        if (r == 0)
                r = listen(fd, 1);
        close(fd);
        return r;
}

static long try_execve(void)
{
        char *const none[] = { NULL };

        return execve("/nonexistent", none, none);
}

static long try_execveat(void)
{
        return syscall(SYS_execveat, -1, "/nonexistent", NULL, NULL, 0);
}

static long end_at_once(long pid)
{
        if (pid == 0)
                _exit(0);
        if (pid > 0)
                (void)waitpid((pid_t)pid, NULL, 0);
        return pid;
}

static long try_fork(void)
{
        return end_at_once(fork());
}

static long try_raw_fork(void)
{
#ifdef SYS_fork
        return end_at_once(syscall(SYS_fork));
#else
        errno = EPERM;
        return -1;
#endif
}

static long try_clone3(void)
{
        return syscall(SYS_clone3, NULL, 0);
}

static void *nothing(void *userdata)
{
        return userdata;
}

static long try_thread(void)
{
        pthread_t thread;
        int r = pthread_create(&thread, NULL, nothing, NULL);

        if (r == 0)
                r = pthread_join(thread, NULL);
        errno = r;
        return -r;
}

static long try_signal(void)
{
        return kill(getppid(), 0);
}

static long try_signal_everybody(void)
{
        return kill(0, 0);
}

static long try_own_signal(void)
{
        return kill(getpid(), 0);
}

static long try_pidfd(void)
{
        return syscall(SYS_pidfd_open, getppid(), 0);
}

static long try_pidfd_signal(void)
{
        return syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0);
}

static long try_memory(void)
{
        char byte;
        struct iovec local = { &byte, 1 }, remote = { &byte, 1 };

        return process_vm_readv(getppid(), &local, 1, &remote, 1, 0);
}

static long try_limit(void)
{
        return prlimit(getppid(), RLIMIT_NOFILE, NULL, NULL);
}

static long try_own_limit(void)
{
        struct rlimit limit;

        return getrlimit(RLIMIT_NOFILE, &limit);
}

static long try_ptrace(void)
{
        return ptrace(PTRACE_SEIZE, -1, NULL, NULL);
}

static long try_dumpable(void)
{
        return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long try_bpf(void)
{
        return syscall(SYS_bpf, -1, NULL, 0);
}

static long try_unshare(void)
{
        return unshare(0);
}

static long try_mount(void)
{
        return mount(NULL, "/nonexistent", NULL, MS_REMOUNT, NULL);
}

static long try_module(void)
{
        return syscall(SYS_delete_module, "", 0);
}

static long try_keyctl(void)
{
        return syscall(SYS_keyctl, -1);
}

static long try_io_uring(void)
{
        return syscall(SYS_io_uring_setup, 0, NULL);
}

typedef struct Try {
        const char *name;
        long (*call)(void);
        int error; /* 0: it works */
        bool by_leak_detector; /* which does it where the program ends */
} Try;

#ifdef __SANITIZE_ADDRESS__
static const bool has_leak_detector = true;
#else
static const bool has_leak_detector = false;
#endif

static const Try tries[] = {
        { "inet", try_inet, EAFNOSUPPORT },
        { "inet6", try_inet6, EAFNOSUPPORT },
        { "inet-upper", try_inet_upper, EAFNOSUPPORT },
        { "netlink", try_netlink, EAFNOSUPPORT },
        { "unknown-family", try_unknown_family, EAFNOSUPPORT },
        { "unix", try_unix, 0 },
        { "listen", try_listen, 0 },
        { "execve", try_execve, EPERM },
        { "execveat", try_execveat, EPERM },
        { "raw-fork", try_raw_fork, EPERM },
        { "clone3", try_clone3, ENOSYS },
        { "thread", try_thread, 0 },
        { "signal", try_signal, EPERM },
        { "signal-everybody", try_signal_everybody, EPERM },
        { "own-signal", try_own_signal, 0 },
        { "pidfd", try_pidfd, EPERM },
        { "pidfd-signal", try_pidfd_signal, EPERM },
        { "memory", try_memory, EPERM },
        { "limit", try_limit, EPERM },
        { "own-limit", try_own_limit, 0 },
        { "fork", try_fork, EPERM, true },
        { "ptrace", try_ptrace, EPERM, true },
        { "dumpable", try_dumpable, EPERM, true },
        { "bpf", try_bpf, EPERM },
        { "unshare", try_unshare, EPERM },
        { "mount", try_mount, EPERM },
        { "module", try_module, EPERM },
        { "keyctl", try_keyctl, EPERM },
        { "io-uring", try_io_uring, EPERM },
};

/* Its exit status: how many were not as they are to be. */
static _Noreturn void try_all(void)
{
        int n_wrong = 0;

        /* As certbrokerd: without it only root may put up a filter. */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || filter_install(FILTER_BROKER, false) < 0)
                _exit(100);
        for (size_t i = 0; i < ELEMENTSOF(tries); i++) {
                bool skipped = has_leak_detector && tries[i].by_leak_detector;
                long r = skipped ? 0 : tries[i].call();
                int error = r < 0 ? errno : 0;

                if (skipped)
                        continue;
                if (error != tries[i].error) {
                        fprintf(stderr, "%s: %s\n", tries[i].name, strerrorname_np(error) ?: "done");
                        n_wrong++;
                }
        }
        _exit(n_wrong);
}

static void test_broker_behind_its_filter(void **state)
{
        int status;
        pid_t pid;

        (void)state;
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                try_all();
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_broker_behind_its_filter),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
