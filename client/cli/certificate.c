/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of `certbroker certificate` that look and change. Each asks the broker one thing and
 * shows what came back; what is right and what may be done is decided there.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "certificate.h"
#include "file.h"
#include "secret.h"
#include "show.h"
#include "text.h"
#include "waiting.h"

static const Field list_fields[] = {
        { "ID", "Id", FORMAT_TEXT },
        { "STATE", "State", FORMAT_TEXT },
        { "SOURCE", "Source", FORMAT_TEXT },
        { "KEY", "KeyType", FORMAT_TEXT },
        { "GENERATION", "Generation", FORMAT_GENERATION },
        { "EXPIRES", "NotAfter", FORMAT_TIME },
        { "SUBJECT", "Subject", FORMAT_TEXT },
        { NULL },
};

static const Field show_fields[] = {
        { "Id:", "Id", FORMAT_TEXT },
        { "State:", "State", FORMAT_TEXT },
        { "Subject:", "Subject", FORMAT_TEXT },
        { "Names:", "SubjectAltNames", FORMAT_TEXT },
        { "Issuer:", "Issuer", FORMAT_TEXT },
        { "Self-signed:", "SelfSigned", FORMAT_TEXT },
        { "Serial number:", "SerialNumber", FORMAT_TEXT },
        { "Thumbprint (SHA-1):", "Thumbprint", FORMAT_TEXT },
        { "Thumbprint (SHA-256):", "ThumbprintSha256", FORMAT_TEXT },
        { "Not before:", "NotBefore", FORMAT_TIME },
        { "Not after:", "NotAfter", FORMAT_TIME },
        { "Source:", "Source", FORMAT_TEXT },
        { "Key:", "KeyUri", FORMAT_TEXT },
        { "Key type:", "KeyType", FORMAT_TEXT },
        { "Algorithms:", "Algorithms", FORMAT_PLENTY },
        { "Extractable:", "Extractable", FORMAT_TEXT },
        { "Generation:", "Generation", FORMAT_GENERATION },
        { "Generations:", "Generations", FORMAT_GENERATIONS },
        { "Backends:", "Backends", FORMAT_PLENTY },
        { "Last refresh:", "LastRefresh", FORMAT_NEVER },
        { "Next refresh:", "NextRefresh", FORMAT_REFRESH },
        { "Last error:", "LastError", FORMAT_TEXT },
        { NULL },
};

static int tell_waiting(void *userdata, const char *id, uint64_t generation, uint64_t from)
{
        char text[TIME_TEXT_MAX];

        (void)userdata;
        (void)id;
        time_format(from, text);
        if (from != 0 && from <= (uint64_t)time(NULL))
                (void)printf("Generation %" PRIu64 " is valid since %s, and becomes current when its "
                             "key has passed a trial.\n",
                             generation, text);
        else
                (void)printf("Generation %" PRIu64 " becomes current by itself at %s.\n", generation,
                             text);
        return 0;
}

/* ------------------------------------------------------------------ looking */

static void keep_expiring(Objects *certificates, uint64_t before)
{
        size_t n = 0;

        for (size_t i = 0; i < certificates->n_dicts; i++) {
                const cb_value *dict = certificates->dicts[i];
                uint64_t not_after = cb_value_number(cb_value_get(dict, "NotAfter"), 0);

                if (not_after != 0 && not_after <= before)
                        certificates->dicts[n++] = dict;
        }
        certificates->n_dicts = n;
}

int verb_certificate_list(Cli *cli, const Arguments *arguments)
{
        CLEANUP(objects_deinit) Objects all = { 0 };
        const char *expiring = arguments_value(arguments, "--expiring");
        uint64_t within = 0;
        int r;

        if (expiring && duration_parse(expiring, &within))
                return cli_usage(cli, "--expiring wants a time like 30d or 12h, not %s.", expiring);
        r = ask_objects(cli, "certificate", &all);
        if (r)
                return r;
        if (expiring)
                keep_expiring(&all, (uint64_t)time(NULL) + within);
        return show_list(cli, list_fields, all.dicts, all.n_dicts);
}

int verb_certificate_show(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const cb_value *properties;
        int r;

        r = ask_certificate(cli, arguments->positionals[0], &reply, &properties);
        if (r == 0)
                r = show_sheet(cli, show_fields, properties);
        return r || arguments->json ? r : waiting_each(cli, properties, tell_waiting, NULL);
}

/* ------------------------------------------------------------------ making */

