/* SPDX-License-Identifier: Apache-2.0 */
/*
 * p11hostile: a PKCS#11 module as it is once somebody has taken it over. It passes everything on to the module in
 * $P11HOSTILE_MODULE, and when it is first asked to sign it tries what a source's process must not be able to do. What
 * came of each try goes to standard error, a line "attack NAME: ERROR" each, "attack NAME: done" where it worked.
 *
 * What it goes for is told by the environment: P11HOSTILE_STATE, _RUNTIME, _CREDENTIALS (folders), _AUDIT, _OTHER_PIN,
 * _OWN_PIN (files). It harms nothing where it can: signal 0, limits that are only read.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST *real, list;

static void report(const char *name, long result)
{
        int error = errno;

        dprintf(STDERR_FILENO, "attack %s: %s\n", name,
                result >= 0 ? "done" : strerrorname_np(error));
}

static const char *at(const char *variable, const char *name)
{
        static char path[4][512];
        static unsigned n;
        char *place = path[n++ % 4];
        const char *folder = getenv(variable);

        snprintf(place, sizeof(path[0]), "%s%s%s", folder ? folder : "", name ? "/" : "",
                 name ? name : "");
        return place;
}

/* Files */

static long open_close(const char *path, int flags)
{
        int fd = open(path, flags | O_CLOEXEC, 0600);

        if (fd >= 0)
                close(fd);
        return fd;
}

static void attack_files(void)
{
        const char *audit = at("P11HOSTILE_AUDIT", NULL);

        report("write-audit", open_close(audit, O_WRONLY | O_APPEND));
        report("read-audit", open_close(audit, O_RDONLY));
        report("truncate-audit", truncate(audit, 1 << 20));
        report("link-audit", link(audit, at("P11HOSTILE_STATE", "tokens/audit")));
        report("rename-audit", rename(audit, at("P11HOSTILE_STATE", "audit-gone")));
        report("write-store", open_close(at("P11HOSTILE_STATE", "certbroker.sqlite"), O_RDWR));
        report("make-state", open_close(at("P11HOSTILE_STATE", "new"), O_WRONLY | O_CREAT));
        report("list-state", open_close(at("P11HOSTILE_STATE", NULL), O_RDONLY | O_DIRECTORY));
        report("other-source", open_close(at("P11HOSTILE_STATE", "source-other/new"),
                                          O_WRONLY | O_CREAT));
        report("own-source",
               open_close(at("P11HOSTILE_STATE", "source-hsm/new"), O_WRONLY | O_CREAT));
        report("own-tokens", open_close(at("P11HOSTILE_STATE", "tokens/new"), O_WRONLY | O_CREAT));
        report("remove-channel", unlink(at("P11HOSTILE_RUNTIME", "channel")));
        report("other-pin", open_close(at("P11HOSTILE_OTHER_PIN", NULL), O_RDONLY));
        report("own-pin", open_close(at("P11HOSTILE_OWN_PIN", NULL), O_RDONLY));
        report("list-credentials",
               open_close(at("P11HOSTILE_CREDENTIALS", NULL), O_RDONLY | O_DIRECTORY));
        report("elsewhere", open_close("/etc/passwd", O_RDONLY));
}

/* Sockets. The kernel drops the upper half of a family. */

static void attack_family(const char *name, uint64_t family, int type)
{
        long fd = syscall(SYS_socket, family, type, 0);

        report(name, fd);
        if (fd >= 0)
                close((int)fd);
}

