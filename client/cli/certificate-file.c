/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of `certbroker certificate` that give out a file: request, chain, key file, export.
 * Only `export` ever has a private key in hand; its bytes go to a file of mode 0600 and are wiped.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "certificate.h"
#include "file.h"
#include "keyfile.h"
#include "secret.h"
#include "show.h"

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

int verb_certificate_request(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        CLEANUP(free_text) char *path = NULL;
        const char *names[OPTIONS_MAX];
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
        if (r || !file_is_output(cli))
                return r;
        return show_done(cli, "certificate", id, "%s exported with its private key; keep %s safe.",
                         id, arguments_value(cli->arguments, "--output"));
}

int verb_certificate_export(Cli *cli, const Arguments *arguments)
{
        const char *id = arguments->positionals[0];
        const char *format = arguments_value(arguments, "--format");
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        CLEANUP(free_text) char *path = NULL;
        CLEANUP(close_fd) int passphrase = -1;
        int r;

        if (strcmp(arguments_value(arguments, "--output"), "-") == 0)
                return cli_usage(cli, "A private key is written to a file, not to the terminal.");
        if (cb_object_path("certificate", id, &path))
                return cli_fail(cli, CB_INVALID_ARGUMENT, "That is no id.");
        r = secret_open(cli, "Passphrase for the exported key", SECRET_TWICE, &passphrase);
        if (r)
                return r;
        r = cb_call(cli->client,
                    &(cb_method){ .path = path,
                                  .interface = "org.certbroker1.Certificate",
                                  .member = "Export" },
                    &reply, &cli->error, "sh", format ? format : "pkcs12", passphrase);
        return r ? r : put_export(cli, id, cb_value_at(reply, 0));
}

static int get_issued(Cli *cli, const char *selector, cb_credential **ret_credential)
{
        CLEANUP(cb_credential_freep) cb_credential *credential = NULL;
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

int verb_certificate_chain(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_credential_freep) cb_credential *credential = NULL;
        CLEANUP(free_text) char *text = NULL;
        int r;

        r = get_issued(cli, arguments->positionals[0], &credential);
        if (r)
                return r;
        if (keyfile_chain(credential, &text))
                return cli_out_of_memory(cli);
        if (arguments->json && !arguments_has(arguments, "--output"))
                return show_document(
                        cli, json_pack("{s:s, s:I, s:s}", "id", credential->id, "generation",
                                       (json_int_t)credential->generation, "chain", text));
        return file_put(cli, text, strlen(text), 0644);
}

int verb_certificate_key(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_credential_freep) cb_credential *credential = NULL;
        CLEANUP(free_text) char *text = NULL;
        int r;

        r = get_issued(cli, arguments->positionals[0], &credential);
        if (r)
                return r;
        r = keyfile_of(credential, &text);
        if (r == -EBADMSG)
                return cli_fail(cli, CB_FAILED, "The certificate of %s cannot be read.",
                                credential->id);
        if (r)
                return cli_out_of_memory(cli);
        if (arguments->json && !arguments_has(arguments, "--output"))
                return show_document(cli, json_pack("{s:s, s:s, s:s}", "id", credential->id, "uri",
                                                    credential->key, "key", text));
        /* Some gateways insist that a key file is not for everybody, also of one that could be. */
        return file_put(cli, text, strlen(text), 0640);
}
