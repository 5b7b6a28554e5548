/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `certbroker setup gateway`: a drop-in for a gateway's unit. Before it counts it is tried in a unit that is the gateway's in
 * all else: the gateway's own test of its configuration, for a restart that fails takes it away; and a handshake by
 * certbroker-handshake, which becomes the gateway's worker. Then it is written, and the gateway restarted. Where that fails
 * the drop-in goes again, and the gateway is started without it.
 */
#include "companion.h"
#include "gateway-setup.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "gateway-inside.h"
#include "keyfile.h"
#include "newfile.h"
#include "process.h"
#include "prompt.h"
#include "show.h"

#define OPENSSL_CNF DATADIR "/certbroker/openssl.cnf"
#define SHAKING     "the handshake: " /* certbroker-handshake, where that is what fails */

static const GatewayKind kinds[] = {
        { "nginx", { "nginx.service" }, "www-data", "nginx -t -q", IMPORT_NONE },
        { "haproxy", { "haproxy.service" }, "haproxy", "haproxy -c -q -f /etc/haproxy/haproxy.cfg",
          IMPORT_NONE },
        { "apache", { "apache2.service", "httpd.service" }, "www-data", "apachectl configtest",
          IMPORT_NONE },
        { "stunnel", { "stunnel4.service", "stunnel.service" }, "stunnel4", NULL, IMPORT_NONE },
        { "postfix", { "postfix@-.service", "postfix.service" }, "postfix", "postfix check",
          IMPORT_POSTFIX },
        { "dovecot", { "dovecot.service" }, "dovenull", "doveconf -n", IMPORT_DOVECOT },
};

const char *const gateway_setup_names[] = { "nginx",   "haproxy", "apache", "stunnel",
                                            "postfix", "dovecot", NULL };

/* ------------------------------------------------------------------ which unit */

static int find_unit(GatewaySetup *setup)
{
        const char *named = arguments_value(setup->cli->arguments, "--unit");
        const char *units[ELEMENTSOF(setup->kind->units) + 1] = { named };
        int r = 0;

        for (size_t i = 0; !named && i < ELEMENTSOF(setup->kind->units); i++)
                units[i] = setup->kind->units[i];
        for (const char **name = units; *name; name++) {
                unit_deinit(&setup->unit);
                r = unit_read(setup->cli, *name, &setup->unit);
                if (r || setup->unit.is_loaded)
                        return r;
        }
        return cli_fail(setup->cli, CB_NOT_FOUND,
                        "systemd knows no unit %s: is %s installed? --unit names another.", units[0],
                        setup->kind->name);
}

static int make_text(GatewaySetup *setup)
{
        if (asprintf(&setup->drop_in, UNIT_FOLDER "/%s.d/certbroker.conf", setup->unit.name) < 0 ||
            asprintf(&setup->text,
                     MARK " %s`: its OpenSSL knows certbroker's provider.\n"
                          "[Unit]\n"
                          "After=" UNIT_BROKER "\n"
                          "\n"
                          "[Service]\n"
                          "Environment=OPENSSL_CONF=" OPENSSL_CNF "\n",
                     setup->kind->name) < 0)
                return cli_out_of_memory(setup->cli);
        return 0;
}

/* 0: there is none; 1: this very text; 2: ours, another text; 3: somebody's own. */
static int look_at_drop_in(const GatewaySetup *setup)
{
        char text[4096] = "";
        FILE *from = fopen(setup->drop_in, "re");
        size_t n = from ? fread(text, 1, sizeof(text) - 1, from) : 0;

        if (!from)
                return 0;
        text[n] = '\0';
        (void)fclose(from);
        if (strcmp(text, setup->text) == 0)
                return 1;
        return strncmp(text, MARK, strlen(MARK)) == 0 ? 2 : 3;
}

static int check_place(GatewaySetup *setup)
{
        CLEANUP(free_text) char *before = unit_environment_value(&setup->unit, "OPENSSL_CONF");
        bool replace = arguments_has(setup->cli->arguments, "--replace");
        int found = look_at_drop_in(setup);

        setup->is_there = found == 1;
        if (found > 1 && !replace)
                return cli_fail(setup->cli, CB_ALREADY_EXISTS,
                                "%s is there already, and stays as it is. --replace puts a new one in "
                                "its place.",
                                setup->drop_in);
        if (found == 0 && before && strcmp(before, OPENSSL_CNF) != 0)
                return cli_fail(setup->cli, CB_ALREADY_EXISTS,
                                "%s has OPENSSL_CONF=%s in its environment already. Add this line at "
                                "the end of that file instead, and restart it: .include " OPENSSL_CNF,
                                setup->unit.name, before);
        if (access(OPENSSL_CNF, R_OK) < 0)
                return cli_fail(setup->cli, CB_NOT_FOUND,
                                "certbroker's OpenSSL provider is not installed: " OPENSSL_CNF ": %s",
                                strerror(errno));
        return 0;
}

