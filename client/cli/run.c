/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a command of the user's. It outlives neither its time nor us: its process group is ended with it. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "macro.h"

#define LIMIT_MSEC (5 * 60 * 1000)
#define GRACE_MSEC 5000
#define LOOK_MSEC  20

extern char **environ;

static int spawn_shell(const char *command, pid_t *ret_pid)
{
        static char shell[] = "/bin/sh", dash_c[] = "-c";
        char *argv[] = { shell, dash_c, strdup(command), NULL };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t defaults;
        int r;

        if (!argv[2])
                return -ENOMEM;
        (void)sigemptyset(&defaults);
        (void)sigaddset(&defaults, SIGTERM);
        (void)sigaddset(&defaults, SIGINT);
        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawnattr_init(&attributes);
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawnattr_setpgroup(&attributes, 0);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(&attributes, &defaults);
        if (r == 0)
                r = posix_spawnattr_setflags(&attributes,
                                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
        if (r == 0)
                r = posix_spawn(ret_pid, shell, &actions, &attributes, argv, environ);
        (void)posix_spawnattr_destroy(&attributes);
        (void)posix_spawn_file_actions_destroy(&actions);
        free(argv[2]);
        return -r;
}

/* 1: it has ended; 0: its time is over, or stop. */
static int wait_for(pid_t pid, unsigned msec, const volatile sig_atomic_t *stop, int *ret_status)
{
        static const struct timespec pause = { .tv_nsec = LOOK_MSEC * 1000000L };

        for (unsigned waited = 0; waited < msec && !(stop && *stop); waited += LOOK_MSEC) {
                pid_t ended = waitpid(pid, ret_status, WNOHANG);

                if (ended == pid)
                        return 1;
                if (ended < 0 && errno != EINTR)
                        return -errno;
                (void)nanosleep(&pause, NULL);
        }
        return 0;
}

int command_run(const char *command, const volatile sig_atomic_t *stop, int *ret_status)
{
        pid_t pid;
        int r;

        r = spawn_shell(command, &pid);
        if (r)
                return r;
        r = wait_for(pid, LIMIT_MSEC, stop, ret_status);
        if (r != 0)
                return r > 0 ? 0 : r;

        (void)kill(-pid, SIGTERM);
        if (wait_for(pid, GRACE_MSEC, NULL, ret_status) == 0) {
                (void)kill(-pid, SIGKILL);
                (void)waitpid(pid, ret_status, 0);
        }
        return *stop ? -EINTR : -ETIMEDOUT;
}