/* Shows what has become of a certificate, with the warning that it may have left. */
static int show_result(Cli *cli, const char *id, const char *done)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const cb_value *properties;
        char current[48] = "no certificate yet";
        const char *warning, *state;
        uint64_t generation;
        int r;

        r = ask_properties(cli, "certificate", id, &reply, &properties);
        if (r)
                return r;
        if (cli->arguments->json)
                return show_document(cli, show_json(properties));

        generation = cb_value_number(cb_value_get(properties, "Generation"), 0);
        if (generation > 0)
                (void)snprintf(current, sizeof(current), "generation %" PRIu64, generation);
        state = cb_value_string(cb_value_get(properties, "State"), "?");
        r = show_done(cli, "certificate", id, "%s %s: %s, %s.", id, done, current, state);
        warning = cb_value_string(cb_value_get(properties, "LastError"), "");
        if (r == 0 && *warning)
                r = show_done(cli, "certificate", id, "Warning: %s", warning);
        return r ? r : waiting_each(cli, properties, tell_waiting, NULL);
}

static int add_flags(Cli *cli, cb_dict *dict, const char *const *names, size_t n_names)
{
        for (size_t i = 0; i < n_names; i++)
                if (arguments_has(cli->arguments, names[i]) &&
                    cb_dict_set_boolean(dict, names[i] + strlen("--"), true))
                        return cli_out_of_memory(cli);
        return 0;
}

static int flags_dict(Cli *cli, const char *const *names, size_t n_names, cb_dict **ret_dict)
{
        CLEANUP(cb_dict_freep) cb_dict *dict = NULL;
        int r;

        if (cb_dict_new(&dict))
                return cli_out_of_memory(cli);
        r = add_flags(cli, dict, names, n_names);
        if (r)
                return r;
        *ret_dict = TAKE(dict);
        return 0;
}

static bool holds(const char *data, size_t n, const char *text)
{
        return memmem(data, n, text, strlen(text)) != NULL;
}

/* PEM whose key is not encrypted needs no passphrase: then nobody is asked for one. */
static bool may_be_encrypted(int fd)
{
        struct stat st;
        bool encrypted;
        char *data;
        size_t n;

        if (fstat(fd, &st) < 0 || st.st_size == 0)
                return false;
        n = (size_t)st.st_size;
        /* The copy's own pages, and no other copy. */
        data = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (!data || data == MAP_FAILED)
                return true;
        encrypted = !holds(data, n, "-----BEGIN ") || holds(data, n, "ENCRYPTED") ||
                    holds(data, n, "-----BEGIN PKCS12");
        munmap(data, n);
        return encrypted;
}

int verb_certificate_import(Cli *cli, const Arguments *arguments)
{
        static const char *const flags[] = { "--replace", "--extractable", "--force" };
        static const char prompt[] = "Passphrase of the bundle (empty for none)";
        const char *id = arguments->positionals[0], *file = arguments->positionals[1];
        const char *secret = arguments_value(arguments, "--passphrase-file");
        CLEANUP(cb_dict_freep) cb_dict *options = NULL;
        CLEANUP(close_fd) int bundle = -1;
        CLEANUP(close_fd) int passphrase = -1;
        int r;

        if (strcmp(file, "-") == 0 && secret && strcmp(secret, "-") == 0)
                return cli_usage(cli, "Bundle and passphrase cannot both be on standard input.");
        r = flags_dict(cli, flags, ELEMENTSOF(flags), &options);
        if (r == 0)
                r = file_copy(cli, file, &bundle);
        if (r == 0)
                r = secret_open(cli, prompt, may_be_encrypted(bundle) ? SECRET_MAYBE : SECRET_NONE,
                                &passphrase);
        if (r)
                return r;

        r = cb_call(cli->client, &(cb_method){ .member = "ImportCertificate" }, NULL, &cli->error,
                    "sshha{sv}", id, arguments_value(arguments, "--source"), bundle, passphrase,
                    options);
        if (r == CB_BAD_PASSPHRASE && secret_is_out_of_reach(cli))
                return secret_missing(cli, prompt);
        return r ? r : show_result(cli, id, "imported");
}

int verb_certificate_generate(Cli *cli, const Arguments *arguments)
{
        static const char *const flags[] = { "--replace" };
        CLEANUP(cb_dict_freep) cb_dict *options = NULL;
        const char *id = arguments->positionals[0];
        int r;

        r = flags_dict(cli, flags, ELEMENTSOF(flags), &options);
        if (r)
                return r;
        r = cb_call(cli->client, &(cb_method){ .member = "GenerateKey" }, NULL, &cli->error,
                    "sssa{sv}", id, arguments_value(arguments, "--source"),
                    arguments_value(arguments, "--type"), options);
        return r ? r
                 : show_result(cli, id,
                               "has a new key, which waits for its certificate (certificate "
                               "request, then install); until then");
}