/* ------------------------------------------------------------------ the credential that is tried */

static int write_credential(GatewaySetup *setup, const cb_credential *credential)
{
        CLEANUP(free_text) char *key = NULL;
        CLEANUP(free_text) char *chain = NULL;
        char path[300];
        FILE *to;
        bool ok;

        if (keyfile_of(credential, &key) || keyfile_chain(credential, &chain))
                return cli_fail(setup->cli, CB_FAILED, "The certificate of %s cannot be read.",
                                credential->id);
        (void)snprintf(path, sizeof(path), "%s/credential.pem", setup->folder);
        to = fopen(path, "wxe");
        ok = to && fprintf(to, "%s%s", key, chain) > 0;
        if (to && fclose(to) != 0)
                ok = false;
        if (!ok || chmod(path, 0644) < 0)
                return cli_fail(setup->cli, -errno, "%s: %s", path, strerror(errno));
        setup->has_credential = true;
        return 0;
}

/* What may be read may be tried: whether the gateway may use it is what the trial shows. */
static int get_credential(GatewaySetup *setup)
{
        const char *backend = arguments_value(setup->cli->arguments, "--backend");
        const char *id = arguments_value(setup->cli->arguments, "--certificate");
        CLEANUP(cb_credential_freep) cb_credential *credential = NULL;
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const cb_value *properties = NULL;
        int r = 0;

        if (backend && id)
                return cli_usage(setup->cli, "One of --backend and --certificate is enough.");
        if (backend)
                r = ask_properties(setup->cli, "backend", backend, &reply, &properties);
        if (r == 0 && backend)
                id = cb_value_string(cb_value_get(properties, "Certificate"), "");
        if (r || !id)
                return r;
        r = cb_get_certificate(setup->cli->client, id, &credential, &setup->cli->error);
        if (r == 0 && credential->n_chain == 0)
                r = cli_fail(setup->cli, CB_PENDING, "%s has no certificate yet.", credential->id);
        return r ? r : write_credential(setup, credential);
}

/* ------------------------------------------------------------------ trials */

static int try_command(GatewaySetup *setup, const char *command, UnitResult *ret_result)
{
        const char *texts[] = { setup->is_removal ? NULL : setup->text, NULL };

        return unit_try(setup->cli,
                        &(UnitTrial){ .unit = &setup->unit,
                                      .folder = setup->folder,
                                      .drop_ins = texts,
                                      .without = setup->drop_in,
                                      .command = command },
                        ret_result);
}

static int test_configuration(Steps *steps, GatewaySetup *setup)
{
        const char *command = setup->kind->test;
        UnitResult result = { 0 };
        int r;

        if (!command || arguments_has(setup->cli->arguments, "--unit"))
                return 0;
        r = steps_begin(steps, "%s's own test of its configuration, with%s the provider: %s",
                        setup->kind->name, setup->is_removal ? "out" : "", command);
        if (r == 0)
                r = try_command(setup, command, &result);
        if (r == 0 && result.status != 0)
                r = steps_fail(steps, CB_FAILED, "%s",
                               *result.errors ? result.errors : *result.output ? result.output : result.why);
        unit_result_deinit(&result);
        return r;
}

/* As whom: a worker that runs; else whom the gateway's package has for it. */
static int find_worker(GatewaySetup *setup, Process *ret_worker)
{
        const char *name = arguments_value(setup->cli->arguments, "--user");
        const struct passwd *user;
        gid_t groups[64];
        int n = ELEMENTSOF(groups);
        size_t length = 0;

        if (!name && process_find_worker(setup->unit.cgroup, ret_worker) == 0)
                return 0;
        name = name ? name : setup->kind->user;
        user = getpwnam(name);
        if (!user)
                return cli_fail(setup->cli, CB_NOT_FOUND,
                                "There is no user %s on this host: --user names the one of the "
                                "gateway's workers.",
                                name);
        *ret_worker = (Process){ .uid = user->pw_uid, .gid = user->pw_gid };
        if (getgrouplist(name, user->pw_gid, groups, &n) < 0)
                n = 0;
        for (int i = 0; i < n && length < sizeof(ret_worker->groups) - 12; i++)
                length += (size_t)snprintf(ret_worker->groups + length, 12, "%s%u", i ? "," : "",
                                           (unsigned)groups[i]);
        return 0;
}

