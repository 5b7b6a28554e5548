/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's configuration, for verbs that work on this machine's files. There is one reader of it,
 * certbrokerd; so it is run, and prints what it understood. Nothing here knows the format or a default.
 *
 * Which configuration: that of the daemon behind --bus, as /proc tells how it was started; where none
 * runs, or its surroundings may not be seen, the installed one.
 */
#include "local.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/wait.h>

#include "companion.h"

#define DAEMON "certbrokerd"

/* More of a process's arguments or environment is not read. */
#define PROC_SIZE_MAX (1 << 20)

extern char **environ;

/* Of the daemon's environment: what its directories depend on. */
static const char *const directories[] = { "STATE_DIRECTORY=", "RUNTIME_DIRECTORY=",
                                           "CREDENTIALS_DIRECTORY=" };

/* How the daemon that answers was started. */
typedef struct Running {
        char *config;      /* NULL: without --config */
        char *environment; /* as in /proc; NULL: not to be seen */
        size_t n_environment;
} Running;

static void running_deinit(Running *running)
{
        free(running->config);
        free(running->environment);
}

/* --- the daemon that runs --- */

/* A file of strings that end with a zero each; NULL: it cannot be read. */
static char *read_proc(pid_t pid, const char *name, size_t *ret_n)
{
        char path[64], *data = malloc(PROC_SIZE_MAX + 1);
        FILE *from;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
        from = data ? fopen(path, "re") : NULL;
        if (!from) {
                free(data);
                return NULL;
        }
        *ret_n = fread(data, 1, PROC_SIZE_MAX, from);
        data[*ret_n] = '\0';
        (void)fclose(from);
        return data;
}

static const char *next_string(const char *data, size_t n, const char *at)
{
        const char *next = at ? at + strlen(at) + 1 : data;

        return next < data + n ? next : NULL;
}

static int take_config(Running *running, pid_t pid, const char *file)
{
        int r = *file == '/' ? asprintf(&running->config, "%s", file)
                             : asprintf(&running->config, "/proc/%d/cwd/%s", (int)pid, file);

        if (r < 0)
                running->config = NULL;
        return r < 0 ? -ENOMEM : 0;
}

static int read_running(pid_t pid, Running *running)
{
        CLEANUP(free_text) char *arguments = NULL;
        const char *file = NULL;
        size_t n = 0;

        arguments = read_proc(pid, "cmdline", &n);
        if (!arguments)
                return 0;
        for (const char *at = next_string(arguments, n, NULL); at;
             at = next_string(arguments, n, at)) {
                if (strncmp(at, "--config=", 9) == 0)
                        file = at + 9;
                else if (strcmp(at, "--config") == 0)
                        file = next_string(arguments, n, at);
        }
        running->environment = read_proc(pid, "environ", &running->n_environment);
        return file ? take_config(running, pid, file) : 0;
}

/* Whoever answers before and after is the process that was looked at in between. */
static int find_running(Cli *cli, Running *running)
{
        pid_t pid = 0, still = 0;
        int r;

        if (cb_broker_pid(cli->client, &pid, NULL))
                return 0;
        r = read_running(pid, running);
        if (r == 0 && (cb_broker_pid(cli->client, &still, NULL) || still != pid)) {
                running_deinit(running);
                *running = (Running){ 0 };
        }
        return r;
}

/* Ours, with what the daemon has of directories in place of what we have. */
static char **environment_of(const Running *running)
{
        size_t n = 0, n_max = ELEMENTSOF(directories) + 1;
        char **environment;

        for (char **at = environ; *at; at++)
                n_max++;
        environment = calloc(n_max, sizeof(*environment));
        for (char **at = environ; environment && *at; at++)
                environment[n++] = *at;
        for (size_t i = 0; environment && running->environment && i < ELEMENTSOF(directories);
             i++) {
                size_t n_key = strlen(directories[i]);
                const char *value = NULL;

                while ((value = next_string(running->environment, running->n_environment, value)) &&
                       strncmp(value, directories[i], n_key) != 0)
                        ;
                for (size_t k = 0; k < n; k++) {
                        if (strncmp(environment[k], directories[i], n_key) == 0)
                                environment[k--] = environment[--n];
                }
                environment[n] = NULL;
                if (value)
                        environment[n++] = (char *)(uintptr_t)value;
        }
        return environment;
}

/* --- its reader --- */

static int run_reader(Cli *cli, const Running *running, json_t **ret_config)
{
        static char check[] = "--check-config", as_json[] = "--json", config_is[] = "--config";
        char *argv[] = { NULL, check, as_json, NULL, NULL, NULL };
        CLEANUP(free_text) char *daemon = NULL;
        Companion reader = { .argv = argv };
        json_t *config = NULL;
        char **environment;
        int status = 0, r;

        r = companion_find(cli, DAEMON, &daemon);
        if (r)
                return r;
        argv[0] = daemon;
        if (running->config) {
                argv[3] = config_is;
                argv[4] = running->config;
        }
        environment = environment_of(running);
        if (!environment)
                return cli_out_of_memory(cli);
        reader.environment = environment;
        r = companion_ask(cli, &reader, &config, &status);
        free(environment);
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

int local_config_installed(Cli *cli, json_t **ret_config)
{
        const Running running = { 0 };

        return run_reader(cli, &running, ret_config);
}

int local_config(Cli *cli, json_t **ret_config)
{
        const char *file = arguments_value(cli->arguments, "--config");
        Running running = { 0 };
        int r;

        if (file) {
                running.config = strdup(file);
                r = running.config ? 0 : -ENOMEM;
        } else {
                r = find_running(cli, &running);
        }
        r = r ? cli_out_of_memory(cli) : run_reader(cli, &running, ret_config);
        running_deinit(&running);
        return r;
}

int local_files(Cli *cli, char **ret_directory, char **ret_log)
{
        const char *directory = arguments_value(cli->arguments, "--state-directory");
        const char *log = NULL;
        json_t *config = NULL;
        int r;

        if (!directory) {
                r = local_config(cli, &config);
                if (r)
                        return r;
                directory = json_string_value(json_object_get(config, "state-directory"));
                log = json_string_value(json_object_get(config, "audit-log"));
        }
        *ret_directory = strdup(directory ? directory : "");
        *ret_log = strdup(log ? log : "");
        json_decref(config);
        return *ret_directory && *ret_log ? 0 : cli_out_of_memory(cli);
}
