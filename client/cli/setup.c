/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `certbroker setup source`: from nothing to a source that signs. This file has what it takes as options, whether this host
 * is one where it can be done, and what `--dry-run` prints. The plan is made in setup-plan.c, and done in setup-do.c.
 */
#include "setup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "build-config.h"
#include "gateway-setup.h"
#include "local.h"
#include "prompt.h"
#include "show.h"
#include "tokens.h"

#define FOLDER    SYSCONFDIR "/certbroker"
#define LOCK_FILE "/run/certbroker-setup.lock"

/* ------------------------------------------------------------------ this host */

static int not_root(Cli *cli)
{
        return cli_fail(cli, CB_ACCESS_DENIED,
                        "This is done as root: it writes below /etc and tells systemd. --dry-run shows "
                        "what it would write.");
}

static int no_manager(Cli *cli)
{
        return cli_fail(
                cli, CB_NOT_SUPPORTED,
                "This host is not run by systemd, so nothing can be set up for its units. By hand: "
                "write the files that --dry-run prints, name the PIN's file by its whole path, "
                "start certbrokerd with what Environment= says in its environment, and look at "
                "`certbroker status`.");
}

int setup_check_host(Cli *cli)
{
        if (geteuid() != 0)
                return not_root(cli);
        return unit_manager_is_there() ? 0 : no_manager(cli);
}

int setup_lock(Cli *cli, int *ret_fd)
{
        int fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
                int r = -errno;

                if (fd >= 0)
                        (void)close(fd);
                return r == -EWOULDBLOCK
                               ? cli_fail(cli, r, "Another `certbroker setup` is at work.")
                               : cli_fail(cli, r, LOCK_FILE " cannot be locked: %s", strerror(-r));
        }
        *ret_fd = fd;
        return 0;
}

int setup_make_folder(Cli *cli, char **ret_folder)
{
        char *folder = strdup("/run/certbroker-setup-XXXXXX");

        if (!folder)
                return cli_out_of_memory(cli);
        if (!mkdtemp(folder) || chmod(folder, 0755) < 0) {
                int r = -errno;

                free(folder);
                return cli_fail(cli, r, "No folder can be made in /run: %s", strerror(-r));
        }
        *ret_folder = folder;
        return 0;
}

static void remove_in(const char *folder, const char *name)
{
        CLEANUP(free_text) char *names = NULL;
        char path[PATH_MAX], *rest, *entry;

        (void)snprintf(path, sizeof(path), "%s%s", folder, name);
        if (tokens_list(path, &names))
                return;
        for (rest = names; (entry = strsep(&rest, "\n"));) {
                char file[PATH_MAX];

                if (snprintf(file, sizeof(file), "%s/%s", path, entry) < (int)sizeof(file))
                        (void)unlink(file);
        }
        (void)rmdir(path);
}

void setup_remove_folder(const char *folder)
{
        remove_in(folder, "/conf.d");
        remove_in(folder, "");
}

/* ------------------------------------------------------------------ certbrokerd on it */

static int find_user(SetupSource *setup)
{
        const char *name = setup->unit.user && *setup->unit.user ? setup->unit.user : BROKER_USER;
        const struct passwd *user = getpwnam(name);
        const struct group *group =
                setup->unit.group && *setup->unit.group ? getgrnam(setup->unit.group) : NULL;

        if (!user)
                return cli_fail(setup->cli, CB_FAILED,
                                "There is no user %s, as whom certbrokerd runs: systemd-sysusers makes it.",
                                name);
        setup->uid = user->pw_uid;
        setup->gid = group ? group->gr_gid : user->pw_gid;
        return 0;
}

/* What is configured already. */
static int read_config(SetupSource *setup, bool *ret_is_there)
{
        json_t *config = NULL, *source;
        size_t i;
        int r;

        r = local_config_installed(setup->cli, &config); /* not as certbrokerd says of itself: root writes by it */
        if (r)
                return r;
        *ret_is_there = false;
        json_array_foreach(json_object_get(config, "source"), i, source)
        {
                const char *name = json_string_value(json_object_get(source, "name"));

                if (name && strcmp(name, setup->name) == 0)
                        *ret_is_there = true;
        }
        setup->state = strdup(json_string_value(json_object_get(config, "state-directory"))
                                      ?: "/var/lib/certbroker");
        json_decref(config);
        return setup->state ? 0 : cli_out_of_memory(setup->cli);
}

/* Nothing that is there is written over, unless that is asked for. */
static int check_place(SetupSource *setup, bool is_configured)
{
        bool replace = arguments_has(setup->cli->arguments, "--replace");
        CLEANUP(free_text) char *path = setup_conf_path(setup);
        bool has_file;

        if (!path)
                return cli_out_of_memory(setup->cli);
        has_file = access(path, F_OK) == 0;
        if (is_configured && !has_file)
                return cli_fail(setup->cli, CB_ALREADY_EXISTS,
                                "A source %s is configured already, in a file that is not %s. Take "
                                "another name, or take it out there first.",
                                setup->name, path);
        if (has_file && !replace)
                return cli_fail(setup->cli, CB_ALREADY_EXISTS,
                                "%s is there already, and stays as it is. --replace puts a new one in "
                                "its place.",
                                path);
        return 0;
}

