/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of `certbroker certificate`. Each asks the broker one thing and shows what came back; what is
 * right and what may be done is decided there. At the end is their table, which the help is made of.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "cli.h"
#include "file.h"
#include "keyfile.h"
#include "secret.h"
#include "show.h"
#include "sign.h"
#include "text.h"

#define PAGE 500

static const Field list_fields[] = {
        { "ID", "Id", FORMAT_TEXT },
        { "STATE", "State", FORMAT_TEXT },
        { "SOURCE", "Source", FORMAT_TEXT },
        { "KEY", "KeyType", FORMAT_TEXT },
        { "GENERATION", "Generation", FORMAT_TEXT },
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
        { "Generation:", "Generation", FORMAT_TEXT },
        { "Generations:", "Generations", FORMAT_GENERATIONS },
        { "Backends:", "Backends", FORMAT_PLENTY },
        { "Last refresh:", "LastRefresh", FORMAT_NEVER },
        { "Next refresh:", "NextRefresh", FORMAT_NEVER },
        { "Last error:", "LastError", FORMAT_TEXT },
        { NULL },
};

/* ------------------------------------------------------------------ looking */

typedef struct Certificates {
        cb_value **pages;
        size_t n_pages;
        const cb_value **dicts;
        size_t n_dicts;
} Certificates;

static void certificates_deinit(Certificates *all)
{
        for (size_t i = 0; i < all->n_pages; i++)
                cb_value_free(all->pages[i]);
        free(all->pages);
        free(all->dicts);
}

/* Takes reply. */
static int add_page(Certificates *all, cb_value *reply, uint64_t expire_before)
{
        const cb_value *page = cb_value_at(reply, 0);
        const cb_value **dicts;
        cb_value **pages = reallocarray(all->pages, all->n_pages + 1, sizeof(*pages));

        if (!pages) {
                cb_value_free(reply);
                return -ENOMEM;
        }
        all->pages = pages;
        all->pages[all->n_pages++] = reply;
        dicts = reallocarray(all->dicts, all->n_dicts + cb_value_length(page) + 1, sizeof(*dicts));
        if (!dicts)
                return -ENOMEM;
        all->dicts = dicts;
        for (size_t i = 0; i < cb_value_length(page); i++) {
                const cb_value *dict = cb_value_at(page, i);
                uint64_t not_after = cb_value_number(cb_value_get(dict, "NotAfter"), 0);

                if (expire_before == 0 || (not_after != 0 && not_after <= expire_before))
                        all->dicts[all->n_dicts++] = dict;
        }
        return 0;
}

static int get_certificates(Cli *cli, uint64_t expire_before, Certificates *all)
{
        const char *after = "";

        for (;;) {
                cb_value *reply = NULL;
                const cb_value *page;
                size_t n;
                int r;

                r = cb_call(cli->client,
                            &(cb_method){ .member = "ListCertificates", .repeatable = true },
                            &reply, &cli->error, "su", after, (uint32_t)PAGE);
                if (r)
                        return r;
                page = cb_value_at(reply, 0);
                n = cb_value_length(page);
                r = add_page(all, reply, expire_before);
                if (r)
                        return cli_out_of_memory(cli);
                if (n < PAGE)
                        return 0;
                after = cb_value_string(cb_value_get(cb_value_at(page, n - 1), "Id"), "");
        }
}

static int verb_list(Cli *cli, const Arguments *arguments)
{
        CLEANUP(certificates_deinit) Certificates all = { 0 };
        const char *expiring = arguments_value(arguments, "--expiring");
        uint64_t within = 0;
        int r;

        if (expiring && duration_parse(expiring, &within))
                return cli_usage(cli, "--expiring wants a time like 30d or 12h, not %s.", expiring);
        r = get_certificates(cli, expiring ? (uint64_t)time(NULL) + within : 0, &all);
        return r ? r : show_list(cli, list_fields, all.dicts, all.n_dicts);
}

static int verb_show(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_value_free_p) cb_value *reply = NULL;
        const cb_value *properties;
        int r;

        r = ask_certificate(cli, arguments->positionals[0], &reply, &properties);
        return r ? r : show_sheet(cli, show_fields, properties);
}

/* ------------------------------------------------------------------ making */

