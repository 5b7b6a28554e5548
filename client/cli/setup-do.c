/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A planned source, made: what is inert first (the secret's file, a new token), then tried in the walls of certbrokerd's unit
 * by certbrokerd itself, and only then written to where it counts and put into force. Each step leaves its undo.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <jansson.h>

#include "companion.h"
#include "build-config.h"
#include "newfile.h"
#include "program.h"
#include "setup.h"
#include "show.h"
#include "tokens.h"

#define FOLDER SYSCONFDIR "/certbroker"

static const StepFile secrets_folder = { .path = FOLDER "/secrets" };

/* ------------------------------------------------------------------ a trial in the unit's walls */

/* With what is going to be its drop-ins. */
static int try_command(SetupSource *setup, const char *command, UnitResult *ret_result)
{
        CLEANUP(free_text) char *drop_in = setup_drop_in_text(setup);
        CLEANUP(free_text) char *softhsm = NULL;
        CLEANUP(free_text) char *without = setup_drop_in_path(setup);
        const char *texts[3] = { drop_in, NULL, NULL };

        if (setup->kind == SETUP_SOFTHSM && !setup->has_softhsm_conf) {
                softhsm = setup_softhsm_drop_in_text(setup);
                texts[1] = softhsm;
        }
        if (!drop_in || !without || (setup->kind == SETUP_SOFTHSM && !setup->has_softhsm_conf && !softhsm))
                return cli_out_of_memory(setup->cli);
        return unit_try(setup->cli,
                        &(UnitTrial){ .unit = &setup->unit,
                                      .folder = setup->folder,
                                      .drop_ins = texts,
                                      .without = without,
                                      .command = command },
                        ret_result);
}

static int daemon_command(SetupSource *setup, const char *const *arguments, char **ret_command)
{
        CLEANUP(free_text) char *daemon = NULL;
        int r;

        *ret_command = NULL;
        r = companion_find(setup->cli, "certbrokerd", &daemon);
        if (r)
                return r;
        if (unit_quote(ret_command, daemon))
                return cli_out_of_memory(setup->cli);
        for (; *arguments; arguments++)
                if (unit_quote(ret_command, *arguments))
                        return cli_out_of_memory(setup->cli);
        return 0;
}

/* ------------------------------------------------------------------ the secret */

static int write_bytes(Steps *steps, SetupSource *setup, const void *data, size_t n)
{
        CLEANUP(free_text) char *path = setup_secret_path(setup);
        bool is_read_by_it = setup->way == SECRET_FILE;
        const StepFile file = { .path = path,
                                .mode = is_read_by_it ? 0640 : 0600,
                                .gid = is_read_by_it ? setup->gid : 0 };

        return path ? steps_write(steps, &file, data, n) : cli_out_of_memory(setup->cli);
}

/* 1: systemd cannot, here. */
static int write_encrypted(Steps *steps, SetupSource *setup)
{
        char name[160];
        const char *argv[] = { "systemd-creds", "encrypt", name, "-", "-", NULL };
        Program program = { 0 };
        int r;

        (void)snprintf(name, sizeof(name), "--name=%s-%s", setup->name, setup_secret_word(setup));
        (void)lseek(setup->secret, 0, SEEK_SET);
        r = program_run(argv, setup->secret, &program);
        if (r == -ENOMEM)
                r = cli_out_of_memory(setup->cli);
        else if (r || program.status != 0)
                r = 1;
        else
                r = write_bytes(steps, setup, program.output, strlen(program.output));
        program_deinit(&program);
        return r;
}

static int write_plain(Steps *steps, SetupSource *setup)
{
        struct stat st;
        void *data;
        int r;

        if (fstat(setup->secret, &st) < 0)
                return cli_fail(setup->cli, -errno, "The secret: %s", strerror(errno));
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, setup->secret, 0);
        if (data == MAP_FAILED)
                return cli_out_of_memory(setup->cli);
        r = write_bytes(steps, setup, data, (size_t)st.st_size);
        (void)munmap(data, (size_t)st.st_size);
        return r;
}

