/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbroker-handshake: a gateway's life in a second. It starts with the environment of the gateway's unit, so that OpenSSL
 * loads what its openssl.cnf says; reads key and chain as the gateway's master does; becomes the gateway's worker (its
 * cgroup, its root directory, its user); and there makes a TLS 1.3 handshake with itself, in which it presents the
 * certificate. It knows nothing of certbroker: what works here works in the gateway.
 *
 * One line on standard output: "ok", or "failed", a tab and why.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>

#include "build-config.h"
#include "macro.h"

#define PROVIDER   "certbroker"
#define ROUNDS_MAX 100
#define GROUPS_MAX 256
#define SECONDS    60

static const char help_text[] =
        "certbroker-handshake [--cgroup FILE] [--root DIRECTORY] [--uid N --gid N [--groups N,N…]] [FILE]\n"
        "\n"
        "Reads key and chain from FILE as a gateway does, and makes a TLS handshake with itself as the\n"
        "gateway's worker; without FILE it only looks whether OpenSSL has loaded the provider.\n"
        "`certbroker setup gateway` runs it with the environment of the gateway's unit.\n";

typedef struct Worker {
        const char *cgroup; /* its cgroup.procs */
        const char *root;
        long uid, gid; /* -1: as it is */
        gid_t groups[GROUPS_MAX];
        size_t n_groups;
} Worker;

typedef struct Credential {
        EVP_PKEY *key;
        STACK_OF(X509) *chain; /* leaf first */
} Credential;

/* All that OpenSSL says of it, in one. */
static const char *reasons(void)
{
        static char text[800];
        const char *data;
        unsigned long code;
        size_t n = 0;
        int flags = 0;

        text[0] = '\0';
        while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) && n < sizeof(text)) {
                const char *reason = data && *data && (flags & ERR_TXT_STRING)
                                             ? data
                                             : ERR_reason_error_string(code);

                if (reason && !strstr(text, reason))
                        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? "; " : "", reason);
        }
        return *text ? text : "OpenSSL gives no reason";
}

static int failed(const char *what, const char *why)
{
        (void)printf("failed\t%s: %s\n", what, why);
        return EXIT_FAILURE;
}

/* ------------------------------------------------------------------ as the master */

/* What OpenSSL keeps silent about when a program starts: why it could not follow its openssl.cnf. */
static int check_provider(void)
{
        const char *config = getenv("OPENSSL_CONF");
        OSSL_LIB_CTX *context;
        int r;

        if (OSSL_PROVIDER_available(NULL, PROVIDER))
                return 0;
        ERR_clear_error();
        context = OSSL_LIB_CTX_new();
        if (context && config)
                (void)OSSL_LIB_CTX_load_config(context, config);
        if (context && !ERR_peek_error())
                (void)OSSL_PROVIDER_load(context, PROVIDER);
        r = failed(config ? config : "OPENSSL_CONF is not set",
                   ERR_peek_error() ? reasons() : "it does not activate the provider certbroker");
        OSSL_LIB_CTX_free(context);
        return r;
}

static int read_chain(BIO *file, Credential *credential)
{
        X509 *certificate;

        (void)BIO_seek(file, 0);
        credential->chain = sk_X509_new_null();
        while (credential->chain && (certificate = PEM_read_bio_X509(file, NULL, NULL, NULL)))
                if (!sk_X509_push(credential->chain, certificate))
                        X509_free(certificate);
        ERR_clear_error();
        return sk_X509_num(credential->chain) > 0 ? 0 : failed("the chain", "there is no certificate");
}

static int read_credential(const char *path, Credential *credential)
{
        BIO *file = BIO_new_file(path, "r");
        int r = 0;

        ERR_clear_error();
        credential->key = file ? PEM_read_bio_PrivateKey(file, NULL, NULL, NULL) : NULL;
        if (!credential->key)
                r = failed("the key file cannot be loaded", reasons());
        if (r == 0)
                r = read_chain(file, credential);
        BIO_free(file);
        return r;
}

/* ------------------------------------------------------------------ as the worker */

static int join_cgroup(const char *path)
{
        int fd = open(path, O_WRONLY | O_CLOEXEC), r = 0;

        if (fd < 0 || write(fd, "0", 1) != 1)
                r = -errno;
        if (fd >= 0)
                (void)close(fd);
        return r;
}

/* The cgroup may be out of reach, by the unit's own walls: then the caller is in another unit, which is said. */
static int become(const Worker *worker)
{
        if (worker->cgroup && join_cgroup(worker->cgroup) < 0)
                (void)puts("note\tnot in the gateway's own unit: a grant with `unit` does not cover it");
        if (worker->root && (chroot(worker->root) < 0 || chdir("/") < 0))
                return failed(worker->root, strerror(errno));
        if (worker->gid >= 0 && (setgroups(worker->n_groups, worker->groups) < 0 ||
                                 setresgid((gid_t)worker->gid, (gid_t)worker->gid, (gid_t)worker->gid) < 0))
                return failed("the worker's group", strerror(errno));
        if (worker->uid >= 0 &&
            setresuid((uid_t)worker->uid, (uid_t)worker->uid, (uid_t)worker->uid) < 0)
                return failed("the worker's user", strerror(errno));
        return 0;
}

/* ------------------------------------------------------------------ the handshake */

static int accept_any(X509_STORE_CTX *store, void *userdata)
{
        return 1; /* who signs is what is tried, not whom somebody trusts */
}