/* Shows what has become of a certificate, with the warning that it may have left. */
static int show_result(Cli *cli, const char *id, const char *done)
{
        CLEANUP(cb_value_free_p) cb_value *reply = NULL;
        const cb_value *properties;
        const char *warning, *state;
        uint64_t generation;
        int r;

        r = ask_properties(cli, "certificate", id, &reply, &properties);
        if (r)
                return r;
        if (cli->arguments->json)
                return show_document(cli, show_json(properties));

        generation = cb_value_number(cb_value_get(properties, "Generation"), 0);
        state = cb_value_string(cb_value_get(properties, "State"), "?");
        r = show_done(cli, "certificate", id, "%s %s, generation %" PRIu64 ", %s.", id, done,
                      generation, state);
        warning = cb_value_string(cb_value_get(properties, "LastError"), "");
        if (r == 0 && *warning)
                r = show_done(cli, "certificate", id, "Warning: %s", warning);
        return r;
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
        CLEANUP(cb_dict_free_p) cb_dict *dict = NULL;
        int r;

        if (cb_dict_new(&dict))
                return cli_out_of_memory(cli);
        r = add_flags(cli, dict, names, n_names);
        if (r)
                return r;
        *ret_dict = TAKE(dict);
        return 0;
}

/* PEM whose key is not encrypted needs no passphrase: then nobody is asked for one. */
static bool may_be_encrypted(int fd)
{
        char head[65536];
        ssize_t n = pread(fd, head, sizeof(head), 0);
        bool encrypted;

        if (n <= 0)
                return n < 0;
        encrypted = !memmem(head, (size_t)n, "-----BEGIN ", 11) ||
                    memmem(head, (size_t)n, "ENCRYPTED", 9);
        explicit_bzero(head, sizeof(head)); /* a private key may have been in it */
        return encrypted;
}

static int verb_import(Cli *cli, const Arguments *arguments)
{
        static const char *const flags[] = { "--replace", "--extractable", "--force" };
        const char *id = arguments->positionals[0], *file = arguments->positionals[1];
        const char *secret = arguments_value(arguments, "--passphrase-file");
        CLEANUP(cb_dict_free_p) cb_dict *options = NULL;
        CLEANUP(close_fd) int bundle = -1;
        CLEANUP(close_fd) int passphrase = -1;
        int r;

        if (strcmp(file, "-") == 0 && secret && strcmp(secret, "-") == 0)
                return cli_usage(cli, "Bundle and passphrase cannot both be on standard input.");
        r = flags_dict(cli, flags, ELEMENTSOF(flags), &options);
        if (r == 0)
                r = file_open(cli, file, &bundle);
        if (r == 0)
                r = secret_open(cli, "Passphrase of the bundle (empty for none): ",
                                may_be_encrypted(bundle), false, &passphrase);
        if (r)
                return r;

        r = cb_call(cli->client, &(cb_method){ .member = "ImportCertificate" }, NULL, &cli->error,
                    "sshha{sv}", id, arguments_value(arguments, "--source"), bundle, passphrase,
                    options);
        return r ? r : show_result(cli, id, "imported");
}

static int verb_generate(Cli *cli, const Arguments *arguments)
{
        static const char *const flags[] = { "--replace" };
        CLEANUP(cb_dict_free_p) cb_dict *options = NULL;
        const char *id = arguments->positionals[0];
        int r;

        r = flags_dict(cli, flags, ELEMENTSOF(flags), &options);
        if (r)
                return r;
        r = cb_call(cli->client, &(cb_method){ .member = "GenerateKey" }, NULL, &cli->error,
                    "sssa{sv}", id, arguments_value(arguments, "--source"),
                    arguments_value(arguments, "--type"), options);
        return r ? r : show_result(cli, id, "has a new key");
}

static int verb_register(Cli *cli, const Arguments *arguments)
{
        const char *id = arguments->positionals[0],
                   *source = arguments_value(arguments, "--source");
        CLEANUP(cb_dict_free_p) cb_dict *options = NULL;
        int r;

        if (cb_dict_new(&options) || (source && cb_dict_set_string(options, "source", source)))
                return cli_out_of_memory(cli);
        r = cb_call(cli->client, &(cb_method){ .member = "RegisterCertificate" }, NULL, &cli->error,
                    "ssa{sv}", id, arguments->positionals[1], options);
        return r ? r : show_result(cli, id, "registered");
}

