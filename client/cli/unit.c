/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemctl is asked and told; nothing here talks to systemd by itself. A trial is a unit of its own below /run, made of the
 * files of the one that it stands for and of what is to be tried, in the order in which systemd would read them: so whatever
 * an administrator has added counts as well. Its file is gone when unit_try() returns.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "newfile.h"
#include "program.h"

#define TRIAL_NAME "certbroker-setup.service"
#define TRIAL_FILE "/run/systemd/system/" TRIAL_NAME
#define TEXT_MAX   ((size_t)1 << 20)

static bool trial_is_known; /* to systemd, though its file is gone */

bool unit_manager_is_there(void)
{
        return access("/run/systemd/system", F_OK) == 0;
}

/* ------------------------------------------------------------------ what a unit is */

/* Of `systemctl show`: the value behind "KEY=", in a line of its own. NULL: memory. */
static char *value_of(const char *text, const char *key)
{
        size_t n = strlen(key);

        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, key, n) == 0 && line[n] == '=')
                        return strndup(line + n + 1, strcspn(line + n + 1, "\n"));
        }
        return strdup("");
}

static int number_of(const char *text, const char *key)
{
        char *value = value_of(text, key);
        int number = value ? (int)strtol(value, NULL, 10) : 0;

        free(value);
        return number;
}

static bool is_value(const char *text, const char *key, const char *expected)
{
        char *value = value_of(text, key);
        bool is = value && strcmp(value, expected) == 0;

        free(value);
        return is;
}

static int take_facts(const char *name, const char *text, Unit *unit)
{
        *unit = (Unit){
                .name = strdup(name),
                .fragment = value_of(text, "FragmentPath"),
                .drop_ins = value_of(text, "DropInPaths"),
                .environment = value_of(text, "Environment"),
                .user = value_of(text, "User"),
                .group = value_of(text, "Group"),
                .cgroup = value_of(text, "ControlGroup"),
                .is_loaded = is_value(text, "LoadState", "loaded"),
                .is_active = is_value(text, "ActiveState", "active"),
                .main_pid = number_of(text, "MainPID"),
                .exec_status = number_of(text, "ExecMainStatus"),
        };
        if (unit->name && unit->fragment && unit->drop_ins && unit->environment && unit->user &&
            unit->group && unit->cgroup)
                return 0;
        unit_deinit(unit);
        return -ENOMEM;
}

static int run_systemctl(Cli *cli, const char *const *argv, Program *ret_program)
{
        int r = program_run(argv, -1, ret_program);

        if (r == -ENOMEM)
                return cli_out_of_memory(cli);
        return r ? cli_fail(cli, r, "systemctl cannot be run: %s", strerror(-r)) : 0;
}

int unit_read(Cli *cli, const char *name, Unit *ret_unit)
{
        const char *argv[] = { "systemctl", "show", "--no-pager", "--property",
                               "FragmentPath,DropInPaths,Environment,User,Group,ControlGroup,LoadState,"
                               "ActiveState,MainPID,ExecMainStatus",
                               "--", name, NULL };
        Program program;
        int r;

        *ret_unit = (Unit){ 0 };
        r = run_systemctl(cli, argv, &program);
        if (r == 0 && program.status != 0)
                r = cli_fail(cli, CB_FAILED, "systemctl does not tell of %s: %s", name,
                             program_complaint(&program));
        if (r == 0 && take_facts(name, program.output, ret_unit))
                r = cli_out_of_memory(cli);
        program_deinit(&program);
        return r;
}

void unit_deinit(Unit *unit)
{
        free(unit->name);
        free(unit->fragment);
        free(unit->drop_ins);
        free(unit->environment);
        free(unit->user);
        free(unit->group);
        free(unit->cgroup);
        *unit = (Unit){ 0 };
}