/* Does systemd hand it to a unit, and can the unit's user read it? 1: it cannot, here. */
static int try_credential(Steps *steps, SetupSource *setup)
{
        CLEANUP(free_text) char *command = NULL;
        UnitResult result = { 0 };
        int r;

        if (setup->way == SECRET_FILE)
                return 0;
        if (asprintf(&command, "test -r ${CREDENTIALS_DIRECTORY}/%s-%s", setup->name,
                     setup_secret_word(setup)) < 0) {
                command = NULL;
                return cli_out_of_memory(setup->cli);
        }
        r = try_command(setup, command, &result);
        if (r == 0 && (result.status == UNIT_EXIT_CREDENTIALS || result.status == 1))
                r = 1;
        else if (r == 0 && result.status != 0)
                r = steps_fail(steps, CB_FAILED,
                               "a unit like certbrokerd's with this credential ends with status %d: %s",
                               result.status, result.why);
        unit_result_deinit(&result);
        return r;
}

static int write_secret(Steps *steps, SetupSource *setup)
{
        static const char *const ways[_SECRET_WAY_N] = {
                [SECRET_ENCRYPTED] = "as a credential of systemd, encrypted for this host",
                [SECRET_CREDENTIAL] = "as a credential of systemd",
                [SECRET_FILE] = "as a file that the user of certbrokerd can read",
        };
        StepFile folder = secrets_folder;
        int r;

        folder.mode = 0710;
        folder.gid = setup->gid;
        r = steps_make_folder(steps, &folder);
        for (setup->way = SECRET_ENCRYPTED; r == 0 && setup->way < _SECRET_WAY_N; setup->way++) {
                size_t n = steps->n;

                r = steps_begin(steps, "the secret, %s", ways[setup->way]);
                if (r == 0)
                        r = setup->way == SECRET_ENCRYPTED ? write_encrypted(steps, setup)
                                                           : write_plain(steps, setup);
                if (r == 0)
                        r = try_credential(steps, setup);
                if (r != 1)
                        return r;
                steps_say(steps, "systemd cannot do that here");
                steps_undo_to(steps, n);
                r = 0;
        }
        return r;
}

/* ------------------------------------------------------------------ SoftHSM */

static int undo_token(Undo *undo)
{
        SetupSource *setup = undo->userdata;

        return tokens_remove_others(setup->tokens, setup->tokens_before, setup->uid, setup->gid);
}

static int make_folders(Steps *steps, SetupSource *setup)
{
        const StepFile state = { setup->state, 0700, setup->uid, setup->gid };
        const StepFile tokens = { setup->tokens, 0700, setup->uid, setup->gid };
        int r;

        r = steps_begin(steps, "a folder for the tokens: %s", setup->tokens);
        if (r == 0)
                r = steps_make_folder(steps, &state);
        return r ? r : steps_make_folder(steps, &tokens);
}

static int write_softhsm_conf(Steps *steps, SetupSource *setup)
{
        const StepFile file = { setup->softhsm_conf, 0644, 0, 0 };
        CLEANUP(free_text) char *text = NULL;
        int r;

        if (setup->has_softhsm_conf)
                return 0;
        r = steps_begin(steps, "what SoftHSM's module reads: %s", setup->softhsm_conf);
        if (r)
                return r;
        text = setup_softhsm_text(setup);
        return text ? steps_write(steps, &file, text, strlen(text)) : cli_out_of_memory(setup->cli);
}

static int init_command(SetupSource *setup, char **ret_command)
{
        CLEANUP(free_text) char *helper = NULL;
        CLEANUP(free_text) char *path = setup_secret_path(setup);
        char credential[160];
        int r;

        (void)snprintf(credential, sizeof(credential), "%s-pin", setup->name);
        *ret_command = NULL;
        r = companion_find(setup->cli, "certbroker-token", &helper);
        if (r)
                return r;
        return path && unit_quote(ret_command, helper) == 0 && unit_quote(ret_command, "init") == 0 &&
                               unit_quote(ret_command, setup_setting(setup, "module")) == 0 &&
                               unit_quote(ret_command, setup->label) == 0 &&
                               unit_quote(ret_command,
                                          setup->way == SECRET_FILE ? path : credential) == 0
                       ? 0
                       : cli_out_of_memory(setup->cli);
}

/* Those that are there already: the others are what an undo removes. */
static int list_tokens(Steps *steps, SetupSource *setup)
{
        int r = tokens_list(setup->tokens, &setup->tokens_before);

        return r ? steps_fail(steps, r, "%s cannot be read: %s", setup->tokens, strerror(-r)) : 0;
}