/* ------------------------------------------------------------------ SoftHSM's own configuration */

/* Where the module keeps its tokens, by a configuration that is there. */
static int read_token_folder(SetupSource *setup)
{
        static const char key[] = "directories.tokendir";
        FILE *from = fopen(setup->softhsm_conf, "re");
        char line[PATH_MAX];

        while (from && !setup->tokens && fgets(line, sizeof(line), from)) {
                char *value = strchr(line, '=');

                if (strncmp(line, key, strlen(key)) != 0 || !value)
                        continue;
                value += 1 + strspn(value + 1, " \t");
                value[strcspn(value, " \t\r\n")] = '\0';
                setup->tokens = strdup(value);
        }
        if (from)
                (void)fclose(from);
        return setup->tokens && setup->tokens[0] == '/'
                       ? 0
                       : cli_fail(setup->cli, CB_FAILED,
                                  "certbrokerd's environment names %s as SOFTHSM2_CONF, and that names "
                                  "no directories.tokendir.",
                                  setup->softhsm_conf);
}

static int check_softhsm(SetupSource *setup)
{
        setup->softhsm_conf = unit_environment_value(&setup->unit, "SOFTHSM2_CONF");
        if (setup->softhsm_conf) {
                setup->has_softhsm_conf = true;
                return read_token_folder(setup);
        }
        setup->softhsm_conf = strdup(FOLDER "/softhsm2.conf");
        if (!setup->softhsm_conf || asprintf(&setup->tokens, "%s/tokens", setup->state) < 0)
                return cli_out_of_memory(setup->cli);
        if (access(setup->softhsm_conf, F_OK) == 0 &&
            !arguments_has(setup->cli->arguments, "--replace"))
                return cli_fail(setup->cli, CB_ALREADY_EXISTS,
                                "%s is there already, and certbrokerd's unit does not name it: give "
                                "it there as SOFTHSM2_CONF (systemctl edit certbrokerd), or put a new "
                                "one in its place with --replace.",
                                setup->softhsm_conf);
        return 0;
}

/* ------------------------------------------------------------------ what would be written */

static void print_file(json_t *files, const char *path, const char *text)
{
        if (files)
                (void)json_array_append_new(files, json_pack("{s:s, s:s?}", "path", path, "text", text));
        else if (text)
                (void)printf("==> %s\n%s\n", path, text);
        else
                (void)printf("==> %s\n(the PIN or secret)\n\n", path);
}

static void print_made(json_t *files, char *path, char *text, bool is_wanted)
{
        if (path && (!text || *text) && is_wanted)
                print_file(files, path, text);
        free(path);
        free(text);
}

static int print_plan(SetupSource *setup)
{
        bool has_softhsm = setup->kind == SETUP_SOFTHSM;
        json_t *files = setup->cli->arguments->json ? json_array() : NULL;

        setup->way = SECRET_CREDENTIAL;
        print_made(files, setup_conf_path(setup), setup_conf_text(setup), true);
        print_made(files, setup_secret_path(setup), NULL, setup->secret_key != NULL);
        print_made(files, setup_drop_in_path(setup), setup_drop_in_text(setup), true);
        print_made(files, setup_softhsm_drop_in_path(),
                   has_softhsm ? setup_softhsm_drop_in_text(setup) : strdup(""),
                   has_softhsm && !setup->has_softhsm_conf);
        if (has_softhsm && !setup->has_softhsm_conf)
                print_made(files, strdup(setup->softhsm_conf), setup_softhsm_text(setup), true);
        if (files)
                return show_document(setup->cli, json_pack("{s:s, s:o}", "source", setup->name, "files",
                                                           files));
        (void)printf("Nothing was written. The secret becomes an encrypted credential where systemd can "
                     "do that,\nand a plain file named by its path where it has none.\n");
        return 0;
}

/* ------------------------------------------------------------------ the verb */