static int add_number(char **command, const char *option, unsigned number)
{
        char text[16];

        (void)snprintf(text, sizeof(text), "%u", number);
        return unit_quote(command, option) || unit_quote(command, text);
}

static int handshake_command(GatewaySetup *setup, const Process *worker, char **ret_command)
{
        CLEANUP(free_text) char *helper = NULL;
        bool is_root = !*setup->unit.user || strcmp(setup->unit.user, "root") == 0;
        char cgroup[512], path[300];
        int r;

        *ret_command = NULL;
        r = companion_find(setup->cli, "certbroker-handshake", &helper);
        if (r)
                return r;
        (void)snprintf(path, sizeof(path), "%s/credential.pem", setup->folder);
        process_cgroup_file(setup->unit.cgroup, cgroup);
        r = unit_quote(ret_command, helper);
        if (r == 0)
                r = unit_quote(ret_command, "--cgroup") || unit_quote(ret_command, cgroup);
        if (r == 0 && is_root)
                r = add_number(ret_command, "--uid", worker->uid) ||
                    add_number(ret_command, "--gid", worker->gid) ||
                    unit_quote(ret_command, "--groups") || unit_quote(ret_command, worker->groups);
        if (r == 0 && is_root && *worker->root)
                r = unit_quote(ret_command, "--root") || unit_quote(ret_command, worker->root);
        if (r == 0 && setup->has_credential)
                r = unit_quote(ret_command, path);
        return r ? cli_out_of_memory(setup->cli) : 0;
}

static int judge(Steps *steps, UnitResult *result)
{
        const char *why = strstr(result->output, "failed\t"), *note = strstr(result->output, "note\t");

        if (note)
                steps_say(steps, "%.*s", (int)strcspn(note + 5, "\n"), note + 5);
        if (result->status == 0 && !why && strstr(result->output, "ok"))
                return 0;
        if (why)
                return steps_fail(steps, CB_FAILED, "%.*s%s", (int)strcspn(why + 7, "\n"), why + 7,
                                  strncmp(why + 7, SHAKING, strlen(SHAKING)) == 0
                                          ? " (what its user may do is in the grants of "
                                            "certbroker.conf)"
                                          : "");
        return steps_fail(steps, CB_FAILED, "certbroker-handshake ends with status %d: %s",
                          result->status, *result->errors ? result->errors : result->why);
}

static int try_handshake(Steps *steps, GatewaySetup *setup)
{
        CLEANUP(free_text) char *command = NULL;
        UnitResult result = { 0 };
        Process worker = { 0 };
        int r;

        r = find_worker(setup, &worker);
        if (r == 0 && setup->has_credential)
                r = steps_begin(steps,
                                "a handshake with the environment of %s, as its worker (user %u%s%s)",
                                setup->unit.name, (unsigned)worker.uid, *worker.root ? ", in " : "",
                                worker.root);
        else if (r == 0)
                r = steps_begin(steps, "the provider, loaded with the environment of %s",
                                setup->unit.name);
        if (r == 0)
                r = handshake_command(setup, &worker, &command);
        if (r == 0)
                r = try_command(setup, command, &result);
        if (r == 0)
                r = judge(steps, &result);
        unit_result_deinit(&result);
        return r;
}

/* ------------------------------------------------------------------ in force */

static int undo_force(Undo *undo)
{
        GatewaySetup *setup = undo->userdata;
        char why[UNIT_WHY_MAX];
        int r;

        if (!setup->is_touched)
                return 0;
        r = unit_command(setup->cli, "daemon-reload", NULL, why);
        if (r == 0 && setup->unit.is_active)
                r = unit_command(setup->cli, "restart", setup->unit.name, why);
        return r > 0 ? -EIO : r;
}