static int put_pem_request(Cli *cli, const cb_value *der)
{
        char *pem = NULL;
        BIO *bio = BIO_new(BIO_s_mem());
        long n;
        int r;

        if (!bio || !der || der->type != CB_TYPE_BYTES ||
            PEM_write_bio(bio, PEM_STRING_X509_REQ, "", der->as.bytes.data,
                          (long)der->as.bytes.n) <= 0) {
                BIO_free(bio);
                return cli_fail(cli, CB_FAILED, "The request cannot be read.");
        }
        n = BIO_get_mem_data(bio, &pem);
        if (cli->arguments->json && !arguments_has(cli->arguments, "--output"))
                r = show_document(cli, json_pack("{s:s%}", "request", pem, (size_t)n));
        else
                r = file_put(cli, pem, (size_t)n, 0644);
        BIO_free(bio);
        return r;
}

static int verb_request(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_value_free_p) cb_value *reply = NULL;
        CLEANUP(free_text) char *path = NULL;
        const char *names[OPTIONS_MAX * 4];
        size_t n_names = arguments_values(arguments, "--san", names);
        int r;

        if (cb_object_path("certificate", arguments->positionals[0], &path))
                return cli_fail(cli, CB_INVALID_ARGUMENT, "That is no id.");
        r = cb_call(cli->client,
                    &(cb_method){ .path = path,
                                  .interface = "org.certbroker1.Certificate",
                                  .member = "CreateRequest" },
                    &reply, &cli->error, "sas", arguments_value(arguments, "--subject"), names,
                    n_names);
        return r ? r : put_pem_request(cli, cb_value_at(reply, 0));
}

static int verb_install(Cli *cli, const Arguments *arguments)
{
        static const char *const flags[] = { "--force" };
        const char *id = arguments->positionals[0];
        CLEANUP(cb_dict_free_p) cb_dict *options = NULL;
        CLEANUP(free_text) char *path = NULL;
        CLEANUP(close_fd) int chain = -1;
        int r;

        r = flags_dict(cli, flags, ELEMENTSOF(flags), &options);
        if (r == 0)
                r = file_open(cli, arguments->positionals[1], &chain);
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

static int verb_refresh(Cli *cli, const Arguments *arguments)
{
        const char *id = arguments->positionals[0];
        int r = ask_object(cli, "certificate", id, "Refresh", NULL, "");

        return r ? r : show_result(cli, id, "refreshed");
}

static int verb_enable(Cli *cli, const Arguments *arguments)
{
        const char *id = arguments->positionals[0];
        int r = ask_object(cli, "certificate", id, "SetEnabled", NULL, "b", 1);

        return r ? r : show_result(cli, id, "enabled");
}

static int verb_disable(Cli *cli, const Arguments *arguments)
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
                             const char *done)
{
        const char *id = arguments->positionals[0];
        uint64_t generation;
        int r;

        r = parse_generation(cli, arguments->positionals[1], &generation);
        if (r == 0)
                r = ask_object(cli, "certificate", id, member, NULL, "t", generation);
        return r ? r : show_result(cli, id, done);
}

static int verb_rollback(Cli *cli, const Arguments *arguments)
{
        return change_generation(cli, arguments, "SetCurrent", "changed");
}

static int verb_retire(Cli *cli, const Arguments *arguments)
{
        return change_generation(cli, arguments, "Retire", "has one generation less");
}

static int verb_delete(Cli *cli, const Arguments *arguments)
{
        static const char *const flags[] = { "--destroy-key" };
        const char *id = arguments->positionals[0];
        CLEANUP(cb_dict_free_p) cb_dict *options = NULL;
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

/* ------------------------------------------------------------------ taking out */

static int read_fd(int fd, char **ret_data, size_t *ret_n)
{
        struct stat st;
        char *data;
        ssize_t n;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size <= 0 || st.st_size > 16 * 1024 * 1024)
                return -EBADMSG;
        data = malloc((size_t)st.st_size);
        if (!data)
                return -ENOMEM;
        n = pread(fd, data, (size_t)st.st_size, 0);
        if (n != st.st_size) {
                free(data);
                return n < 0 ? -errno : -EBADMSG;
        }
        *ret_data = data;
        *ret_n = (size_t)n;
        return 0;
}

