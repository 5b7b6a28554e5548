/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a source is to be: by options, and where there is a terminal, by asking for what they do not say. Nothing is written
 * here. Without a terminal the first thing that is missing is a usage error, with the option that says it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "prompt.h"
#include "secret.h"
#include "setup.h"
#include "text.h"

#define LABEL_MAX 32 /* bytes of a token's label in PKCS#11 */

int setup_set(SetupSource *setup, const char *key, const char *value)
{
        SetupSetting *setting = &setup->settings[setup->n_settings];

        if (!value || !*value)
                return 0;
        if (setup->n_settings == SETTINGS_MAX)
                return cli_usage(setup->cli, "These are too many settings.");
        *setting = (SetupSetting){ .key = strdup(key), .value = strdup(value) };
        setup->n_settings++;
        return setting->key && setting->value ? 0 : cli_out_of_memory(setup->cli);
}

const char *setup_setting(const SetupSource *setup, const char *key)
{
        for (size_t i = 0; i < setup->n_settings; i++)
                if (strcmp(setup->settings[i].key, key) == 0)
                        return setup->settings[i].value;
        return NULL;
}

/* By its option; else asked for, with a fallback (NULL: it is needed; "": it may be left out). */
static int get(SetupSource *setup, const char *option, const char *question, const char *fallback,
               char **ret_value)
{
        const char *value = arguments_value(setup->cli->arguments, option);

        if (value) {
                *ret_value = strdup(value);
                return *ret_value ? 0 : cli_out_of_memory(setup->cli);
        }
        if (prompt_can() && question)
                return prompt_line(setup->cli, question, fallback, ret_value);
        if (!fallback)
                return cli_usage(setup->cli, "%s is missing, and there is no terminal to ask for it on.",
                                 option);
        *ret_value = strdup(fallback);
        return *ret_value ? 0 : cli_out_of_memory(setup->cli);
}

static int get_setting(SetupSource *setup, const char *key, const char *option, const char *question,
                       const char *fallback)
{
        CLEANUP(free_text) char *value = NULL;
        int r = get(setup, option, question, fallback, &value);

        return r ? r : setup_set(setup, key, value);
}

/* ------------------------------------------------------------------ what kind */

static int get_kind(SetupSource *setup)
{
        static const Choice kinds[_SETUP_KIND_N] = {
                [SETUP_SOFTHSM] = { "softhsm", (char *)(uintptr_t)"a new token in files of this host" },
                [SETUP_TOKEN] = { "pkcs11",
                                  (char *)(uintptr_t)"a token that is there: an HSM, a smart card" },
                [SETUP_VAULT] = { "azure-key-vault", (char *)(uintptr_t)"a key vault of Azure" },
        };
        const char *word = arguments_value(setup->cli->arguments, "--kind");
        const Choice *choice = NULL;
        int r = 0;

        for (size_t i = 0; word && i < _SETUP_KIND_N; i++)
                if (strcmp(word, kinds[i].word) == 0)
                        choice = &kinds[i];
        if (word && !choice)
                return cli_usage(setup->cli, "--kind is softhsm, pkcs11 or azure-key-vault.");
        if (!choice && !prompt_can())
                return cli_usage(setup->cli,
                                 "--kind is missing, and there is no terminal to ask for it on: "
                                 "softhsm, pkcs11 or azure-key-vault.");
        if (!choice)
                r = prompt_choice(setup->cli, "Where are the keys to live?", kinds, _SETUP_KIND_N,
                                  &choice);
        if (r == 0)
                setup->kind = (SetupKind)(choice - kinds);
        return r;
}

/* ------------------------------------------------------------------ SoftHSM */

static const char *const softhsm_modules[] = {
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/lib64/libsofthsm2.so",
};

static const char *find_softhsm(void)
{
        for (size_t i = 0; i < ELEMENTSOF(softhsm_modules); i++)
                if (access(softhsm_modules[i], R_OK) == 0)
                        return softhsm_modules[i];
        return NULL;
}