static int init_token(Steps *steps, SetupSource *setup)
{
        CLEANUP(free_text) char *command = NULL;
        UnitResult result = { 0 };
        const char *why;
        int r;

        r = steps_begin(steps, "a new token %s, made by the user of certbrokerd in its unit's walls",
                        setup->label);
        if (r == 0)
                r = list_tokens(steps, setup);
        if (r == 0)
                r = steps_on_undo(steps, undo_token, setup, "the new token");
        if (r == 0)
                r = init_command(setup, &command);
        if (r == 0)
                r = try_command(setup, command, &result);
        if (r == 0) {
                why = strstr(result.output, "failed\t");
                if (result.status != 0 || why || !strstr(result.output, "done"))
                        r = steps_fail(steps, CB_FAILED, "%s",
                                       why             ? why + 7
                                       : *result.errors ? result.errors
                                       : *result.why    ? result.why
                                                        : "the module has ended its process");
        }
        unit_result_deinit(&result);
        return r;
}

static int make_softhsm(Steps *steps, SetupSource *setup)
{
        int r = make_folders(steps, setup);

        if (r == 0)
                r = write_softhsm_conf(steps, setup);
        if (r == 0)
                r = write_secret(steps, setup);
        return r ? r : init_token(steps, setup);
}

/* ------------------------------------------------------------------ tried before it counts */

static int write_candidate(Steps *steps, SetupSource *setup)
{
        CLEANUP(free_text) char *text = setup_conf_text(setup);
        CLEANUP(free_text) char *path = NULL;
        NewFile file;
        int r;

        if (!text || asprintf(&path, "%s/conf.d/%s.conf", setup->folder, setup->name) < 0) {
                path = NULL;
                return cli_out_of_memory(setup->cli);
        }
        r = newfile_begin_own(&file, path);
        if (r == 0)
                r = newfile_write(&file, text, strlen(text));
        if (r == 0)
                r = newfile_finish(&file, 0644);
        if (r == 0)
                r = newfile_place(&file);
        newfile_deinit(&file);
        return r ? steps_fail(steps, r, "%s cannot be written: %s", path, newfile_reason(r)) : 0;
}

/* The copy's files are told by the names that they are going to have. */
static int wrong_config(Steps *steps, const SetupSource *setup, const char *complaint)
{
        size_t n = strlen(setup->folder);
        bool is_copy = strncmp(complaint, setup->folder, n) == 0 && complaint[n] == '/';

        return steps_fail(steps, CB_FAILED, "%s%s", is_copy ? FOLDER : "", complaint + (is_copy ? n : 0));
}

/* All of the configuration as it is going to be; what --check-config says of it. */
static int check_config(Steps *steps, SetupSource *setup)
{
        CLEANUP(free_text) char *daemon = NULL;
        CLEANUP(free_text) char *config = NULL;
        Program program = { 0 };
        int r;

        r = steps_begin(steps, "the configuration with it, read by certbrokerd --check-config");
        if (r == 0)
                r = config_copy(setup->folder, FOLDER, setup->gid);
        if (r < 0 && steps->cli->error.text[0] == '\0')
                r = steps_fail(steps, r, "the configuration cannot be copied: %s", strerror(-r));
        if (r == 0)
                r = write_candidate(steps, setup);
        if (r == 0)
                r = companion_find(setup->cli, "certbrokerd", &daemon);
        if (r == 0 && asprintf(&config, "%s/certbroker.conf", setup->folder) < 0) {
                config = NULL;
                r = cli_out_of_memory(setup->cli);
        }
        if (r == 0) {
                const char *argv[] = { daemon, "--check-config", "--config", config, NULL };

                r = program_run(argv, -1, &program);
                if (r)
                        r = steps_fail(steps, r, "certbrokerd cannot be run: %s", strerror(-r));
                else if (program.status != 0)
                        r = wrong_config(steps, setup, program_complaint(&program));
        }
        program_deinit(&program);
        return r;
}

/* What certbrokerd's own trial said. */
static int judge(Steps *steps, const UnitResult *result)
{
        json_t *said = json_loads(result->output, 0, NULL);
        const char *state = json_string_value(json_object_get(said, "state"));
        const char *text = json_string_value(json_object_get(said, "text"));
        int r = 0;

        if (result->status == 0 && state)
                steps_say(steps, "it is %s%s%s", state, text && *text ? ": " : "", text ? text : "");
        else if (state)
                r = steps_fail(steps,
                               strcmp(state, "locked") == 0 ? CB_SOURCE_LOCKED : CB_SOURCE_UNAVAILABLE,
                               "the source is %s: %s", state, text ? text : "");
        else
                r = steps_fail(steps, CB_FAILED, "certbrokerd has ended with status %d: %s",
                               result->status, *result->errors ? result->errors : result->why);
        json_decref(said);
        return r;
}