static int put_export(Cli *cli, const char *id, const cb_value *fd)
{
        char *data = NULL;
        size_t n = 0;
        int r;

        if (!fd || fd->type != CB_TYPE_FD)
                return cli_fail(cli, CB_FAILED, "certbrokerd gave no file.");
        r = read_fd(fd->as.fd, &data, &n);
        if (r)
                return cli_fail(cli, r, "The export cannot be read: %s", strerror(-r));
        r = file_put(cli, data, n, 0600);
        explicit_bzero(data, n);
        free(data);
        return r ? r
                 : show_done(cli, "certificate", id,
                             "%s exported with its private key; keep %s safe.", id,
                             arguments_value(cli->arguments, "--output"));
}

static int verb_export(Cli *cli, const Arguments *arguments)
{
        const char *id = arguments->positionals[0];
        const char *format = arguments_value(arguments, "--format");
        CLEANUP(cb_value_free_p) cb_value *reply = NULL;
        CLEANUP(free_text) char *path = NULL;
        CLEANUP(close_fd) int passphrase = -1;
        int r;

        if (strcmp(arguments_value(arguments, "--output"), "-") == 0)
                return cli_usage(cli, "A private key is written to a file, not to the terminal.");
        if (cb_object_path("certificate", id, &path))
                return cli_fail(cli, CB_INVALID_ARGUMENT, "That is no id.");
        r = secret_open(cli, "Passphrase for the exported key: ", true, true, &passphrase);
        if (r)
                return r;
        r = cb_call(cli->client,
                    &(cb_method){ .path = path,
                                  .interface = "org.certbroker1.Certificate",
                                  .member = "Export" },
                    &reply, &cli->error, "sh", format ? format : "pkcs12", passphrase);
        return r ? r : put_export(cli, id, cb_value_at(reply, 0));
}

static int chain_pem(const cb_credential *credential, BIO *bio)
{
        for (size_t i = 0; i < credential->n_chain; i++)
                if (PEM_write_bio(bio, PEM_STRING_X509, "", credential->chain[i].data,
                                  (long)credential->chain[i].n) <= 0)
                        return -ENOMEM;
        return 0;
}

static int get_issued(Cli *cli, const char *selector, cb_credential **ret_credential)
{
        CLEANUP(cb_credential_free_p) cb_credential *credential = NULL;
        int r;

        r = cb_get_certificate(cli->client, selector, &credential, &cli->error);
        if (r)
                return r;
        if (credential->n_chain == 0)
                return cli_fail(
                        cli, CB_PENDING,
                        "%s has a key but no certificate yet: make a request, have it signed, "
                        "and install the answer (certbroker certificate request, install).",
                        credential->id);
        *ret_credential = TAKE(credential);
        return 0;
}

static int verb_chain(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_credential_free_p) cb_credential *credential = NULL;
        char *pem = NULL;
        BIO *bio;
        long n;
        int r;

        r = get_issued(cli, arguments->positionals[0], &credential);
        if (r)
                return r;
        bio = BIO_new(BIO_s_mem());
        if (!bio || chain_pem(credential, bio)) {
                BIO_free(bio);
                return cli_out_of_memory(cli);
        }
        n = BIO_get_mem_data(bio, &pem);
        if (arguments->json && !arguments_has(arguments, "--output"))
                r = show_document(cli, json_pack("{s:s, s:I, s:s%}", "id", credential->id,
                                                 "generation", (json_int_t)credential->generation,
                                                 "chain", pem, (size_t)n));
        else
                r = file_put(cli, pem, (size_t)n, 0644);
        BIO_free(bio);
        return r;
}

