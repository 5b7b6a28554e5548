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

typedef struct Row {
        const char *call;
        unsigned programs;
} Row;

/* Refused whatever the arguments. What this machine's architecture does not have is passed over. */
static const Row rows[] = {
        /* other processes: their memory, descriptors, signals, limits and turns; most are of our own user */
        { "ptrace", SOURCE },
        { "process_vm_readv", SOURCE },
        { "process_vm_writev", SOURCE },
        { "process_madvise", SOURCE },
        { "process_mrelease", SOURCE },
        { "kcmp", SOURCE },
        { "pidfd_open", SOURCE },
        { "pidfd_getfd", SOURCE },
        { "pidfd_send_signal", SOURCE },
        { "tkill", SOURCE },
        { "rt_sigqueueinfo", SOURCE },
        { "rt_tgsigqueueinfo", SOURCE },
        { "ioprio_set", SOURCE },
        { "sched_setscheduler", SOURCE },
        { "sched_setparam", SOURCE },
        { "sched_setattr", SOURCE },
        { "sched_setaffinity", SOURCE },
        { "migrate_pages", SOURCE },
        { "move_pages", SOURCE },
        /* other programs */
        { "execve", SOURCE },
        { "execveat", SOURCE },
        { "fork", SOURCE },
        { "vfork", SOURCE },
        /* to be who others take for the broker */
        { "listen", SOURCE },
        { "accept", SOURCE },
        { "accept4", SOURCE },
        /* other views of the system */
        { "unshare", SOURCE },
        { "setns", SOURCE },
        { "chroot", SOURCE },
        { "pivot_root", SOURCE },
        { "mount", SOURCE },
        { "umount", SOURCE },
        { "umount2", SOURCE },
        { "mount_setattr", SOURCE },
        { "move_mount", SOURCE },
        { "open_tree", SOURCE },
        { "fsopen", SOURCE },
        { "fsconfig", SOURCE },
        { "fsmount", SOURCE },
        { "fspick", SOURCE },
        { "open_by_handle_at", SOURCE },
        { "fanotify_init", SOURCE },
        /* parts of the kernel that are large, seldom needed, and often the way in */
        { "bpf", SOURCE },
        { "perf_event_open", SOURCE },
        { "userfaultfd", SOURCE },
        { "io_uring_setup", SOURCE },
        { "io_uring_enter", SOURCE },
        { "io_uring_register", SOURCE },
        { "add_key", SOURCE },
        { "request_key", SOURCE },
        { "keyctl", SOURCE },
        { "modify_ldt", SOURCE },
        { "personality", SOURCE },
        { "lookup_dcookie", SOURCE },
        { "nfsservctl", SOURCE },
        { "quotactl", SOURCE },
        { "quotactl_fd", SOURCE },
        /* the machine */
        { "init_module", SOURCE },
        { "finit_module", SOURCE },
        { "delete_module", SOURCE },
        { "kexec_load", SOURCE },
        { "kexec_file_load", SOURCE },
        { "reboot", SOURCE },
        { "swapon", SOURCE },
        { "swapoff", SOURCE },
        { "iopl", SOURCE },
        { "ioperm", SOURCE },
        { "acct", SOURCE },
        { "syslog", SOURCE },
        { "vhangup", SOURCE },
        { "sethostname", SOURCE },
        { "setdomainname", SOURCE },
        { "settimeofday", SOURCE },
        { "clock_settime", SOURCE },
        { "clock_adjtime", SOURCE },
        { "adjtimex", SOURCE },
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
        { "clone", 0, CLONE_THREAD, 0, EPERM, SOURCE },
        { "clone3", 0, 0, 0, ENOSYS, SOURCE },
        /* a signal to whoever is named as owner, when there is something to read */
        { "fcntl", 1, LOW_HALF, F_SETOWN, EPERM, SOURCE },
        { "fcntl", 1, LOW_HALF, F_SETOWN_EX, EPERM, SOURCE },
        { "fcntl", 1, LOW_HALF, F_SETSIG, EPERM, SOURCE },
        { "ioctl", 1, LOW_HALF, FIOSETOWN, EPERM, SOURCE },
        { "ioctl", 1, LOW_HALF, SIOCSPGRP, EPERM, SOURCE },
        /* characters for the terminal that somebody types at */
        { "ioctl", 1, LOW_HALF, TIOCSTI, EPERM, SOURCE },
        { "ioctl", 1, LOW_HALF, TIOCLINUX, EPERM, SOURCE },
        /* to outlive the broker; to be looked into */
        { "prctl", 0, LOW_HALF, PR_SET_PDEATHSIG, EPERM, SOURCE },
        { "prctl", 0, LOW_HALF, PR_SET_DUMPABLE, EPERM, SOURCE },
        { "prctl", 0, LOW_HALF, PR_SET_PTRACER, EPERM, SOURCE },
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
static int add_only(scmp_filter_ctx filter, const char *call, unsigned argument, uint32_t number,
                    unsigned programs)
{
        int r = 0;

        for (unsigned bit = 0; r == 0 && bit < 32; bit++) {
                uint64_t mask = UINT64_C(1) << bit;
                const ArgumentRow row = { call, argument, mask, ~number & mask, EPERM, programs };

                r = add_argument_row(filter, &row);
        }
        return r;
}

/* Our own process alone: for threads and abort(), for setrlimit() and for how urgent a thread is. */
static int add_processes(scmp_filter_ctx filter)
{
        uint32_t pid = (uint32_t)getpid();
        int r;

        r = add_only(filter, "kill", 0, pid, SOURCE);
        if (r == 0)
                r = add_only(filter, "tgkill", 0, pid, SOURCE);
        if (r == 0)
                r = add_only(filter, "prlimit64", 0, 0, SOURCE);
        /* A thread of its own gives way: the one that calls. */
        if (r == 0)
                r = add_only(filter, "setpriority", 0, PRIO_PROCESS, SOURCE);
        if (r == 0)
                r = add_only(filter, "setpriority", 1, 0, SOURCE);
        return r;
}

static bool family_is_wanted(unsigned family, bool network)
{
        switch (family) {
        case AF_UNIX:    /* pcscd, name services, the log */
        case AF_NETLINK: /* USB devices that come and go; the machine's own addresses */
                return true;
        case AF_INET:
        case AF_INET6:
        case AF_VSOCK:
                return network;
        default:
                return false;
        }
}

static int add_families(scmp_filter_ctx filter, bool network)
{
        ArgumentRow row = { .call = "socket", .bits = LOW_HALF, .error = EAFNOSUPPORT };
        int r = 0;

        for (unsigned family = 0; r == 0 && family < 64; family++) {
                row.value = family;
                if (!family_is_wanted(family, network))
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
                r = add_families(filter, network);
        if (r == 0 && program == FILTER_SOURCE)
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