/* What a source makes for itself; a PIN that its token has refused is noted there, and stays so. */
static int undo_own_folder(Undo *undo)
{
        const SetupSource *setup = undo->userdata;
        char path[512];

        (void)snprintf(path, sizeof(path), "%s/source-%s", setup->state, setup->name);
        return rmdir(path) < 0 && errno != ENOENT && errno != ENOTEMPTY ? -errno : 0;
}

static int run_trial(Steps *steps, SetupSource *setup, const char *command)
{
        UnitResult result = { 0 };
        int r;

        r = steps_on_undo(steps, undo_own_folder, setup,
                          "its folder in the state directory (a refused PIN stays noted there)");
        if (r == 0)
                r = try_command(setup, command, &result);
        if (r == 0)
                r = judge(steps, &result);
        unit_result_deinit(&result);
        return r;
}

static int try_source(Steps *steps, SetupSource *setup)
{
        const char *auth = setup_setting(setup, "auth");
        CLEANUP(free_text) char *command = NULL;
        CLEANUP(free_text) char *config = NULL;
        int r;

        if (auth && strcmp(auth, "client-certificate") == 0) {
                steps_say(steps, "it logs in with a key of another source, so it is tried when it is in "
                                 "force");
                return 0;
        }
        r = steps_begin(steps, "the source, tried in the walls of certbrokerd's unit");
        if (r)
                return r;
        if (asprintf(&config, "%s/certbroker.conf", setup->folder) < 0) {
                config = NULL;
                return cli_out_of_memory(setup->cli);
        }
        r = daemon_command(setup,
                           (const char *const[]){ "--config", config, "--check-source", setup->name,
                                                  NULL },
                           &command);
        return r ? r : run_trial(steps, setup, command);
}

/* ------------------------------------------------------------------ the whole */

static bool wants_trial(const SetupSource *setup)
{
        /* A vault keeps what is deleted for weeks, and has rights of its own for keys: there it is asked for. */
        if (setup->kind == SETUP_VAULT)
                return arguments_has(setup->cli->arguments, "--trial");
        return !arguments_has(setup->cli->arguments, "--no-trial");
}

static int do_all(Steps *steps, SetupSource *setup, bool *ret_restarted, bool *ret_signed)
{
        int r;

        *ret_signed = false;
        r = setup->kind == SETUP_SOFTHSM ? make_softhsm(steps, setup)
            : setup->secret_key          ? write_secret(steps, setup)
                                         : 0;
        if (r == 0)
                r = check_config(steps, setup);
        if (r == 0)
                r = try_source(steps, setup);
        if (r == 0)
                r = setup_put_into_force(steps, setup, ret_restarted);
        if (r == 0)
                r = setup_wait(steps, setup->name);
        if (r == CB_NOT_FOUND) {
                steps_say(steps, "no grant lets root see the source, so it is not tried any further");
                return 0;
        }
        if (r == 0 && wants_trial(setup)) {
                r = setup_sign(steps, setup->name);
                *ret_signed = r == 0;
        }
        return r;
}

static int tell(SetupSource *setup, bool restarted, bool is_signed)
{
        CLEANUP(free_text) char *path = setup_conf_path(setup);

        if (!path)
                return cli_out_of_memory(setup->cli);
        if (setup->cli->arguments->json)
                return show_document(setup->cli,
                                     json_pack("{s:s, s:s, s:s, s:b, s:b}", "source", setup->name,
                                               "state", "ready", "file", path, "restarted", restarted,
                                               "signed", is_signed));
        (void)printf("The source %s is in force%s.\n", setup->name,
                     is_signed ? ", and has signed" : "");
        (void)printf("Next: certbroker certificate import ID FILE --source %s, or certificate generate.\n",
                     setup->name);
        return 0;
}

/* Of 0 bytes, or of an editor's newline alone. */
static bool is_empty(int secret)
{
        char first = '\n';

        return lseek(secret, 0, SEEK_END) <= 1 && (pread(secret, &first, 1, 0) < 1 || first == '\n');
}

int setup_do(SetupSource *setup)
{
        bool restarted = false, is_signed = false;
        Steps steps;
        int r;

        if (setup->secret >= 0 && is_empty(setup->secret))
                return cli_fail(setup->cli, CB_INVALID_ARGUMENT, "The PIN or secret is empty.");
        steps_init(&steps, setup->cli);
        r = steps_end(&steps, do_all(&steps, setup, &restarted, &is_signed));
        return r ? r : tell(setup, restarted, is_signed);
}