static int verb_key(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_credential_free_p) cb_credential *credential = NULL;
        CLEANUP(free_text) char *comment = NULL;
        CLEANUP(free_text) char *text = NULL;
        const unsigned char *der;
        size_t n = 0;
        X509 *leaf;
        int r;

        r = get_issued(cli, arguments->positionals[0], &credential);
        if (r)
                return r;
        der = credential->chain[0].data;
        leaf = d2i_X509(NULL, &der, (long)credential->chain[0].n);
        if (!leaf)
                return cli_fail(cli, CB_FAILED, "The certificate of %s cannot be read.",
                                credential->id);
        r = keyfile_comment(credential->id, credential->key, &comment);
        if (r == 0)
                r = keyfile_encode(credential->key, leaf, comment, &text, &n);
        X509_free(leaf);
        if (r)
                return cli_out_of_memory(cli);
        if (arguments->json && !arguments_has(arguments, "--output"))
                return show_document(cli, json_pack("{s:s, s:s, s:s}", "id", credential->id, "uri",
                                                    credential->key, "key", text));
        /* Some gateways insist that a key file is not for everybody, also of one that could be. */
        return file_put(cli, text, n, 0640);
}

/* ------------------------------------------------------------------ their table */

#define OPTION_OUTPUT(required)                                                                    \
        {                                                                                          \
                "--output", "FILE", "write to FILE (-o FILE), else to standard output", required,  \
                        false                                                                      \
        }

static const Option list_options[] = {
        { "--expiring", "TIME", "only those that expire within TIME, as 30d or 12h" },
        { NULL },
};
static const Option import_options[] = {
        { "--source", "SOURCE", "where the key is to live: see `certbroker source list`", true },
        { "--replace", NULL, "ID exists, and this becomes its next generation" },
        { "--extractable", NULL, "`certificate export` may take the key out again" },
        { "--force", NULL, "publish it though names are missing that the last generation had" },
        OPTION_PASSPHRASE,
        { NULL },
};
static const Option generate_options[] = {
        { "--source", "SOURCE", "where the key is to be made: see `certbroker source list`", true },
        { "--type", "TYPE", "rsa-2048 rsa-3072 rsa-4096 ec-p256 ec-p384 ec-p521 ed25519", true },
        { "--replace", NULL, "ID exists, and this becomes its next generation" },
        { NULL },
};
static const Option register_options[] = {
        { "--source", "SOURCE", "needed only where several sources serve the URI" },
        { NULL },
};
static const Option request_options[] = {
        { "--subject", "DN", "the subject, as \"CN=orders,O=Example\" (RFC 4514)", true },
        { "--san", "NAME", "a further name: DNS:x, IP:x, URI:x or email:x", false, true },
        OPTION_OUTPUT(false),
        { NULL },
};
static const Option install_options[] = {
        { "--force", NULL, "publish it though names are missing that the last generation had" },
        { NULL },
};
static const Option delete_options[] = {
        { "--destroy-key", NULL, "destroy the key in its source too; else it stays there" },
        { NULL },
};
static const Option export_options[] = {
        OPTION_OUTPUT(true),
        { "--format", "FORMAT", "pkcs12 (default) or pem" },
        OPTION_PASSPHRASE,
        { NULL },
};
static const Option output_options[] = {
        OPTION_OUTPUT(false),
        { NULL },
};
static const Option sign_options[] = {
        { "--algorithm", "ALGORITHM", "as ecdsa-sha256; `certificate show` lists the key's", true },
        { "--in", "FILE", "what to sign; else standard input" },
        OPTION_OUTPUT(false),
        { NULL },
};