static int abstract(const char *name, struct sockaddr_un *address)
{
        *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(address->sun_path + 1, name, strlen(name));
        return (int)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static void attack_sockets(void)
{
        struct sockaddr_un address;
        int fd, length;

        attack_family("inet", AF_INET, SOCK_STREAM);
        attack_family("inet6", AF_INET6, SOCK_DGRAM);
        attack_family("inet-upper", AF_INET | UINT64_C(1) << 32, SOCK_STREAM);
        attack_family("packet", AF_PACKET, SOCK_RAW);
        attack_family("alg", AF_ALG, SOCK_SEQPACKET);
        attack_family("vsock", AF_VSOCK, SOCK_STREAM);
        attack_family("unknown-family", 70, SOCK_STREAM);
        attack_family("unix", AF_UNIX, SOCK_STREAM);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        length = abstract("p11hostile", &address);
        (void)bind(fd, (const struct sockaddr *)&address, (socklen_t)length);
        report("listen", listen(fd, 1));
        close(fd);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        length = abstract(at("P11HOSTILE_ABSTRACT", NULL), &address);
        report("connect-abstract",
               connect(fd, (const struct sockaddr *)&address, (socklen_t)length));
        close(fd);
}

/* Processes */

static long attack_owner(int request, pid_t pid)
{
        int fds[2] = { -1, -1 };
        long r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return 0;
        r = fcntl(fds[0], request, pid);
        close(fds[0]);
        close(fds[1]);
        return r;
}

static void attack_processes(void)
{
        char byte, *const none[] = { NULL };
        struct iovec local = { &byte, 1 }, remote = { &list, 1 };
        pid_t broker = getppid(), child;
        struct rlimit limit;

        report("kill", kill(broker, 0));
        report("kill-upper", syscall(SYS_kill, UINT64_C(1) << 40 | (uint32_t)broker, 0));
        report("kill-all", kill(0, 0));
        report("tgkill", syscall(SYS_tgkill, broker, broker, 0));
        report("tkill", syscall(SYS_tkill, broker, 0));
        report("kill-itself", kill(getpid(), 0));
        report("pidfd", syscall(SYS_pidfd_open, broker, 0));
        report("owner", attack_owner(F_SETOWN, broker));
        report("owner-signal", attack_owner(F_SETSIG, SIGKILL));
        report("limit", prlimit(broker, RLIMIT_NOFILE, NULL, &limit));
        report("own-limit", prlimit(0, RLIMIT_NOFILE, NULL, &limit));
        report("priority", setpriority(PRIO_PROCESS, (id_t)broker, 19));
        report("ptrace", ptrace(PTRACE_SEIZE, broker, NULL, NULL));
        report("read-memory", process_vm_readv(broker, &local, 1, &remote, 1, 0));
        report("dumpable", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
        report("outlive", prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0));

        child = fork();
        if (child == 0)
                _exit(0);
        report("fork", child);
        child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
        if (child == 0)
                _exit(0);
        report("clone", child);
        report("clone3", syscall(SYS_clone3, NULL, 0));
        report("execve", execve("/nonexistent", none, none));
        report("execveat", syscall(SYS_execveat, AT_FDCWD, "/nonexistent", none, none, 0));
}

/* The kernel. Arguments that it would refuse anyway, with another error. */

static void attack_kernel(void)
{
        report("unshare", unshare(0));
        report("setns", setns(-1, 0));
        report("mount", mount(NULL, "/nonexistent", NULL, MS_REMOUNT, NULL));
        report("chroot", chroot("/nonexistent"));
        report("bpf", syscall(SYS_bpf, -1, NULL, 0));
        report("perf", syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0));
        report("userfaultfd", syscall(SYS_userfaultfd, -1));
        report("io-uring", syscall(SYS_io_uring_setup, 0, NULL));
        report("keyctl", syscall(SYS_keyctl, -1));
        report("module", syscall(SYS_delete_module, "", 0));
        report("handle", syscall(SYS_open_by_handle_at, -1, NULL, 0));
        report("terminal", ioctl(STDIN_FILENO, TIOCSTI, "x"));
}

static CK_RV hostile_sign(CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG n_data,
                          CK_BYTE_PTR signature, CK_ULONG_PTR n_signature)
{
        static atomic_flag done = ATOMIC_FLAG_INIT; /* what worked once may not work again */

        if (!atomic_flag_test_and_set(&done)) {
                attack_files();
                attack_sockets();
                attack_processes();
                attack_kernel();
                dprintf(STDERR_FILENO, "attacks are over\n");
        }
        return real->C_Sign(session, data, n_data, signature, n_signature);
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR ret_list)
{
        const char *path = getenv("P11HOSTILE_MODULE");
        void *module = dlopen(path ? path : "", RTLD_NOW | RTLD_LOCAL);
        CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = NULL;

        if (module)
                *(void **)&get = dlsym(module, "C_GetFunctionList");
        if (!get || get(&real) != CKR_OK)
                return CKR_GENERAL_ERROR;
        list = *real;
        list.C_Sign = hostile_sign;
        *ret_list = &list;
        return CKR_OK;
}
