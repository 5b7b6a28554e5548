/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of `certbroker source`. */
#include "secret.h"
#include "show.h"

/* LastError is no error of a source that is ready: a vault's then tells the permissions that were seen. */
static const Field list_fields[] = {
        { "NAME", "Name", FORMAT_TEXT },       { "STATE", "State", FORMAT_TEXT },
        { "DRIVER", "Driver", FORMAT_TEXT },   { "URI", "Uri", FORMAT_TEXT },
        { "NOTES", "LastError", FORMAT_TEXT }, { NULL },
};

static const Field show_fields[] = {
        { "Name:", "Name", FORMAT_TEXT },
        { "State:", "State", FORMAT_TEXT },
        { "Driver:", "Driver", FORMAT_TEXT },
        { "URI:", "Uri", FORMAT_TEXT },
        { "Last ready:", "LastReady", FORMAT_NEVER },
        { "Notes:", "LastError", FORMAT_TEXT },
        { NULL },
};

static int verb_list(Cli *cli, const Arguments *arguments)
{
        return show_objects(cli, "source", list_fields);
}

static int verb_show(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const cb_value *properties;
        int r;

        r = ask_properties(cli, "source", arguments->positionals[0], &reply, &properties);
        return r ? r : show_sheet(cli, show_fields, properties);
}

static int show_state(Cli *cli, const char *name, const char *done)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const cb_value *properties;
        int r;

        r = ask_properties(cli, "source", name, &reply, &properties);
        if (r)
                return r;
        if (cli->arguments->json)
                return show_document(cli, show_json(properties));
        return show_done(cli, "source", name, "%s %s: %s.", name, done,
                         cb_value_string(cb_value_get(properties, "State"), "?"));
}

static int verb_refresh(Cli *cli, const Arguments *arguments)
{
        const char *name = arguments->positionals[0];
        int r = ask_object(cli, "source", name, "Refresh", NULL, "");

        return r ? r : show_state(cli, name, "refreshed");
}

static int verb_unlock(Cli *cli, const Arguments *arguments)
{
        const char *name = arguments->positionals[0];
        CLEANUP(close_fd) int pin = -1;
        int r;

        r = secret_open(cli, "PIN of the token", SECRET_ONCE, &pin);
        if (r == 0)
                r = ask_object(cli, "source", name, "Unlock", NULL, "h", pin);
        return r ? r : show_state(cli, name, "unlocked");
}

static const Option unlock_options[] = { OPTION_PASSPHRASE, { NULL } };

const Verb source_verbs[] = {
        { "list",
          { NULL },
          NULL,
          verb_list,
          "List the sources",
          "A source is a place where keys live: a PKCS#11 token, or a remote key vault. Sources "
          "are\n"
          "configured in certbroker.conf.",
          "certbroker source list" },
        { "show",
          { "NAME" },
          NULL,
          verb_show,
          "Show all that is known of one",
          "With its last error, and since when it is not ready.",
          "certbroker source show hsm" },
        { "refresh",
          { "NAME" },
          NULL,
          verb_refresh,
          "Look at it again now",
          "Tries at once whether it is there, and looks for changes of keys and certificates.",
          "certbroker source refresh hsm" },
        { "unlock",
          { "NAME" },
          unlock_options,
          verb_unlock,
          "Give the PIN of a locked one",
          "A source whose PIN is wrong or missing is `locked`; it is tried once and never again on "
          "its\n"
          "own, since tokens lock themselves after a few wrong PINs. The PIN that you give here is "
          "used\n"
          "until certbrokerd ends.",
          "certbroker source unlock hsm" },
        { NULL },
};