static int encode_label(const char *label, char **ret_uri)
{
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        static const char begin[] = "pkcs11:token=";
        char *uri = malloc(sizeof(begin) + strlen(label) * 3);
        size_t n = strlen(begin);

        if (!uri)
                return -ENOMEM;
        memcpy(uri, begin, sizeof(begin));
        for (; *label; label++)
                n += (size_t)snprintf(uri + n, 4, strchr(plain, *label) ? "%c" : "%%%02X",
                                      (unsigned char)*label);
        *ret_uri = uri;
        return 0;
}

static int plan_softhsm(SetupSource *setup)
{
        const char *module = arguments_value(setup->cli->arguments, "--module");
        CLEANUP(free_text) char *uri = NULL;
        int r;

        if (!module)
                module = find_softhsm();
        if (!module)
                return cli_fail(setup->cli, CB_FAILED,
                                "SoftHSM is not installed here: its module libsofthsm2.so is in none of "
                                "the usual places. Install it (apt install softhsm2), or name it "
                                "with --module.");
        r = get(setup, "--token", NULL, setup->name, &setup->label);
        if (r)
                return r;
        if (!*setup->label || strlen(setup->label) > LABEL_MAX)
                return cli_usage(setup->cli, "A token's label has 1 to %d bytes: --token.", LABEL_MAX);
        if (encode_label(setup->label, &uri))
                return cli_out_of_memory(setup->cli);
        setup->secret_key = "pin-file";
        r = setup_set(setup, "driver", "pkcs11");
        if (r == 0)
                r = setup_set(setup, "uri", uri);
        if (r == 0)
                r = setup_set(setup, "module", module);
        if (r)
                return r;
        /* Nobody needs to know it: it goes from here to its file. */
        return arguments_has(setup->cli->arguments, "--pin-file")
                       ? secret_open_option(setup->cli, "--pin-file", "PIN", SECRET_ONCE, &setup->secret)
                       : secret_make(setup->cli, &setup->secret);
}

/* ------------------------------------------------------------------ a token that is there */

static char *describe(const FoundToken *token)
{
        char *text = NULL;

        if (asprintf(&text, "serial number %s, by %s%s", token->serial, token->module,
                     strcmp(token->state, "ready") == 0 ? "" : "; it has no PIN yet") < 0)
                return NULL;
        return text;
}

/* What is there, in a failure's sentence. */
static void list_labels(const FoundTokens *found, char *ret_text, size_t n_max)
{
        size_t n = 0;

        ret_text[0] = '\0';
        for (size_t i = 0; i < found->n && n < n_max; i++)
                if (*found->tokens[i].label)
                        n += (size_t)snprintf(ret_text + n, n_max - n, "%s%s", n ? ", " : "",
                                              found->tokens[i].label);
        if (!n)
                (void)snprintf(ret_text, n_max, "none");
}

static int no_such_token(SetupSource *setup, const FoundTokens *found, const char *label)
{
        char labels[512];

        list_labels(found, labels, sizeof(labels));
        return cli_fail(setup->cli, CB_NOT_FOUND,
                        "There is no token %s that certbrokerd could see. There are: %s.%s%s%s Is it "
                        "plugged in, and may the user of certbrokerd use it?",
                        label, labels, *found->failures ? " What did not answer: " : "",
                        found->failures, *found->failures ? "." : "");
}

static int take_token(SetupSource *setup, const FoundToken *token, bool is_alone)
{
        CLEANUP(free_text) char *uri = NULL;
        int r;

        if (strcmp(token->state, "ready") != 0)
                return cli_fail(setup->cli, CB_FAILED,
                                "The token %s has no PIN of its user yet: initialise it with its "
                                "maker's own tool first.",
                                token->label);
        if (asprintf(&uri, "pkcs11:token=%s%s%s", token->encoded_label, is_alone ? "" : ";serial=",
                     is_alone ? "" : token->encoded_serial) < 0) {
                uri = NULL;
                return cli_out_of_memory(setup->cli);
        }
        r = setup_set(setup, "uri", uri);
        return r ? r : setup_set(setup, "module", token->module);
}

