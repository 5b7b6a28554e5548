/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of `certbroker backend`. `create` and `set` take the same options: each row of settings
 * says which property an option is, and of which type; what is not given is not sent.
 */
#include <string.h>
#include <time.h>

#include "check.h"
#include "show.h"
#include "text.h"
#include "watch.h"

static const Field list_fields[] = {
        { "NAME", "Name", FORMAT_TEXT },
        { "URL", "Url", FORMAT_TEXT },
        { "CERTIFICATE", "Certificate", FORMAT_TEXT },
        { "CHAIN VERIFIED", "ValidateChain", FORMAT_TEXT },
        { "NAME VERIFIED", "ValidateName", FORMAT_TEXT },
        { NULL },
};

static const Field show_fields[] = {
        { "Name:", "Name", FORMAT_TEXT },
        { "URL:", "Url", FORMAT_TEXT },
        { "Certificate:", "Certificate", FORMAT_TEXT },
        { "Chain is verified:", "ValidateChain", FORMAT_TEXT },
        { "Name is verified:", "ValidateName", FORMAT_TEXT },
        { "Further names:", "ServerNames", FORMAT_PLENTY },
        { "Trusted authorities:", "CaFile", FORMAT_TEXT },
        { "Pinned thumbprints:", "ServerThumbprints", FORMAT_PLENTY },
        { "Skipped because:", "SkipReason", FORMAT_TEXT },
        { "Skipped until:", "SkipUntil", FORMAT_TIME },
        { NULL },
};

typedef enum Kind { KIND_STRING, KIND_STRINGS, KIND_TRUE, KIND_FALSE, KIND_DATE } Kind;

static const struct {
        const char *option, *property;
        Kind kind;
} settings[] = {
        { "--url", "Url", KIND_STRING },
        { "--certificate", "Certificate", KIND_STRING },
        { "--validate-chain", "ValidateChain", KIND_TRUE },
        { "--no-validate-chain", "ValidateChain", KIND_FALSE },
        { "--validate-name", "ValidateName", KIND_TRUE },
        { "--no-validate-name", "ValidateName", KIND_FALSE },
        { "--server-name", "ServerNames", KIND_STRINGS },
        { "--server-thumbprint", "ServerThumbprints", KIND_STRINGS },
        { "--ca-file", "CaFile", KIND_STRING },
        { "--skip-reason", "SkipReason", KIND_STRING },
        { "--skip-until", "SkipUntil", KIND_DATE },
};

static int add_date(Cli *cli, cb_dict *dict, const char *property, const char *text)
{
        uint64_t date = 0;

        if (*text && time_parse(text, (uint64_t)time(NULL), &date))
                return cli_usage(cli,
                                 "%s is no date. Write 2027-01-31, 2027-01-31T12:00:00Z or +30d.",
                                 text);
        return cb_dict_set_uint64(dict, property, date);
}

/* "--server-name ''" makes the list empty. */
static int add_strings(Cli *cli, cb_dict *dict, const char *option, const char *property)
{
        const char *values[OPTIONS_MAX];
        size_t n = arguments_values(cli->arguments, option, values);

        if (n == 1 && !*values[0])
                n = 0;
        return cb_dict_set_strings(dict, property, values, n);
}

static int add_setting(Cli *cli, cb_dict *dict, size_t i)
{
        const char *value = arguments_value(cli->arguments, settings[i].option);

        switch (settings[i].kind) {
        case KIND_STRING:
                return cb_dict_set_string(dict, settings[i].property, value);
        case KIND_STRINGS:
                return add_strings(cli, dict, settings[i].option, settings[i].property);
        case KIND_TRUE:
                return cb_dict_set_boolean(dict, settings[i].property, true);
        case KIND_FALSE:
                return cb_dict_set_boolean(dict, settings[i].property, false);
        case KIND_DATE:
                return add_date(cli, dict, settings[i].property, value);
        }
        return 0;
}

static int get_settings(Cli *cli, cb_dict **ret_dict)
{
        CLEANUP(cb_dict_freep) cb_dict *dict = NULL;

        if (cb_dict_new(&dict))
                return cli_out_of_memory(cli);
        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                int r;

                if (!arguments_has(cli->arguments, settings[i].option))
                        continue;
                r = add_setting(cli, dict, i);
                if (r == CB_INVALID_ARGUMENT)
                        return cli_fail(cli, r, "%s is not UTF-8 text.", settings[i].option);
                if (r)
                        return r < 0 ? cli_out_of_memory(cli) : r;
        }
        *ret_dict = TAKE(dict);
        return 0;
}

static int check_opposites(Cli *cli)
{
        static const char *const opposites[][2] = {
                { "--validate-chain", "--no-validate-chain" },
                { "--validate-name", "--no-validate-name" },
        };

        for (size_t i = 0; i < ELEMENTSOF(opposites); i++)
                if (arguments_has(cli->arguments, opposites[i][0]) &&
                    arguments_has(cli->arguments, opposites[i][1]))
                        return cli_usage(cli, "%s and %s exclude each other.", opposites[i][0],
                                         opposites[i][1]);
        return 0;
}

static int show_backend(Cli *cli, const char *name, const char *done)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const cb_value *properties;
        int r;

        r = ask_properties(cli, "backend", name, &reply, &properties);
        if (r)
                return r;
        if (!done || cli->arguments->json)
                return show_sheet(cli, show_fields, properties);
        return show_done(cli, "backend", name, "%s %s: %s with certificate %s.", name, done,
                         cb_value_string(cb_value_get(properties, "Url"), "?"),
                         cb_value_string(cb_value_get(properties, "Certificate"), "?"));
}

