/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter, made by libseccomp and kept by the kernel (seccomp(2)). What is refused fails with an error that a
 * library can go on with: EPERM, EAFNOSUPPORT for sockets, ENOSYS where a C library has an older way.
 *
 * Invariant: an argument of 32 bits is compared by its 32 bits alone. The kernel drops the upper half, so a
 * comparison of all 64 would be passed by setting a bit there.
 */
#include "walls/filter.h"

#include <asm/ioctls.h>
#include <asm/sockios.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macro.h"

#define LOW_HALF UINT64_C(0xffffffff)

#define SOURCE (1U << FILTER_SOURCE)
#define BOTH   (SOURCE | 1U << FILTER_BROKER)

/*
 * LeakSanitizer stops a program at its end as a debugger would, from a process that it makes. A source ends
 * without asking it.
 */
#ifdef __SANITIZE_ADDRESS__
#define UNTRACED SOURCE
#else
#define UNTRACED BOTH
#endif

typedef struct Row {
        const char *call;
        unsigned programs;
} Row;

/* Refused whatever the arguments. What this machine's architecture does not have is passed over. */
static const Row rows[] = {
        /* other processes: their memory, descriptors, signals, limits and turns; most are of our own user */
        { "ptrace", UNTRACED },
        { "process_vm_readv", BOTH },
        { "process_vm_writev", BOTH },
        { "process_madvise", BOTH },
        { "process_mrelease", BOTH },
        { "kcmp", BOTH },
        { "pidfd_open", BOTH },
        { "pidfd_getfd", BOTH },
        { "pidfd_send_signal", BOTH },
        { "tkill", BOTH },
        { "rt_sigqueueinfo", BOTH },
        { "rt_tgsigqueueinfo", BOTH },
        { "ioprio_set", BOTH },
        { "sched_setscheduler", BOTH },
        { "sched_setparam", BOTH },
        { "sched_setattr", BOTH },
        { "sched_setaffinity", BOTH },
        { "migrate_pages", BOTH },
        { "move_pages", BOTH },
        /* other programs */
        { "execve", BOTH },
        { "execveat", BOTH },
        { "fork", BOTH },
        { "vfork", BOTH },
        /* to be who others take for the broker */
        { "listen", SOURCE },
        { "accept", SOURCE },
        { "accept4", SOURCE },
        /* other views of the system */
        { "unshare", BOTH },
        { "setns", BOTH },
        { "chroot", BOTH },
        { "pivot_root", BOTH },
        { "mount", BOTH },
        { "umount", BOTH },
        { "umount2", BOTH },
        { "mount_setattr", BOTH },
        { "move_mount", BOTH },
        { "open_tree", BOTH },
        { "fsopen", BOTH },
        { "fsconfig", BOTH },
        { "fsmount", BOTH },
        { "fspick", BOTH },
        { "open_by_handle_at", BOTH },
        { "fanotify_init", BOTH },
        /* parts of the kernel that are large, seldom needed, and often the way in */
        { "bpf", BOTH },
        { "perf_event_open", BOTH },
        { "userfaultfd", BOTH },
        { "io_uring_setup", BOTH },
        { "io_uring_enter", BOTH },
        { "io_uring_register", BOTH },
        { "add_key", BOTH },
        { "request_key", BOTH },
        { "keyctl", BOTH },
        { "modify_ldt", BOTH },
        { "personality", BOTH },
        { "lookup_dcookie", BOTH },
        { "nfsservctl", BOTH },
        { "quotactl", BOTH },
        { "quotactl_fd", BOTH },
        /* the machine */
        { "init_module", BOTH },
        { "finit_module", BOTH },
        { "delete_module", BOTH },
        { "kexec_load", BOTH },
        { "kexec_file_load", BOTH },
        { "reboot", BOTH },
        { "swapon", BOTH },
        { "swapoff", BOTH },
        { "iopl", BOTH },
        { "ioperm", BOTH },
        { "acct", BOTH },
        { "syslog", BOTH },
        { "vhangup", BOTH },
        { "sethostname", BOTH },
        { "setdomainname", BOTH },
        { "settimeofday", BOTH },
        { "clock_settime", BOTH },
        { "clock_adjtime", BOTH },
        { "adjtimex", BOTH },
};

/* Refused where `bits` of an argument are `value`. */
typedef struct ArgumentRow {
        const char *call;
        unsigned argument;
        uint64_t bits, value;
        int error;
        unsigned programs;
} ArgumentRow;