/* By --token and --serial. */
static int match_token(SetupSource *setup, const FoundTokens *found, const char *label)
{
        const char *serial = arguments_value(setup->cli->arguments, "--serial");
        const FoundToken *match = NULL;
        size_t n_label = 0, n = 0;

        for (size_t i = 0; i < found->n; i++) {
                if (strcmp(found->tokens[i].label, label) != 0)
                        continue;
                n_label++;
                if (serial && strcmp(found->tokens[i].serial, serial) != 0)
                        continue;
                match = &found->tokens[i];
                n++;
        }
        if (n == 0)
                return no_such_token(setup, found, label);
        if (n > 1)
                return cli_usage(setup->cli,
                                 "There are %zu tokens %s: --serial tells them apart, and --module "
                                 "which module's it is.",
                                 n, label);
        return take_token(setup, match, n_label == 1);
}

static int choose_token(SetupSource *setup, const FoundTokens *found)
{
        Choice *choices = calloc(found->n + 1, sizeof(*choices));
        const Choice *choice = NULL;
        size_t n = 0, n_same = 0;
        int r;

        if (!choices)
                return cli_out_of_memory(setup->cli);
        for (; n < found->n; n++)
                choices[n] = (Choice){ *found->tokens[n].label ? found->tokens[n].label
                                                               : "(not initialised)",
                                       describe(&found->tokens[n]) };
        r = prompt_choice(setup->cli, "Which token?", choices, n, &choice);
        for (size_t i = 0; r == 0 && i < n; i++)
                n_same += strcmp(found->tokens[i].label, found->tokens[choice - choices].label) == 0;
        if (r == 0)
                r = take_token(setup, &found->tokens[choice - choices], n_same == 1);
        for (size_t i = 0; i < n; i++)
                free(choices[i].text);
        free(choices);
        return r;
}

static int plan_found(SetupSource *setup)
{
        const char *module = arguments_value(setup->cli->arguments, "--module");
        const char *label = arguments_value(setup->cli->arguments, "--token");
        FoundTokens found;
        int r;

        if (!label && !prompt_can())
                return cli_usage(setup->cli,
                                 "--token is missing, and there is no terminal to ask for it on.");
        r = setup_find_tokens(setup, module, &found);
        if (r == 0 && label)
                r = match_token(setup, &found, label);
        else if (r == 0 && found.n == 0)
                r = no_such_token(setup, &found, "at all");
        else if (r == 0)
                r = choose_token(setup, &found);
        found_tokens_deinit(&found);
        return r;
}

static int plan_token(SetupSource *setup)
{
        int r = setup_set(setup, "driver", "pkcs11");

        setup->secret_key = "pin-file";
        /* What --dry-run prints needs no host to look at. */
        if (r == 0 && arguments_has(setup->cli->arguments, "--dry-run")) {
                CLEANUP(free_text) char *uri = NULL;
                const char *label = arguments_value(setup->cli->arguments, "--token");

                if (!label)
                        return cli_usage(setup->cli, "--dry-run needs --token.");
                if (encode_label(label, &uri))
                        return cli_out_of_memory(setup->cli);
                r = setup_set(setup, "uri", uri);
                return r ? r
                         : setup_set(setup, "module",
                                     arguments_value(setup->cli->arguments, "--module"));
        }
        if (r == 0)
                r = plan_found(setup);
        return r ? r
                 : secret_open_option(setup->cli, "--pin-file", "PIN of the token", SECRET_ONCE,
                                      &setup->secret);
}

/* ------------------------------------------------------------------ a vault */

static const Choice auths[] = {
        { "managed-identity", (char *)(uintptr_t)"what Azure gives this machine" },
        { "workload-identity", (char *)(uintptr_t)"a token of Kubernetes, in a file" },
        { "client-secret", (char *)(uintptr_t)"an application's secret" },
        { "client-certificate", (char *)(uintptr_t)"a certificate of another source of certbrokerd" },
};

#define MANAGED  1u
#define WORKLOAD 2u
#define SECRET   4u
#define BY_CERT  8u