char *unit_environment_value(const Unit *unit, const char *name)
{
        size_t n = strlen(name);

        for (const char *p = unit->environment; p && (p = strstr(p, name)); p += n)
                if ((p == unit->environment || strchr(" \"", p[-1])) && p[n] == '=')
                        return strndup(p + n + 1, strcspn(p + n + 1, " \""));
        return NULL;
}

/* ------------------------------------------------------------------ what is done with it */

int unit_command(Cli *cli, const char *verb, const char *name, char ret_why[UNIT_WHY_MAX])
{
        const char *argv[] = { "systemctl", verb, name, NULL };
        Program program;
        int r;

        ret_why[0] = '\0';
        r = run_systemctl(cli, argv, &program);
        if (r == 0 && program.status != 0) {
                (void)snprintf(ret_why, UNIT_WHY_MAX, "%.*s", (int)strcspn(program.errors, "\n"),
                               program.errors);
                r = 1;
        }
        program_deinit(&program);
        return r;
}

void unit_last_words(const char *name, char ret_text[UNIT_WHY_MAX])
{
        const char *argv[] = { "journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=2", NULL,
                               NULL };
        CLEANUP(free_text) char *match = NULL;
        Program program = { 0 };

        ret_text[0] = '\0';
        if (asprintf(&match, "_SYSTEMD_UNIT=%s", name) < 0) {
                match = NULL;
                return;
        }
        argv[5] = match; /* its own words, not systemd's of it */
        if (program_run(argv, -1, &program) == 0 && program.status == 0) {
                (void)snprintf(ret_text, UNIT_WHY_MAX, "%s", program.output);
                for (char *p = strchr(ret_text, '\n'); p; p = strchr(p, '\n'))
                        *p = p[1] ? ' ' : '\0';
        }
        program_deinit(&program);
}

/* ------------------------------------------------------------------ a trial */

/* What a file holds; "" for one that is not there. NULL: memory, or it cannot be read. */
static char *read_text(const char *path)
{
        FILE *from = fopen(path, "re");
        char *text = malloc(TEXT_MAX + 1);
        size_t n = from && text ? fread(text, 1, TEXT_MAX, from) : 0;

        if (text)
                text[n] = '\0';
        if (from)
                (void)fclose(from);
        return text;
}

/*
 * Whom systemd would call when a trial fails, and what a trial would go with. No later file can take these back: an empty
 * value resets no dependency (systemd.unit(5)).
 */
static bool is_left_out(const char *line)
{
        static const char *const names[] = { "OnFailure", "OnSuccess", "PartOf", "BindsTo" };

        line += strspn(line, " \t");
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                size_t n = strlen(names[i]);

                if (strncmp(line, names[i], n) == 0 && line[n + strspn(line + n, " \t")] == '=')
                        return true;
        }
        return false;
}

static bool append_file(FILE *to, const char *path)
{
        char *text = read_text(path), *rest = text, *line;
        bool ok = text, is_out = false, goes_on = false;

        while (ok && (line = strsep(&rest, "\n"))) {
                size_t n = strlen(line);

                is_out = goes_on ? is_out : is_left_out(line);
                goes_on = n > 0 && line[n - 1] == '\\';
                ok = is_out || fprintf(to, "%s\n", line) >= 0;
        }
        free(text);
        return ok;
}

/* The files of the unit, and what is tried with it. */
static bool append_unit(FILE *to, const UnitTrial *trial)
{
        char *copy = strdup(trial->unit->drop_ins), *rest = NULL;
        bool ok = copy && append_file(to, trial->unit->fragment);

        for (char *path = copy ? strtok_r(copy, " ", &rest) : NULL; ok && path;
             path = strtok_r(NULL, " ", &rest))
                if (!trial->without || strcmp(path, trial->without) != 0)
                        ok = append_file(to, path);
        free(copy);
        for (const char *const *text = trial->drop_ins; ok && text && *text; text++)
                ok = fprintf(to, "%s\n", *text) >= 0;
        return ok;
}

