/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbroker: the command line of certbrokerd. It finds the verb in the tables, runs it with a client, and
 * turns its outcome into a sentence on standard error and an exit status. All that a verb prints on
 * standard output is its answer; it is printed only when it is known.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "build-config.h"
#include "cli.h"
#include "complete.h"
#include "help.h"
#include "text.h"

/* A person waits longer than a gateway, and the broker itself gives up after its request-timeout. */
#define CONNECT_USEC UINT64_C(5000000)
#define CALL_USEC    UINT64_C(60000000)

static const Noun nouns[] = {
        { "status", status_verbs, "how everything is, and what needs attention", "" },
        { "certificate", certificate_verbs, "keys and their certificates",
          "A certificate has an id, a chain, and a private key in a source. Each renewal is a new\n"
          "generation of it; gateways follow by themselves." },
        { "backend", backend_verbs, "services that gateways call with a certificate",
          "A backend is a service that gateways call, bound to the certificate that they present "
          "there\n"
          "and to how its own certificate is verified." },
        { "source", source_verbs, "tokens and key vaults, where the keys live",
          "A source is a place where keys live: a PKCS#11 token, or a remote key vault." },
        { "policy", policy_verbs, "who may do what",
          "Grants, in the daemon's configuration, say who may do what. No grant, no access." },
        { "audit", audit_verbs, "what was done, by whom, and whether the log of it is whole",
          "Every change, credential, signature and refusal is a record; each holds the hash of "
          "the\n"
          "one before." },
        { "backup", backup_verbs, "a copy of the daemon's store, while it runs", "" },
        { "restore", restore_verbs, "such a copy in place of the store, while it does not", "" },
        { "doctor", doctor_verbs, "what would fail in gateways",
          "Finds what programs that are to use certbroker would stumble over, and do not tell." },
        { "metrics", metrics_verbs, "the daemon's counters, for a monitoring system", "" },
        { "setup", setup_verbs, "make a source from nothing, or let a gateway use its keys",
          "What an administrator does once, step by step, each with its undo." },
};

int cli_fail(Cli *cli, int status, const char *format, ...)
{
        va_list list;

        cli->error.status = status;
        va_start(list, format);
        (void)vsnprintf(cli->error.text, sizeof(cli->error.text), format, list);
        va_end(list);
        return status;
}

int cli_usage(Cli *cli, const char *format, ...)
{
        va_list list;

        cli->error.status = CLI_USAGE;
        va_start(list, format);
        (void)vsnprintf(cli->error.text, sizeof(cli->error.text), format, list);
        va_end(list);
        return CLI_USAGE;
}

int cli_out_of_memory(Cli *cli)
{
        return cli_fail(cli, -ENOMEM, "Out of memory.");
}

int cli_exit_status(int r)
{
        static const int statuses[] = {
#define ROW(value, name, word, exit_status) [value] = exit_status,
                CB_STATUS_MAP(ROW)
#undef ROW
                        [CLI_USAGE] = 2,
        };

        if (r == 0)
                return 0;
        return r > 0 && (size_t)r < ELEMENTSOF(statuses) ? statuses[r] : 1;
}

/* The sentence of a failure. A file's path or a daemon's text may hold anything: it is escaped. */
static void print_failure(const Cli *cli)
{
        char *text;

        if (cli->error.text[0] == '\0')
                return;
        (void)fflush(stdout); /* in one pipe, the reason comes after what was found */
        text = text_harmless(cli->error.text);
        (void)fprintf(stderr, "certbroker: %s\n", text ? text : "failed");
        free(text);
        if (cli->error.status == CLI_USAGE) {
                help_usage(cli->arguments, stderr);
                (void)fputs("`--help` tells more.\n", stderr);
        }
}

static int run(Cli *cli)
{
        const char *bus = cli->arguments->bus;
        int r;

        /* The OpenSSL provider, which `backend check` loads, reads it too. */
        if (bus && setenv("CERTBROKER_BUS", bus, 1) < 0)
                return cli_out_of_memory(cli);
        r = cb_client_new(bus, &cli->client);
        if (r == CB_INVALID_ARGUMENT)
                return cli_usage(cli,
                                 "%s is no bus: it is system, session, or a D-Bus address that "
                                 "begins with unix:.",
                                 bus ? bus : "$CERTBROKER_BUS");
        if (r)
                return cli_fail(cli, r, "No client: %s", strerror(-r));
        cb_client_set_timeouts(cli->client, CONNECT_USEC, CALL_USEC);
        r = cli->arguments->verb->run(cli, cli->arguments);
        cb_client_free(cli->client);
        if (r == 0 && (fflush(stdout) || ferror(stdout)))
                r = cli_fail(cli, -EIO, "The answer could not be written.");
        return r;
}

/* So that nothing that is opened here takes the number of a standard stream that was closed. */
static void hold_standard_streams(void)
{
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
                        /* the wrong way round: to read or write it fails, as it did before */
                        (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv)
{
        Arguments arguments;
        Cli cli = { .arguments = &arguments };
        int r;

        hold_standard_streams();
        /* What openssl.cnf says is for the programs that are looked at: it may be what is wrong with them. */
        (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                (void)puts("certbroker " PROJECT_VERSION);
                return 0;
        }
        if (argc >= 2 && strcmp(argv[1], "--complete") == 0) { /* for certbroker.bash */
                complete_print(nouns, ELEMENTSOF(nouns), argc - 2, argv + 2);
                return 0;
        }
        r = arguments_parse(nouns, ELEMENTSOF(nouns), argc, argv, &arguments, cli.error.text,
                            sizeof(cli.error.text));
        if (r) {
                cli.error.status = r = CLI_USAGE;
        } else if (arguments.help) {
                help_print(nouns, ELEMENTSOF(nouns), &arguments, stdout);
        } else {
                r = run(&cli);
        }
        if (r)
                print_failure(&cli);
        return cli_exit_status(r);
}