/* As libconfig takes it. */
static bool is_name(const char *name)
{
        size_t n = strlen(name);

        if (!isascii(name[0]) || !isalpha((unsigned char)name[0]) || n > 100)
                return false;
        return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static int look_at_host(SetupSource *setup, bool is_dry)
{
        bool is_configured = false;
        int r;

        if (!is_dry || unit_manager_is_there()) {
                r = unit_read(setup->cli, UNIT_BROKER, &setup->unit);
                if (r == 0 && !is_dry && !setup->unit.is_loaded)
                        r = cli_fail(setup->cli, CB_NOT_FOUND,
                                     "systemd knows no " UNIT_BROKER ": install certbrokerd, and run "
                                     "systemctl daemon-reload.");
                if (r)
                        return r;
        }
        if (is_dry && geteuid() != 0) {
                setup->state = strdup("/var/lib/certbroker");
                return setup->state ? 0 : cli_out_of_memory(setup->cli);
        }
        r = is_dry ? 0 : find_user(setup);
        if (r == 0)
                r = read_config(setup, &is_configured);
        return r ? r : check_place(setup, is_configured);
}

static int confirm(SetupSource *setup)
{
        bool yes = true;
        int r = 0;

        if (prompt_can() && !arguments_has(setup->cli->arguments, "--yes"))
                r = prompt_yes(setup->cli,
                               "Make it, try it, and put it into force (certbrokerd may be restarted)?",
                               true, &yes);
        return r == 0 && !yes ? cli_fail(setup->cli, CB_FAILED, "Nothing was changed.") : r;
}

static int set_up(SetupSource *setup)
{
        bool is_dry = arguments_has(setup->cli->arguments, "--dry-run");
        int r = is_dry ? 0 : setup_check_host(setup->cli);

        if (r == 0)
                r = look_at_host(setup, is_dry);
        if (r == 0 && !is_dry)
                r = setup_make_folder(setup->cli, &setup->folder);
        if (r == 0)
                r = setup_plan(setup);
        if (r == 0 && setup->kind == SETUP_SOFTHSM)
                r = check_softhsm(setup);
        if (r == 0 && is_dry)
                return print_plan(setup);
        if (r == 0)
                r = confirm(setup);
        return r ? r : setup_do(setup);
}

static void setup_deinit(SetupSource *setup)
{
        if (setup->folder)
                setup_remove_folder(setup->folder);
        for (size_t i = 0; i < setup->n_settings; i++) {
                free(setup->settings[i].key);
                free(setup->settings[i].value);
        }
        if (setup->secret >= 0)
                (void)close(setup->secret);
        unit_deinit(&setup->unit);
        free(setup->label);
        free(setup->state);
        free(setup->folder);
        free(setup->softhsm_conf);
        free(setup->tokens);
        free(setup->tokens_before);
}

static int verb_source(Cli *cli, const Arguments *arguments)
{
        SetupSource setup = { .cli = cli, .name = arguments->positionals[0], .secret = -1 };
        CLEANUP(close_fd) int fd = -1;
        int r = 0;

        if (!is_name(setup.name))
                return cli_usage(cli, "A source's name is a letter, and then letters, digits, _ and -.");
        if (!arguments_has(arguments, "--dry-run") && geteuid() == 0 && unit_manager_is_there())
                r = setup_lock(cli, &fd);
        if (r == 0)
                r = set_up(&setup);
        unit_forget_trials(cli);
        setup_deinit(&setup);
        return r;
}

static const Option source_options[] = {
        { "--kind", "KIND", "softhsm (a new token in files), pkcs11 (one that is there), azure-key-vault",
          false, false },
        { "--module", "FILE", "the PKCS#11 module; else found by p11-kit", false, false },
        { "--token", "LABEL", "of the token; of a new one, NAME by default", false, false },
        { "--serial", "NUMBER", "of the token, where several have its label", false, false },
        { "--pin-file", "FILE", "the PIN is in FILE, or `-`: on standard input; a new token gets one by "
                                "itself",
          false, false },
        { "--uri", "URL", "of a vault", false, false },
        { "--auth", "WAY", "how to log in to it, as auth in certbroker.conf(5)", false, false },
        { "--tenant-id", "ID", "as there", false, false },
        { "--client-id", "ID", "as there", false, false },
        { "--token-file", "FILE", "as there", false, false },
        { "--certificate", "ID", "as there", false, false },
        { "--secret-file", "FILE", "the client's secret is in FILE, or `-`: on standard input", false,
          false },
        { "--set", "KEY=VALUE", "another setting of the source, as in certbroker.conf(5)", false, true },
        { "--trial", NULL, "make a trial key in a vault, too", false, false },
        { "--no-trial", NULL, "make no trial key", false, false },
        { "--replace", NULL, "in place of a source of that name that setup has made before", false, false },
        { "--dry-run", NULL, "print what would be written, and do nothing", false, false },
        { "--yes", NULL, "do not ask whether to go on", false, false },
        { NULL },
};

const Verb setup_verbs[] = {
        { "source",
          { "NAME" },
          source_options,
          verb_source,
          "Make a source, from nothing to a signature",
          "Asks for what the options do not say, where there is a terminal; makes what is needed (a "
          "token of\n"
          "SoftHSM, the PIN as a credential of systemd, settings of the unit); tries it inside of "
          "certbrokerd's\n"
          "own walls; writes conf.d/NAME.conf; puts it into force; and has a key that it makes for this "
          "sign. Where\n"
          "a step fails, all that was done is undone. Run it as root.",
          "certbroker setup source hsm\n"
          "certbroker setup source hsm --kind softhsm\n"
          "certbroker setup source hsm --kind pkcs11 --token prod --pin-file /root/pin\n"
          "certbroker setup source vault --kind azure-key-vault --uri https://contoso.vault.azure.net" },
        GATEWAY_SETUP_VERB,
        { NULL },
};