static int restart(Steps *steps, GatewaySetup *setup)
{
        char why[UNIT_WHY_MAX], words[UNIT_WHY_MAX];
        int r;

        if (setup->unit.is_active)
                r = steps_begin(steps, "systemctl restart %s (a reload does not change its environment)",
                                setup->unit.name);
        else
                r = steps_begin(steps, "systemctl daemon-reload (%s does not run: nothing to restart)",
                                setup->unit.name);
        if (r)
                return r;
        setup->is_touched = true;
        r = unit_command(setup->cli, "daemon-reload", NULL, why);
        if (r == 0 && setup->unit.is_active)
                r = unit_command(setup->cli, "restart", setup->unit.name, why);
        if (r <= 0)
                return r;
        unit_last_words(setup->unit.name, words);
        return steps_fail(steps, CB_FAILED, "%s%s%s", why, *words ? "; the journal says: " : "", words);
}

/* Whether the gateway's own processes have it now. */
static int look_at_it(Steps *steps, GatewaySetup *setup)
{
        Unit now = { 0 };
        int r;

        if (!setup->unit.is_active)
                return 0;
        r = unit_read(setup->cli, setup->unit.name, &now);
        if (r == 0 && !now.is_active)
                r = steps_fail(steps, CB_FAILED, "%s does not run any more", setup->unit.name);
        else if (r == 0)
                steps_say(steps, process_has_mapped(now.cgroup, "certbroker.so")
                                         ? "its process has loaded the provider"
                                         : "its process has not loaded the provider yet: some do when "
                                           "their configuration first names a key");
        unit_deinit(&now);
        return r;
}

static int put_into_force(Steps *steps, GatewaySetup *setup)
{
        const StepFile file = { setup->drop_in, 0644, 0, 0 };
        CLEANUP(free_text) char *folder = strdup(setup->drop_in);
        int r;

        if (!folder)
                return cli_out_of_memory(setup->cli);
        *strrchr(folder, '/') = '\0';
        r = steps_on_undo(steps, undo_force, setup, "what systemd was told");
        if (r == 0)
                r = gateway_import(steps, setup);
        if (r == 0)
                r = steps_begin(steps, "%s", setup->drop_in);
        if (r == 0)
                r = steps_make_folder(steps, &(StepFile){ folder, 0755, 0, 0 });
        if (r == 0)
                r = steps_write(steps, &file, setup->text, strlen(setup->text));
        if (r == 0)
                r = restart(steps, setup);
        return r ? r : look_at_it(steps, setup);
}

/* ------------------------------------------------------------------ the verb */

static int confirm(GatewaySetup *setup, const char *what)
{
        char question[400];
        bool yes = true;
        int r = 0;

        (void)snprintf(question, sizeof(question), "%s%s%s%s?", what,
                       setup->unit.is_active ? ", and restart " : "",
                       setup->unit.is_active ? setup->unit.name : "",
                       setup->unit.is_active ? " (its connections end)" : "");
        if (prompt_can() && !arguments_has(setup->cli->arguments, "--yes"))
                r = prompt_yes(setup->cli, question, true, &yes);
        return r == 0 && !yes ? cli_fail(setup->cli, CB_FAILED, "Nothing was changed.") : r;
}

static int tell(GatewaySetup *setup, const char *done)
{
        if (setup->cli->arguments->json)
                return show_document(setup->cli,
                                     json_pack("{s:s, s:s, s:s, s:s, s:b}", "gateway", setup->kind->name,
                                               "unit", setup->unit.name, "done", done, "file",
                                               setup->drop_in, "handshake", setup->has_credential));
        (void)printf("%s: %s.\n", setup->unit.name, done);
        if (strcmp(done, "removed") == 0)
                return 0;
        if (!setup->has_credential)
                (void)puts("No handshake was made: --backend NAME or --certificate ID names a key to make "
                           "one with.");
        (void)printf("By hand, %s's own tools need it too: OPENSSL_CONF=" OPENSSL_CNF "\n",
                     setup->kind->name);
        return 0;
}

static int add(GatewaySetup *setup)
{
        Steps steps;
        int r;

        r = check_place(setup);
        if (r == 0)
                r = get_credential(setup);
        if (r == 0 && !setup->is_there)
                r = confirm(setup, "Give it OPENSSL_CONF by a drop-in");
        if (r)
                return r;
        steps_init(&steps, setup->cli);
        if (setup->is_there)
                steps_say(&steps, "%s is there already", setup->drop_in);
        r = try_handshake(&steps, setup);
        if (r == 0 && !setup->is_there)
                r = test_configuration(&steps, setup);
        if (r == 0 && !setup->is_there)
                r = put_into_force(&steps, setup);
        r = steps_end(&steps, r);
        return r ? r : tell(setup, setup->is_there ? "was set up already" : "set up");
}

