/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Postfix and Dovecot give the processes that they start an environment of their own, with the variables that
 * import_environment names: ours are added to those that are there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway-inside.h"
#include "program.h"

#define VARIABLES    "OPENSSL_CONF CERTBROKER_BUS"
#define DOVECOT_FILE "/etc/dovecot/conf.d/99-certbroker.conf"

static int run_tool(Steps *steps, const char *const *argv, char **ret_output)
{
        Program program = { 0 };
        int r = program_run(argv, -1, &program);

        if (r)
                r = steps_fail(steps, r, "%s cannot be run: %s", argv[0], strerror(-r));
        else if (program.status != 0)
                r = steps_fail(steps, CB_FAILED, "%s", program_complaint(&program));
        else if (ret_output) {
                program.output[strcspn(program.output, "\n")] = '\0';
                *ret_output = TAKE(program.output);
        }
        program_deinit(&program);
        return r;
}

static int undo_postfix(Undo *undo)
{
        GatewaySetup *setup = undo->userdata;
        CLEANUP(free_text) char *line = NULL;
        const char *argv[] = { "postconf", setup->is_import_set ? "-e" : "-X", "import_environment",
                               NULL };
        Program program = { 0 };
        int r;

        if (setup->is_import_set) {
                if (asprintf(&line, "import_environment=%s", setup->old_import) < 0) {
                        line = NULL;
                        return -ENOMEM;
                }
                argv[2] = line;
        }
        r = program_run(argv, -1, &program);
        if (r == 0 && program.status != 0)
                r = -EIO;
        program_deinit(&program);
        return r;
}

static int import_postfix(Steps *steps, GatewaySetup *setup)
{
        const char *is_set[] = { "postconf", "-n", "import_environment", NULL };
        CLEANUP(free_text) char *line = NULL;
        CLEANUP(free_text) char *set = NULL;
        const char *change[] = { "postconf", "-e", NULL, NULL };
        int r;

        r = run_tool(steps, is_set, &set);
        if (r)
                return r;
        setup->is_import_set = *set;
        if (asprintf(&line, "import_environment=%s " VARIABLES, setup->old_import) < 0) {
                line = NULL;
                return cli_out_of_memory(setup->cli);
        }
        change[2] = line;
        r = steps_on_undo(steps, undo_postfix, setup, "import_environment in main.cf");
        return r ? r : run_tool(steps, change, NULL);
}

/* 0: there is no such file; 1: setup has written it; 2: somebody else has. */
static int whose_file(const char *path)
{
        char begun[sizeof(MARK)] = "";
        FILE *from = fopen(path, "re");

        if (!from)
                return 0;
        begun[fread(begun, 1, sizeof(begun) - 1, from)] = '\0';
        (void)fclose(from);
        return strcmp(begun, MARK) == 0 ? 1 : 2;
}

static int import_dovecot(Steps *steps, GatewaySetup *setup)
{
        const StepFile file = { DOVECOT_FILE, 0644, 0, 0 };
        CLEANUP(free_text) char *text = NULL;

        if (whose_file(DOVECOT_FILE) == 2)
                return steps_fail(steps, CB_ALREADY_EXISTS,
                                  "%s is there already, and stays as it is: add " VARIABLES
                                  " to its import_environment",
                                  DOVECOT_FILE);
        if (asprintf(&text, MARK " dovecot`.\nimport_environment = %s " VARIABLES "\n",
                     setup->old_import) < 0) {
                text = NULL;
                return cli_out_of_memory(setup->cli);
        }
        return steps_write(steps, &file, text, strlen(text));
}

int gateway_import(Steps *steps, GatewaySetup *setup)
{
        const char *ask[] = { setup->kind->import == IMPORT_POSTFIX ? "postconf" : "doveconf", "-h",
                              "import_environment", NULL };
        int r;

        if (setup->kind->import == IMPORT_NONE)
                return 0;
        r = steps_begin(steps, "%s's import_environment: it gives what it starts no other variables",
                        setup->kind->name);
        if (r == 0)
                r = run_tool(steps, ask, &setup->old_import);
        if (r || strstr(setup->old_import, "OPENSSL_CONF"))
                return r;
        return setup->kind->import == IMPORT_POSTFIX ? import_postfix(steps, setup)
                                                     : import_dovecot(steps, setup);
}

const char *gateway_import_file(const GatewaySetup *setup)
{
        return setup->kind->import == IMPORT_DOVECOT && whose_file(DOVECOT_FILE) == 1 ? DOVECOT_FILE
                                                                                      : NULL;
}