/* Nothing of the service's own life: it runs once, tells nobody, and takes nothing away that is the service's. */
static bool append_end(FILE *to, const UnitTrial *trial)
{
        return fprintf(to,
                       "[Unit]\nDescription=A trial of certbroker setup\n"
                       "[Service]\nType=oneshot\nRestart=no\nRemainAfterExit=no\nPIDFile=\n"
                       "WatchdogSec=0\nTimeoutStartSec=150\nExecCondition=\nExecStartPre=\nExecStart=\n"
                       "ExecStartPost=\nExecReload=\nExecStop=\nExecStopPost=\n"
                       "RuntimeDirectory=\nRuntimeDirectory=certbroker-setup\n"
                       "StandardInput=null\nStandardOutput=file:%s/output\n"
                       "StandardError=file:%s/errors\nExecStart=%s\n",
                       trial->folder, trial->folder, trial->command) >= 0;
}

static int write_trial(const UnitTrial *trial)
{
        char *text = NULL;
        size_t n = 0;
        FILE *to = open_memstream(&text, &n);
        NewFile file;
        bool ok;
        int r;

        if (!to)
                return -ENOMEM;
        ok = append_unit(to, trial) && append_end(to, trial);
        r = fclose(to) == 0 && ok ? 0 : -ENOMEM;
        if (r == 0) {
                r = newfile_begin_own(&file, TRIAL_FILE);
                if (r == 0)
                        r = newfile_write(&file, text, n);
                if (r == 0)
                        r = newfile_finish(&file, 0644);
                if (r == 0)
                        r = newfile_place(&file);
                newfile_deinit(&file);
        }
        free(text);
        return r;
}

static int take_output(const UnitTrial *trial, const char *name, char **ret_text)
{
        char path[256];

        (void)snprintf(path, sizeof(path), "%s/%s", trial->folder, name);
        *ret_text = read_text(path);
        (void)unlink(path);
        return *ret_text ? 0 : -ENOMEM;
}

static int start_trial(Cli *cli, const UnitTrial *trial, UnitResult *result)
{
        Unit unit = { 0 };
        int r, started;

        r = unit_command(cli, "daemon-reload", NULL, result->why);
        if (r)
                return r < 0 ? r
                             : cli_fail(cli, CB_FAILED, "systemd cannot read its units again: %s",
                                        result->why);
        started = unit_command(cli, "start", TRIAL_NAME, result->why);
        r = started < 0 ? started : unit_read(cli, TRIAL_NAME, &unit);
        if (r == 0)
                result->status = started > 0 && unit.exec_status == 0 ? -1 : unit.exec_status;
        unit_deinit(&unit);
        if (r == 0 && (take_output(trial, "output", &result->output) ||
                       take_output(trial, "errors", &result->errors)))
                r = cli_out_of_memory(cli);
        return r;
}

int unit_try(Cli *cli, const UnitTrial *trial, UnitResult *ret_result)
{
        char why[UNIT_WHY_MAX];
        cb_error before;
        int r;

        *ret_result = (UnitResult){ .status = -1 };
        r = write_trial(trial);
        r = r ? cli_fail(cli, r, "%s cannot be written: %s", TRIAL_FILE, newfile_reason(r))
              : start_trial(cli, trial, ret_result);

        before = cli->error;
        (void)unlink(TRIAL_FILE);
        trial_is_known = true;
        if (ret_result->status != 0)
                (void)unit_command(cli, "reset-failed", TRIAL_NAME, why);
        cli->error = before;
        return r;
}

void unit_forget_trials(Cli *cli)
{
        char why[UNIT_WHY_MAX];
        cb_error before = cli->error;

        if (trial_is_known)
                (void)unit_command(cli, "daemon-reload", NULL, why);
        trial_is_known = false;
        cli->error = before;
}

void unit_result_deinit(UnitResult *result)
{
        free(TAKE(result->output));
        free(TAKE(result->errors));
}