/* auths: who takes it; needs: who cannot be without. */
static const struct {
        const char *key, *option, *question;
        unsigned auths, needs;
} vault_fields[] = {
        { "tenant-id", "--tenant-id", "Tenant (directory) ID", WORKLOAD | SECRET | BY_CERT,
          SECRET | BY_CERT },
        { "client-id", "--client-id", "Client (application) ID",
          MANAGED | WORKLOAD | SECRET | BY_CERT, SECRET | BY_CERT },
        { "token-file", "--token-file", "File of the federated token", WORKLOAD, 0 },
        { "certificate", "--certificate", "ID of the certificate that it logs in with", BY_CERT,
          BY_CERT },
};

static int get_auth(SetupSource *setup, unsigned *ret_bit)
{
        const char *word = arguments_value(setup->cli->arguments, "--auth");
        const Choice *choice = NULL;
        int r = 0;

        if (!word && prompt_can())
                r = prompt_choice(setup->cli, "How does it log in?", auths, ELEMENTSOF(auths), &choice);
        for (size_t i = 0; r == 0 && !choice && i < ELEMENTSOF(auths); i++)
                if (strcmp(word ? word : auths[0].word, auths[i].word) == 0)
                        choice = &auths[i];
        if (r == 0 && !choice)
                return cli_usage(setup->cli, "--auth is managed-identity, workload-identity, "
                                             "client-secret or client-certificate.");
        if (r == 0)
                *ret_bit = 1u << (choice - auths);
        return r ? r : setup_set(setup, "auth", choice->word);
}

static int plan_vault(SetupSource *setup)
{
        unsigned auth = 0;
        int r;

        r = setup_set(setup, "driver", "azure-key-vault");
        if (r == 0)
                r = get_setting(setup, "uri", "--uri", "Address of the vault (https://…)", NULL);
        if (r == 0)
                r = get_auth(setup, &auth);
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(vault_fields); i++)
                if (vault_fields[i].auths & auth)
                        r = get_setting(setup, vault_fields[i].key, vault_fields[i].option,
                                        vault_fields[i].question,
                                        vault_fields[i].needs & auth ? NULL : "");
        if (r || auth != SECRET)
                return r;
        setup->secret_key = "client-secret-file";
        return arguments_has(setup->cli->arguments, "--dry-run")
                       ? 0
                       : secret_open_option(setup->cli, "--secret-file", "Secret of the client",
                                            SECRET_ONCE, &setup->secret);
}

/* ------------------------------------------------------------------ all of it */

/* A number or a word goes into the file without quotes; nothing else may come in that way. */
static bool is_value(const char *key, const char *value)
{
        bool is_bare = strcmp(key, "sessions") == 0 || strcmp(key, "network") == 0;

        for (const char *p = value; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        return false;
        return !is_bare || text_is_plain(value, "");
}

/* Any other setting of certbroker.conf(5); whether there is such a one is certbrokerd's to say. */
static int take_other(SetupSource *setup, const char *text)
{
        const char *equals = strchr(text, '=');
        CLEANUP(free_text) char *key = equals ? strndup(text, (size_t)(equals - text)) : NULL;

        if (equals && !key)
                return cli_out_of_memory(setup->cli);
        if (!equals || !*key || !equals[1] ||
            strspn(key, "abcdefghijklmnopqrstuvwxyz-") != strlen(key) || !is_value(key, equals + 1))
                return cli_usage(setup->cli, "--set takes KEY=VALUE, as refresh=1h.");
        if (setup_setting(setup, key) || (setup->secret_key && strcmp(key, setup->secret_key) == 0))
                return cli_usage(setup->cli, "--set cannot say %s: it is said already.", key);
        return setup_set(setup, key, equals + 1);
}

static int take_others(SetupSource *setup)
{
        const char *values[OPTIONS_MAX];
        size_t n = arguments_values(setup->cli->arguments, "--set", values);
        int r = 0;

        for (size_t i = 0; r == 0 && i < n; i++)
                r = take_other(setup, values[i]);
        return r;
}

int setup_plan(SetupSource *setup)
{
        static int (*const plans[_SETUP_KIND_N])(SetupSource *setup) = {
                [SETUP_SOFTHSM] = plan_softhsm,
                [SETUP_TOKEN] = plan_token,
                [SETUP_VAULT] = plan_vault,
        };
        int r = get_kind(setup);

        if (r == 0)
                r = plans[setup->kind](setup);
        return r ? r : take_others(setup);
}