static const ArgumentRow argument_rows[] = {
        /* a thread is made, a process is not; clone3() has its flags in memory, and the C library an older way */
        { "clone", 0, CLONE_THREAD, 0, EPERM, UNTRACED },
        { "clone3", 0, 0, 0, ENOSYS, BOTH },
        /* a signal to whoever is named as owner, when there is something to read */
        { "fcntl", 1, LOW_HALF, F_SETOWN, EPERM, BOTH },
        { "fcntl", 1, LOW_HALF, F_SETOWN_EX, EPERM, BOTH },
        { "fcntl", 1, LOW_HALF, F_SETSIG, EPERM, BOTH },
        { "ioctl", 1, LOW_HALF, FIOSETOWN, EPERM, BOTH },
        { "ioctl", 1, LOW_HALF, SIOCSPGRP, EPERM, BOTH },
        /* characters for the terminal that somebody types at */
        { "ioctl", 1, LOW_HALF, TIOCSTI, EPERM, BOTH },
        { "ioctl", 1, LOW_HALF, TIOCLINUX, EPERM, BOTH },
        /* to outlive the broker; to be looked into */
        { "prctl", 0, LOW_HALF, PR_SET_PDEATHSIG, EPERM, UNTRACED },
        { "prctl", 0, LOW_HALF, PR_SET_DUMPABLE, EPERM, UNTRACED },
        { "prctl", 0, LOW_HALF, PR_SET_PTRACER, EPERM, UNTRACED },
};

static int add_row(scmp_filter_ctx filter, const Row *row)
{
        int call = seccomp_syscall_resolve_name(row->call);

        return call < 0 ? 0 : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0);
}

static int add_argument_row(scmp_filter_ctx filter, const ArgumentRow *row)
{
        const struct scmp_arg_cmp test =
                SCMP_CMP64(row->argument, SCMP_CMP_MASKED_EQ, row->bits, row->value);
        int call = seccomp_syscall_resolve_name(row->call);

        return call < 0 ? 0 : seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(row->error), call, 1, &test);
}

/*
 * The argument must be this number. There is no "refuse unless": each bit that is another one is refused by itself.
 */
static int add_only(scmp_filter_ctx filter, const char *call, unsigned argument, uint32_t number)
{
        int r = 0;

        for (unsigned bit = 0; r == 0 && bit < 32; bit++) {
                uint64_t mask = UINT64_C(1) << bit;
                const ArgumentRow row = { call, argument, mask, ~number & mask, EPERM, BOTH };

                r = add_argument_row(filter, &row);
        }
        return r;
}

/* Our own process alone: for threads and abort(), for setrlimit() and for how urgent a thread is. */
static int add_processes(scmp_filter_ctx filter)
{
        uint32_t pid = (uint32_t)getpid();
        int r;

        r = add_only(filter, "kill", 0, pid);
        if (r == 0)
                r = add_only(filter, "tgkill", 0, pid);
        if (r == 0)
                r = add_only(filter, "prlimit64", 0, 0);
        /* A thread of its own gives way: the one that calls. */
        if (r == 0)
                r = add_only(filter, "setpriority", 0, PRIO_PROCESS);
        if (r == 0)
                r = add_only(filter, "setpriority", 1, 0);
        return r;
}

static bool family_is_wanted(unsigned family, FilterProgram program, bool network)
{
        switch (family) {
        case AF_UNIX: /* the bus, the log, name services; pcscd */
                return true;
        case AF_NETLINK: /* USB devices that come and go; the machine's own addresses */
                return program == FILTER_SOURCE;
        case AF_INET:
        case AF_INET6:
        case AF_VSOCK:
                return network;
        default:
                return false;
        }
}

static int add_families(scmp_filter_ctx filter, FilterProgram program, bool network)
{
        ArgumentRow row = { .call = "socket", .bits = LOW_HALF, .error = EAFNOSUPPORT };
        int r = 0;

        for (unsigned family = 0; r == 0 && family < 64; family++) {
                row.value = family;
                if (!family_is_wanted(family, program, network))
                        r = add_argument_row(filter, &row);
        }
        for (unsigned bit = 6; r == 0 && bit < 32; bit++) { /* 64 and above */
                row.bits = row.value = UINT64_C(1) << bit;
                r = add_argument_row(filter, &row);
        }
        return r;
}

static int fill(scmp_filter_ctx filter, FilterProgram program, bool network)
{
        unsigned bit = 1U << program;
        int r;

        /* Threads that a library has started already are held to it, too. */
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (r == 0)
                r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(rows); i++)
                if (rows[i].programs & bit)
                        r = add_row(filter, &rows[i]);
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(argument_rows); i++)
                if (argument_rows[i].programs & bit)
                        r = add_argument_row(filter, &argument_rows[i]);
        if (r == 0)
                r = add_families(filter, program, network);
        if (r == 0)
                r = add_processes(filter);
        return r;
}

int filter_install(FilterProgram program, bool network)
{
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        int r;

        if (!filter)
                return -ENOMEM;
        r = fill(filter, program, network);
        if (r == 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r;
}