const Verb certificate_verbs[] = {
        { "list",
          { NULL },
          list_options,
          verb_list,
          "List the certificates",
          "Lists every certificate that you may read, by its id.",
          "certbroker certificate list --expiring 30d" },
        { "show",
          { "SELECTOR" },
          NULL,
          verb_show,
          "Show all that is known of one",
          "SELECTOR is an id; a thumbprint (SHA-1 or SHA-256, also of an older generation); or\n"
          "\"subject=DN\".",
          "certbroker certificate show orders" },
        { "import",
          { "ID", "FILE" },
          import_options,
          verb_import,
          "Store a PKCS#12 or PEM bundle in a source",
          "Stores the private key and its certificates in a source, where the key cannot be taken "
          "out\n"
          "again, and calls the result ID. FILE is PKCS#12 (.p12, .pfx) or PEM with key and chain; "
          "`-`\n"
          "is standard input. Delete FILE afterwards: it still holds the key.",
          "certbroker certificate import orders orders.p12 --source hsm" },
        { "generate",
          { "ID" },
          generate_options,
          verb_generate,
          "Make a new key in a source",
          "The key is made in the source and never leaves it. It waits as `pending` for a "
          "certificate:\n"
          "make a request for it, have that signed by your authority, and install the answer.",
          "certbroker certificate generate orders --source hsm --type ec-p256\n"
          "certbroker certificate request orders --subject CN=orders -o orders.csr\n"
          "certbroker certificate install orders orders-chain.pem" },
        { "register",
          { "ID", "URI" },
          register_options,
          verb_register,
          "Use a key that is in a source already",
          "URI is a pkcs11: URI (RFC 7512), or a vault certificate's identifier: without a version "
          "its\n"
          "rotations are followed, with one it is pinned.",
          "certbroker certificate register orders 'pkcs11:token=prod;object=orders'" },
        { "request",
          { "ID" },
          request_options,
          verb_request,
          "Make a request for an authority",
          "Writes a certificate request (PKCS#10, PEM), signed by the newest generation's key.",
          "certbroker certificate request orders --subject CN=orders,O=Example "
          "--san DNS:orders.example -o orders.csr" },
        { "install",
          { "ID", "FILE" },
          install_options,
          verb_install,
          "Install the certificate for a pending key",
          "FILE holds the certificate for the key, and what is between it and its root: PEM or "
          "DER, in\n"
          "any order. For a key that has one already it is a renewal: the next generation.",
          "certbroker certificate install orders orders-chain.pem" },
        { "refresh",
          { "ID" },
          NULL,
          verb_refresh,
          "Look it up in its source now",
          "Looks at once for a newer certificate or key in the source.",
          "certbroker certificate refresh orders" },
        { "enable",
          { "ID" },
          NULL,
          verb_enable,
          "Let it be used again",
          "Undoes `disable`.",
          "certbroker certificate enable orders" },
        { "disable",
          { "ID" },
          NULL,
          verb_disable,
          "Stop every use of it",
          "Gateways that use it fail from the next signature on, until it is enabled again.",
          "certbroker certificate disable orders" },
        { "rollback",
          { "ID", "GENERATION" },
          NULL,
          verb_rollback,
          "Make another generation the current one",
          "Back to an older generation that may still sign, or forward again. `certificate show` "
          "lists\n"
          "the generations.",
          "certbroker certificate rollback orders 3" },
        { "retire",
          { "ID", "GENERATION" },
          NULL,
          verb_retire,
          "End an older generation at once",
          "That generation never signs again: for a key that is known to others. Not the current "
          "one.",
          "certbroker certificate retire orders 3" },
        { "delete",
          { "ID" },
          delete_options,
          verb_delete,
          "Forget it, unless a backend uses it",
          "Refused (exit status 5) while a backend uses it. The key stays in its source, unless\n"
          "--destroy-key is given.",
          "certbroker certificate delete orders" },
        { "export",
          { "ID" },
          export_options,
          verb_export,
          "Take an extractable key out again",
          "Writes key and chain to a file that only you may read. Only for a key that was imported "
          "with\n"
          "--extractable, and only for who has the grant `export`.",
          "certbroker certificate export orders -o orders.p12" },
        { "chain",
          { "ID" },
          output_options,
          verb_chain,
          "Write its chain as PEM",
          "The certificate and what is between it and its root, leaf first: a gateway's "
          "certificate\n"
          "file.",
          "certbroker certificate chain orders -o /etc/nginx/orders.crt" },
        { "key",
          { "ID" },
          output_options,
          verb_key,
          "Write its key file: a reference, no secret",
          "A PEM file for a gateway in place of a private key: it holds a reference to the key and "
          "its\n"
          "public half. Every program that reads PEM keys with OpenSSL 3 can use it, once the "
          "provider\n"
          "`certbroker` is activated in its openssl.cnf.",
          "certbroker certificate key orders -o /etc/nginx/orders.key" },
        { "sign",
          { "ID" },
          sign_options,
          verb_certificate_sign,
          "Sign a file",
          "Hashes the file as the algorithm asks and writes the signature, in binary.",
          "certbroker certificate sign orders --algorithm ecdsa-sha256 --in report.pdf -o "
          "report.sig" },
        { NULL },
};