static int take_away(GatewaySetup *setup)
{
        Steps steps;
        int found = look_at_drop_in(setup), r;

        if (found == 0)
                return cli_fail(setup->cli, CB_NOT_FOUND, "There is no %s.", setup->drop_in);
        if (found == 3 && !arguments_has(setup->cli->arguments, "--replace"))
                return cli_fail(setup->cli, CB_ALREADY_EXISTS,
                                "%s is none that setup has made, and stays as it is.", setup->drop_in);
        r = confirm(setup, "Remove its drop-in");
        if (r)
                return r;
        setup->is_removal = true;
        steps_init(&steps, setup->cli);
        r = setup->unit.is_active ? test_configuration(&steps, setup) : 0;
        if (r == 0)
                r = steps_on_undo(&steps, undo_force, setup, "what systemd was told");
        if (r == 0)
                r = steps_begin(&steps, "%s, removed", setup->drop_in);
        if (r == 0)
                r = steps_remove(&steps, setup->drop_in);
        if (r == 0 && gateway_import_file(setup))
                r = steps_remove(&steps, gateway_import_file(setup));
        if (r == 0)
                r = restart(&steps, setup);
        r = steps_end(&steps, r);
        return r ? r : tell(setup, "removed");
}

static int print_plan(GatewaySetup *setup)
{
        if (setup->cli->arguments->json)
                return show_document(setup->cli,
                                     json_pack("{s:s, s:[{s:s, s:s}]}", "gateway", setup->kind->name,
                                               "files", "path", setup->drop_in, "text", setup->text));
        (void)printf("==> %s\n%s\n", setup->drop_in, setup->text);
        if (setup->kind->import != IMPORT_NONE)
                (void)printf("and %s's import_environment with OPENSSL_CONF and CERTBROKER_BUS beside "
                             "what it has\n",
                             setup->kind->name);
        (void)printf("then: systemctl daemon-reload && systemctl restart %s\n", setup->unit.name);
        return 0;
}

static int set_up(GatewaySetup *setup)
{
        bool is_dry = arguments_has(setup->cli->arguments, "--dry-run");
        int r;

        if (is_dry && !unit_manager_is_there())
                setup->unit.name = strdup(arguments_value(setup->cli->arguments, "--unit")
                                                  ?: setup->kind->units[0]);
        r = is_dry ? 0 : setup_check_host(setup->cli);
        if (r == 0 && !setup->unit.name)
                r = find_unit(setup);
        if (r == 0)
                r = make_text(setup);
        if (r)
                return r;
        if (is_dry)
                return print_plan(setup);
        r = setup_make_folder(setup->cli, &setup->folder);
        if (r)
                return r;
        return arguments_has(setup->cli->arguments, "--remove") ? take_away(setup) : add(setup);
}

int verb_setup_gateway(Cli *cli, const Arguments *arguments)
{
        GatewaySetup setup = { .cli = cli };
        CLEANUP(close_fd) int fd = -1;
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strcmp(kinds[i].name, arguments->positionals[0]) == 0)
                        setup.kind = &kinds[i];
        if (!setup.kind)
                return cli_usage(cli, "The gateways are nginx, haproxy, apache, stunnel, postfix and "
                                      "dovecot; --unit names a unit of another name.");
        if (!arguments_has(arguments, "--dry-run") && geteuid() == 0 && unit_manager_is_there())
                r = setup_lock(cli, &fd);
        if (r == 0)
                r = set_up(&setup);
        unit_forget_trials(cli);
        if (setup.folder)
                setup_remove_folder(setup.folder);
        unit_deinit(&setup.unit);
        free(setup.folder);
        free(setup.drop_in);
        free(setup.text);
        free(setup.old_import);
        return r;
}

const Option gateway_setup_options[] = {
        { "--backend", "BACKEND", "make the handshake with this backend's certificate", false, false },
        { "--certificate", "ID", "or with this certificate", false, false },
        { "--unit", "UNIT", "its unit, where that has another name", false, false },
        { "--user", "USER", "of its workers, where none runs", false, false },
        { "--remove", NULL, "take away what setup has written", false, false },
        { "--replace", NULL, "also in place of a drop-in that is there", false, false },
        { "--dry-run", NULL, "print what would be written, and do nothing", false, false },
        { "--yes", NULL, "do not ask whether to go on", false, false },
        { NULL },
};