int verb_certificate_register(Cli *cli, const Arguments *arguments)
{
        const char *id = arguments->positionals[0],
                   *source = arguments_value(arguments, "--source");
        CLEANUP(cb_dict_freep) cb_dict *options = NULL;
        int r;

        if (cb_dict_new(&options) || (source && cb_dict_set_string(options, "source", source)))
                return cli_out_of_memory(cli);
        r = cb_call(cli->client, &(cb_method){ .member = "RegisterCertificate" }, NULL, &cli->error,
                    "ssa{sv}", id, arguments->positionals[1], options);
        return r ? r : show_result(cli, id, "registered");
}

int verb_certificate_install(Cli *cli, const Arguments *arguments)
{
        static const char *const flags[] = { "--force" };
        const char *id = arguments->positionals[0];
        CLEANUP(cb_dict_freep) cb_dict *options = NULL;
        CLEANUP(free_text) char *path = NULL;
        CLEANUP(close_fd) int chain = -1;
        int r;

        r = flags_dict(cli, flags, ELEMENTSOF(flags), &options);
        if (r == 0)
                r = file_copy(cli, arguments->positionals[1], &chain);
        if (r)
                return r;
        if (cb_object_path("certificate", id, &path))
                return cli_fail(cli, CB_INVALID_ARGUMENT, "That is no id.");
        r = cb_call(cli->client,
                    &(cb_method){ .path = path,
                                  .interface = "org.certbroker1.Certificate",
                                  .member = "InstallCertificate" },
                    NULL, &cli->error, "ha{sv}", chain, options);
        return r ? r : show_result(cli, id, "installed");
}

/* ------------------------------------------------------------------ changing */

int verb_certificate_refresh(Cli *cli, const Arguments *arguments)
{
        const char *id = arguments->positionals[0];
        int r = ask_object(cli, "certificate", id, "Refresh", NULL, "");

        return r ? r : show_result(cli, id, "refreshed");
}

int verb_certificate_enable(Cli *cli, const Arguments *arguments)
{
        const char *id = arguments->positionals[0];
        int r = ask_object(cli, "certificate", id, "SetEnabled", NULL, "b", 1);

        return r ? r : show_result(cli, id, "enabled");
}

int verb_certificate_disable(Cli *cli, const Arguments *arguments)
{
        const char *id = arguments->positionals[0];
        int r = ask_object(cli, "certificate", id, "SetEnabled", NULL, "b", 0);

        return r ? r : show_result(cli, id, "disabled");
}

static int parse_generation(Cli *cli, const char *text, uint64_t *ret_generation)
{
        char *end;

        errno = 0;
        *ret_generation = strtoull(text, &end, 10);
        if (errno || *end || *text < '0' || *text > '9' || *ret_generation == 0)
                return cli_usage(cli, "GENERATION is a number from 1, not %s.", text);
        return 0;
}

static int change_generation(Cli *cli, const Arguments *arguments, const char *member,
                             const char *before, const char *after)
{
        const char *id = arguments->positionals[0];
        uint64_t generation;
        char done[96];
        int r;

        r = parse_generation(cli, arguments->positionals[1], &generation);
        if (r == 0)
                r = ask_object(cli, "certificate", id, member, NULL, "t", generation);
        if (r)
                return r;
        (void)snprintf(done, sizeof(done), "%s %" PRIu64 "%s", before, generation, after);
        return show_result(cli, id, done);
}

int verb_certificate_rollback(Cli *cli, const Arguments *arguments)
{
        return change_generation(cli, arguments, "SetCurrent", "set to generation", "");
}

int verb_certificate_retire(Cli *cli, const Arguments *arguments)
{
        return change_generation(cli, arguments, "Retire", "goes on without generation",
                                 ", which never signs again");
}

int verb_certificate_delete(Cli *cli, const Arguments *arguments)
{
        static const char *const flags[] = { "--destroy-key" };
        const char *id = arguments->positionals[0];
        CLEANUP(cb_dict_freep) cb_dict *options = NULL;
        int r;

        r = flags_dict(cli, flags, ELEMENTSOF(flags), &options);
        if (r == 0)
                r = ask_object(cli, "certificate", id, "Delete", NULL, "a{sv}", options);
        if (r)
                return r;
        return show_done(cli, "certificate", id,
                         arguments_has(arguments, "--destroy-key")
                                 ? "%s deleted, and its key destroyed."
                                 : "%s forgotten; its key is still in its source.",
                         id);
}
