/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's configuration, for verbs that work on this machine's files. There is one reader of it,
 * certbrokerd; so it is run, and prints what it understood. Nothing here knows the format or a default.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "build-config.h"

#define DAEMON "certbrokerd"

extern char **environ;

/* From the directory of this program: who could put a file there could replace the program itself. */
static const char *const candidates[] = {
        "/" DAEMON,                     /* PREFIX/bin */
        "/../../daemon/broker/" DAEMON, /* a build tree */
};

static int find_daemon(Cli *cli, char **ret_path)
{
        CLEANUP(free_text) char *self = realpath("/proc/self/exe", NULL);
        char *path;

        if (!self)
                return cli_fail(cli, -errno, "This program cannot find itself: %s",
                                strerror(errno));
        *strrchr(self, '/') = '\0';
        for (size_t i = 0; i < ELEMENTSOF(candidates); i++) {
                if (asprintf(&path, "%s%s", self, candidates[i]) < 0)
                        return cli_out_of_memory(cli);
                if (access(path, X_OK) == 0) {
                        *ret_path = path;
                        return 0;
                }
                free(path);
        }
        return cli_fail(cli, CB_FAILED,
                        "certbrokerd, which reads the configuration, is not in %s on this machine.",
                        self);
}

static int spawn_daemon(char *const *argv, int out, pid_t *ret_pid)
{
        posix_spawn_file_actions_t actions;
        int r = posix_spawn_file_actions_init(&actions);

        if (r)
                return -r;
        r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn(ret_pid, argv[0], &actions, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
        return -r;
}

static int read_config(Cli *cli, char *const *argv, json_t **ret_config, int *ret_status)
{
        json_t *config;
        FILE *from;
        pid_t pid;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return cli_fail(cli, -errno, "No pipe: %s", strerror(errno));
        r = spawn_daemon(argv, fds[1], &pid);
        (void)close(fds[1]);
        from = r == 0 ? fdopen(fds[0], "r") : NULL;
        if (!from) {
                (void)close(fds[0]);
                return cli_fail(cli, r ? r : -ENOMEM, "%s cannot be run.", argv[0]);
        }
        config = json_loadf(from, JSON_REJECT_DUPLICATES, NULL);
        (void)fclose(from);
        while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
                ;
        *ret_config = config;
        return 0;
}

int local_config(Cli *cli, json_t **ret_config)
{
        const char *file = arguments_value(cli->arguments, "--config");
        static char check[] = "--check-config", as_json[] = "--json", config_is[] = "--config";
        char *argv[] = { NULL, check, as_json, NULL, NULL, NULL };
        CLEANUP(free_text) char *daemon = NULL;
        CLEANUP(free_text) char *name = NULL;
        json_t *config = NULL;
        int status = 0, r;

        r = find_daemon(cli, &daemon);
        if (r)
                return r;
        argv[0] = daemon;
        if (file) {
                name = strdup(file);
                if (!name)
                        return cli_out_of_memory(cli);
                argv[3] = config_is;
                argv[4] = name;
        }
        r = read_config(cli, argv, &config, &status);
        if (r)
                return r;
        if (!config || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                json_decref(config);
                return cli_fail(
                        cli, CB_FAILED,
                        "The configuration cannot be read: certbrokerd said why. --config names "
                        "another, and only its owner may read it.");
        }
        *ret_config = config;
        return 0;
}