static int verb_list(Cli *cli, const Arguments *arguments)
{
        return show_objects(cli, "backend", list_fields);
}

static int verb_show(Cli *cli, const Arguments *arguments)
{
        return show_backend(cli, arguments->positionals[0], NULL);
}

static int verb_create(Cli *cli, const Arguments *arguments)
{
        const char *name = arguments->positionals[0];
        CLEANUP(cb_dict_freep) cb_dict *dict = NULL;
        int r;

        r = check_opposites(cli);
        if (r == 0)
                r = get_settings(cli, &dict);
        if (r == 0)
                r = cb_call(cli->client, &(cb_method){ .member = "CreateBackend" }, NULL,
                            &cli->error, "sa{sv}", name, dict);
        return r ? r : show_backend(cli, name, "created");
}

static int verb_set(Cli *cli, const Arguments *arguments)
{
        const char *name = arguments->positionals[0];
        CLEANUP(cb_dict_freep) cb_dict *dict = NULL;
        int r;

        if (arguments->n_options == 0)
                return cli_usage(cli, "What shall be set? Give at least one option.");
        r = check_opposites(cli);
        if (r == 0)
                r = get_settings(cli, &dict);
        if (r == 0)
                r = ask_object(cli, "backend", name, "Change", NULL, "a{sv}", dict);
        return r ? r : show_backend(cli, name, "changed");
}

static int verb_delete(Cli *cli, const Arguments *arguments)
{
        const char *name = arguments->positionals[0];
        int r = ask_object(cli, "backend", name, "Delete", NULL, "");

        return r ? r : show_done(cli, "backend", name, "%s deleted.", name);
}

#define SETTING_OPTIONS(needed)                                                                    \
        { "--url", "URL", "where the service is: https://HOST[:PORT][/PATH]", needed },            \
                { "--certificate", "ID", "the certificate to present there (or its thumbprint)",   \
                  needed },                                                                        \
                { "--no-validate-chain", NULL,                                                     \
                  "do not verify the backend's chain (see --skip-reason)" },                       \
                { "--validate-chain", NULL, "verify it (as from the beginning)" },                 \
                { "--no-validate-name", NULL,                                                      \
                  "do not verify the backend's name (see --skip-reason)" },                        \
                { "--validate-name", NULL, "verify it (as from the beginning)" },                  \
                { "--server-name", "NAME", "a name to accept besides the URL's host", false,       \
                  true },                                                                          \
                { "--server-thumbprint", "HASH",                                                   \
                  "accept just this certificate, by its SHA-256 in hex: the safe way for a "       \
                  "self-signed one",                                                               \
                  false, true },                                                                   \
                { "--ca-file", "FILE", "trust these authorities (PEM); else the system's" },       \
                { "--skip-reason", "TEXT", "why a verification is switched off" },                 \
        {                                                                                          \
                "--skip-until", "DATE", "when it is on again: 2027-01-31, or +30d from now"        \
        }

static const Option create_options[] = { SETTING_OPTIONS(true), { NULL } };
static const Option set_options[] = { SETTING_OPTIONS(false), { NULL } };

const Verb backend_verbs[] = {
        { "list",
          { NULL },
          NULL,
          verb_list,
          "List the backends",
          "A backend is a service that gateways call, bound to the certificate that they present "
          "there\n"
          "and to how its own certificate is verified.",
          "certbroker backend list" },
        { "show",
          { "NAME" },
          NULL,
          verb_show,
          "Show all that is known of one",
          "With what is verified, what is not, why, and until when.",
          "certbroker backend show orders-api" },
        { "create",
          { "NAME" },
          create_options,
          verb_create,
          "Bind a service to a certificate",
          "From then on a gateway gets the certificate, its key's reference and the verification "
          "settings\n"
          "for NAME. A list option may be given several times.",
          "certbroker backend create orders-api --url https://orders.example:8443 "
          "--certificate orders" },
        { "set",
          { "NAME" },
          set_options,
          verb_set,
          "Change it, at once",
          "Only what is given changes. An empty value ('') takes a text or a list away.",
          "certbroker backend set orders-api --certificate orders-2027" },
        { "delete",
          { "NAME" },
          NULL,
          verb_delete,
          "Forget it",
          "Its certificate stays.",
          "certbroker backend delete orders-api" },
        { "check",
          { "NAME" },
          NULL,
          verb_backend_check,
          "Connect to it with its credential",
          "Connects to the backend as a gateway would, and tells what the backend presented, what "
          "was\n"
          "verified and how, and what it asked for; or why it would not work (exit status 1).",
          "certbroker backend check orders-api" },
        { "watch",
          { "NAME" },
          backend_watch_options,
          verb_backend_watch,
          "Keep a gateway's files up to date",
          "Writes the certificate's chain and the key's reference now and at each change, then "
          "runs "
          "CMD,\n"
          "again and again until it succeeds; survives restarts of certbrokerd and of the bus. "
          "Runs "
          "until\n"
          "SIGTERM. --conf writes the gateway's own directives too; where the gateway cannot "
          "verify "
          "as\n"
          "much as the backend's settings ask for, nothing is written and it ends with exit status "
          "1.",
          "certbroker backend watch orders-api --chain /etc/nginx/orders.crt --key "
          "/etc/nginx/orders.key \\\n"
          "    --conf /etc/nginx/orders.conf --for nginx --exec 'systemctl reload nginx'" },
        { NULL },
};