/* A server with a key of its own, which asks for a certificate. */
static SSL_CTX *make_server(void)
{
        SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *certificate = X509_new();
        bool ok;

        ok = tls && key && certificate && X509_set_version(certificate, X509_VERSION_3) &&
             ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) &&
             X509_gmtime_adj(X509_getm_notBefore(certificate), 0) &&
             X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) &&
             X509_set_pubkey(certificate, key) && X509_sign(certificate, key, EVP_sha256()) &&
             SSL_CTX_use_certificate(tls, certificate) && SSL_CTX_use_PrivateKey(tls, key);
        if (ok) {
                SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
                SSL_CTX_set_cert_verify_callback(tls, accept_any, NULL);
        }
        X509_free(certificate);
        EVP_PKEY_free(key);
        if (ok)
                return tls;
        SSL_CTX_free(tls);
        return NULL;
}

static SSL_CTX *make_client(const Credential *credential)
{
        SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
        STACK_OF(X509) *others = sk_X509_dup(credential->chain);
        X509 *leaf = others ? sk_X509_shift(others) : NULL;
        bool ok;

        ok = tls && leaf && SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) &&
             SSL_CTX_use_cert_and_key(tls, leaf, credential->key, others, 1);
        sk_X509_free(others);
        if (ok)
                return tls;
        SSL_CTX_free(tls);
        return NULL;
}

static bool shake(SSL *client, SSL *server)
{
        for (int round = 0; round < ROUNDS_MAX; round++) {
                int c = SSL_do_handshake(client), s;

                if (c <= 0 && SSL_get_error(client, c) != SSL_ERROR_WANT_READ)
                        return false;
                s = SSL_do_handshake(server);
                if (s <= 0 && SSL_get_error(server, s) != SSL_ERROR_WANT_READ)
                        return false;
                if (c > 0 && s > 0)
                        return true;
        }
        return false;
}

static int handshake(const Credential *credential)
{
        SSL_CTX *server_tls = make_server(), *client_tls = make_client(credential);
        SSL *server = server_tls ? SSL_new(server_tls) : NULL;
        SSL *client = client_tls ? SSL_new(client_tls) : NULL;
        BIO *one = NULL, *other = NULL;
        int r;

        if (!server || !client || !BIO_new_bio_pair(&one, 0, &other, 0))
                return failed("the handshake", reasons());
        SSL_set_bio(client, one, one);
        SSL_set_bio(server, other, other);
        SSL_set_connect_state(client);
        SSL_set_accept_state(server);
        ERR_clear_error();
        if (shake(client, server))
                r = puts("ok") < 0;
        else
                r = failed("the handshake", reasons());
        SSL_free(client);
        SSL_free(server);
        SSL_CTX_free(client_tls);
        SSL_CTX_free(server_tls);
        return r;
}

/* In a process of its own, as a gateway's worker is: what joins another cgroup is not the unit's main process. */
static int work(const Worker *worker, const Credential *credential)
{
        int status = 0;
        pid_t pid;

        (void)fflush(stdout);
        pid = fork();
        if (pid < 0)
                return failed("a process", strerror(errno));
        if (pid == 0) {
                int r;

                (void)alarm(SECONDS);
                r = become(worker);
                if (r == 0)
                        r = handshake(credential);
                (void)fflush(stdout);
                _exit(r);
        }
        if (waitpid(pid, &status, 0) < 0)
                return failed("a process", strerror(errno));
        if (WIFSIGNALED(status))
                return failed("the handshake", WTERMSIG(status) == SIGALRM ? "it takes more than a minute"
                                                                           : "the process has crashed");
        return WEXITSTATUS(status);
}

/* ------------------------------------------------------------------ what it is told */

static int read_groups(char *text, Worker *worker)
{
        char *rest = text, *word;

        while ((word = strsep(&rest, ",")))
                if (*word && worker->n_groups < GROUPS_MAX)
                        worker->groups[worker->n_groups++] = (gid_t)strtoul(word, NULL, 10);
        return 0;
}

/* 0: go on. Else the exit status, and *ret_is_over. */
static int parse(int argc, char **argv, Worker *worker, bool *ret_is_over)
{
        static const struct option options[] = {
                { "cgroup", required_argument, NULL, 'c' }, { "root", required_argument, NULL, 'r' },
                { "uid", required_argument, NULL, 'u' },    { "gid", required_argument, NULL, 'g' },
                { "groups", required_argument, NULL, 'G' }, { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },      { NULL, 0, NULL, 0 },
        };
        int c;

        *ret_is_over = true;
        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (c) {
                case 'c':
                        worker->cgroup = optarg;
                        break;
                case 'r':
                        worker->root = optarg;
                        break;
                case 'u':
                        worker->uid = strtol(optarg, NULL, 10);
                        break;
                case 'g':
                        worker->gid = strtol(optarg, NULL, 10);
                        break;
                case 'G':
                        (void)read_groups(optarg, worker);
                        break;
                case 'h':
                        return fputs(help_text, stdout) < 0;
                case 'v':
                        return puts("certbroker-handshake " PROJECT_VERSION) < 0;
                default:
                        return EX_USAGE;
                }
        *ret_is_over = optind < argc - 1;
        return *ret_is_over ? EX_USAGE : 0;
}

int main(int argc, char **argv)
{
        Worker worker = { .uid = -1, .gid = -1 };
        Credential credential = { 0 };
        bool is_over;
        int r = parse(argc, argv, &worker, &is_over);

        if (is_over)
                return r;
        r = check_provider();
        if (r == 0 && optind < argc)
                r = read_credential(argv[optind], &credential);
        if (r == 0)
                r = optind < argc ? work(&worker, &credential) : puts("ok") < 0;
        EVP_PKEY_free(credential.key);
        sk_X509_pop_free(credential.chain, X509_free);
        return r;
}
