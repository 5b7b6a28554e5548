/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `backend check`: one TLS connection to a backend, with its credential, as a gateway would make
 * it. The backend's certificate is judged by the credential's settings before ours is presented; a
 * request (HEAD) shows whether the backend accepts it. OpenSSL runs in a library context of its
 * own, with the default provider and ours, so that no openssl.cnf has a say. Nothing is ever
 * verified less than the credential says.
 */
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "build-config.h"
#include "check-inside.h"
#include "doctor.h"
#include "keyfile.h"
#include "text.h"

#define CONNECT_SECONDS 10

static void check_deinit(Check *c)
{
        SSL_free(c->ssl);
        SSL_CTX_free(c->tls);
        EVP_PKEY_free(c->key);
        X509_free(c->certificate);
        sk_X509_pop_free(c->chain, X509_free);
        for (size_t i = 0; i < ELEMENTSOF(c->providers); i++)
                if (c->providers[i])
                        (void)OSSL_PROVIDER_unload(c->providers[i]);
        OSSL_LIB_CTX_free(c->context);
        cb_credential_free(c->credential);
        free(c->host);
        free(c->port);
        free(c->path);
        free(c->subject);
        free(c->issuer);
        free(c->matched_name);
        json_decref(c->issuers);
}

/* The last thing that OpenSSL complained of, for a person. */
static const char *openssl_reason(void)
{
        unsigned long code = ERR_peek_last_error();
        const char *reason = code ? ERR_reason_error_string(code) : NULL;
        const char *data = NULL;
        int flags = 0;

        (void)ERR_peek_last_error_data(&data, &flags);
        if (data && *data && (flags & ERR_TXT_STRING))
                return data;
        return reason ? reason : "no reason given";
}

/* ------------------------------------------------------------------ the URL */

static int parse_url(Cli *cli, Check *c, const char *url)
{
        static const char scheme[] = "https://";
        const char *host, *end, *port, *path;
        bool bracketed;

        if (strncasecmp(url, scheme, strlen(scheme)) != 0)
                return cli_fail(cli, CB_FAILED, "The URL of %s is not https: %s", c->name, url);
        host = url + strlen(scheme);
        bracketed = *host == '[';
        host += bracketed;
        end = bracketed ? strchr(host, ']') : host + strcspn(host, ":/?#");
        if (!end || end == host)
                return cli_fail(cli, CB_FAILED, "The URL of %s has no host: %s", c->name, url);
        port = end + bracketed;
        path = port + strcspn(port, "/?#");
        if (*port == ':')
                port++;

        c->host = strndup(host, (size_t)(end - host));
        c->port = path > port ? strndup(port, (size_t)(path - port)) : strdup("443");
        c->path = *path == '/' ? strndup(path, strcspn(path, "#")) : strdup("/");
        return c->host && c->port && c->path ? 0 : cli_out_of_memory(cli);
}

/* ------------------------------------------------------------------ our side */

static int load_providers(Cli *cli, Check *c)
{
        c->context = OSSL_LIB_CTX_new();
        if (!c->context)
                return cli_out_of_memory(cli);
        /*
         * $OPENSSL_MODULES wins, as for any OpenSSL program; else the one that is installed with
         * us.
         */
        if (!secure_getenv("OPENSSL_MODULES"))
                (void)OSSL_PROVIDER_set_default_search_path(c->context, MODULESDIR);
        c->providers[0] = OSSL_PROVIDER_load(c->context, "default");
        c->providers[1] = OSSL_PROVIDER_load(c->context, "certbroker");
        if (!c->providers[0] || !c->providers[1])
                return cli_fail(cli, CB_FAILED,
                                "The OpenSSL provider certbroker cannot be loaded from %s: %s",
                                secure_getenv("OPENSSL_MODULES") ? "$OPENSSL_MODULES" : MODULESDIR,
                                openssl_reason());
        return 0;
}

static int load_chain(Cli *cli, Check *c)
{
        c->chain = sk_X509_new_null();
        if (!c->chain)
                return cli_out_of_memory(cli);
        for (size_t i = 0; i < c->credential->n_chain; i++) {
                const unsigned char *der = c->credential->chain[i].data;
                X509 *x = X509_new_ex(c->context, NULL);

                if (!x || !d2i_X509(&x, &der, (long)c->credential->chain[i].n)) {
                        /* d2i frees what it could not fill */
                        return cli_fail(cli, CB_FAILED, "Certificate %zu of %s cannot be read.", i,
                                        c->credential->id);
                }
                if (i == 0)
                        c->certificate = x;
                else if (!sk_X509_push(c->chain, x)) {
                        X509_free(x);
                        return cli_out_of_memory(cli);
                }
        }
        return 0;
}

static int load_key(Cli *cli, Check *c)
{
        CLEANUP(free_text) char *pem = NULL;
        size_t n;
        BIO *bio;

        if (keyfile_encode(c->credential->key, c->certificate, NULL, &pem, &n))
                return cli_out_of_memory(cli);
        bio = BIO_new_mem_buf(pem, (int)n);
        if (bio)
                c->key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, c->context, NULL);
        BIO_free(bio);
        return c->key ? 0
                      : cli_fail(cli, CB_FAILED, "The key %s cannot be loaded: %s",
                                 c->credential->key, openssl_reason());
}

/* ------------------------------------------------------------------ the backend's certificate */

static char *name_text(const X509_NAME *name)
{
        BIO *bio = BIO_new(BIO_s_mem());
        char *data = NULL, *text = NULL;
        long n;

        if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
                n = BIO_get_mem_data(bio, &data);
                text = strndup(data, (size_t)n);
        }
        BIO_free(bio);
        return text;
}

static void note_presented(Check *c, X509 *leaf)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        EVP_MD *md = EVP_MD_fetch(c->context, "SHA256", NULL);
        unsigned n = 0;

        c->presented = true;
        c->subject = name_text(X509_get_subject_name(leaf));
        c->issuer = name_text(X509_get_issuer_name(leaf));
        c->self_signed = X509_self_signed(leaf, 1) == 1;
        if (md && X509_digest(leaf, md, digest, &n))
                for (unsigned i = 0; i < n; i++)
                        (void)snprintf(c->thumbprint + 2 * i, 3, "%02X", digest[i]);
        EVP_MD_free(md);
}

static bool is_pinned(const Check *c)
{
        for (char **pin = c->credential->server_thumbprints; *pin; pin++)
                if (c->thumbprint[0] && strcasecmp(*pin, c->thumbprint) == 0)
                        return true;
        return false;
}

static bool matches_name(X509 *leaf, const char *name)
{
        ASN1_OCTET_STRING *address = a2i_IPADDRESS(name);

        if (address) {
                ASN1_OCTET_STRING_free(address);
                return X509_check_ip_asc(leaf, name, 0) == 1;
        }
        return X509_check_host(leaf, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

static bool judge_name(Check *c, X509 *leaf)
{
        const char *name = NULL;

        if (!c->credential->validate_name) {
                c->name_result = "not verified";
                return true;
        }
        if (matches_name(leaf, c->host))
                name = c->host;
        for (char **other = c->credential->server_names; !name && *other; other++)
                if (matches_name(leaf, *other))
                        name = *other;
        c->matched_name = name ? strdup(name) : NULL;
        c->name_result = name ? "ok" : "no name of the certificate is one that is expected";
        return name != NULL;
}

static bool judge_chain(Check *c, X509_STORE_CTX *store)
{
        bool pinned = c->credential->server_thumbprints[0] != NULL, ok;

        if (pinned) {
                ok = is_pinned(c);
                c->pin_result = ok ? "ok" : "it is none of the pinned certificates";
                c->chain_result = "not needed, the certificate is pinned";
                return ok;
        }
        c->pin_result = NULL;
        if (!c->credential->validate_chain) {
                c->chain_result = "not verified";
                return true;
        }
        ok = X509_verify_cert(store) == 1;
        c->chain_result =
                ok ? "ok" : X509_verify_cert_error_string(X509_STORE_CTX_get_error(store));
        return ok;
}

/* In place of OpenSSL's own verification: 1 lets the handshake go on. */
static int on_verify(X509_STORE_CTX *store, void *argument)
{
        Check *c = argument;
        X509 *leaf = X509_STORE_CTX_get0_cert(store);
        bool chain_ok, name_ok;

        note_presented(c, leaf);
        chain_ok = judge_chain(c, store);
        name_ok = judge_name(c, leaf);
        c->accepted = chain_ok && name_ok;
        c->refused_by_us = !c->accepted;
        if (!c->accepted && X509_STORE_CTX_get_error(store) == X509_V_OK)
                X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        return c->accepted;
}

static json_t *names_json(const STACK_OF(X509_NAME) * asked)
{
        json_t *names = json_array();

        for (int i = 0; names && i < sk_X509_NAME_num(asked); i++) {
                char *text = name_text(sk_X509_NAME_value(asked, i));

                (void)json_array_append_new(names, json_string(text ? text : ""));
                free(text);
        }
        return names;
}

/*
 * The backend asks for a certificate. OpenSSL forgets the issuers that it named when this is over.
 */
static int on_asked(SSL *ssl, void *argument)
{
        Check *c = argument;

        c->asked = true;
        json_decref(c->issuers);
        c->issuers = names_json(SSL_get0_peer_CA_list(ssl));
        return SSL_use_cert_and_key(ssl, c->certificate, c->key, c->chain, 1);
}

/* ------------------------------------------------------------------ the connection */

/* The system's authorities are a quarter of it. */
#define AUTHORITIES_LOOK (1024 * 1024)

/* What a file is in which OpenSSL, which reads PEM alone, has found no authority. */
static const char *look_at_authorities(const char *file, off_t size)
{
        BIO *bio = size <= AUTHORITIES_LOOK ? BIO_new_file(file, "rb") : NULL;
        const char *what = "there is no certificate in PEM in it";
        X509 *certificate = NULL;
        PKCS7 *pkcs7 = NULL;

        if (bio && (certificate = d2i_X509_bio(bio, NULL)))
                what = "it is a certificate in DER; make PEM of it: openssl x509 -inform DER -in "
                       "FILE -out NEW";
        else if (bio && BIO_seek(bio, 0) >= 0 && (pkcs7 = d2i_PKCS7_bio(bio, NULL)))
                what = "it is PKCS#7; take the certificates out of it: openssl pkcs7 -inform DER "
                       "-print_certs -in FILE -out NEW";
        else if (bio && BIO_seek(bio, 0) >= 0 &&
                 (pkcs7 = PEM_read_bio_PKCS7(bio, NULL, NULL, NULL)))
                what = "it is PKCS#7; take the certificates out of it: openssl pkcs7 -print_certs "
                       "-in FILE -out NEW";
        PKCS7_free(pkcs7);
        X509_free(certificate);
        BIO_free(bio);
        return what;
}

static int set_trust(Cli *cli, Check *c)
{
        static const char refusal[] = "The authorities in %s cannot be read: %s.";
        const char *file = c->credential->ca_file;
        struct stat st;

        if (!file || !*file) {
                if (!SSL_CTX_set_default_verify_paths(c->tls))
                        return cli_fail(cli, CB_FAILED, "The system's authorities: %s",
                                        openssl_reason());
                return 0;
        }
        /* Its name is given by whoever manages the backend: nothing of his makes us wait. */
        if (stat(file, &st) < 0 || access(file, R_OK) < 0)
                return cli_fail(cli, CB_FAILED, refusal, file, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return cli_fail(cli, CB_FAILED, refusal, file, "no file");
        if (!SSL_CTX_load_verify_file(c->tls, file))
                return cli_fail(cli, CB_FAILED, refusal, file,
                                look_at_authorities(file, st.st_size));
        return 0;
}

static int make_tls(Cli *cli, Check *c)
{
        int r;

        c->tls = SSL_CTX_new_ex(c->context, NULL, TLS_client_method());
        if (!c->tls || !SSL_CTX_set_min_proto_version(c->tls, TLS1_2_VERSION))
                return cli_fail(cli, CB_FAILED, "TLS: %s", openssl_reason());
        SSL_CTX_set_verify(c->tls, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_cert_verify_callback(c->tls, on_verify, c);
        SSL_CTX_set_cert_cb(c->tls, on_asked, c);
        /* A pin needs no authorities: then it does not matter whether they can be read. */
        r = c->credential->server_thumbprints[0] || !c->credential->validate_chain
                    ? 0
                    : set_trust(cli, c);
        if (r)
                return r;
        c->ssl = SSL_new(c->tls);
        return c->ssl ? 0 : cli_out_of_memory(cli);
}

static bool is_address(const char *host)
{
        ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);

        ASN1_OCTET_STRING_free(address);
        return address != NULL;
}

/* What the system, or the look-up of the name, said of the last address that was tried. */
static const char *connect_reason(void)
{
        const char *reason = "no answer in time", *data = NULL;
        unsigned long code;
        int flags = 0;

        while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags))) {
                if (ERR_SYSTEM_ERROR(code))
                        reason = strerror(ERR_GET_REASON(code));
                else if (ERR_GET_REASON(code) == ERR_R_SYS_LIB && (flags & ERR_TXT_STRING))
                        reason = data;
        }
        return reason;
}

/* Not BIO_do_connect_retry(): a connection that is refused it tries until the time is over, and calls it that. */
static bool connect_in_time(BIO *bio)
{
        const time_t end = time(NULL) + CONNECT_SECONDS;

        while (BIO_do_connect(bio) <= 0) {
                if (!BIO_should_retry(bio))
                        return false;
                if (BIO_wait(bio, end, 50) <= 0)
                        return false;
        }
        return true;
}

static int tcp_connect(Cli *cli, Check *c)
{
        const struct timeval timeout = { .tv_sec = CONNECT_SECONDS };
        BIO *bio = BIO_new(BIO_s_connect());
        int fd = -1;

        if (!bio)
                return cli_out_of_memory(cli);
        (void)BIO_set_conn_hostname(bio, c->host);
        (void)BIO_set_conn_port(bio, c->port);
        (void)BIO_set_nbio(bio, 1);
        ERR_clear_error();
        if (!connect_in_time(bio)) {
                BIO_free_all(bio);
                return cli_fail(cli, CB_FAILED, "Cannot connect to %s port %s: %s", c->host,
                                c->port, connect_reason());
        }
        (void)BIO_get_fd(bio, &fd);
        (void)BIO_socket_nbio(fd, 0);
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
        SSL_set_bio(c->ssl, bio, bio);
        return 0;
}

/* It was our certificate, maybe: what is known to be wrong with that is said behind what was seen. */
static int add_trouble(Cli *cli, const Check *c, int r)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const cb_error seen = cli->error;
        const cb_value *properties;
        const char *trouble = "";

        if (!c->asked)
                return r;
        if (ask_properties(cli, "certificate", c->credential->id, &reply, &properties) == 0)
                trouble = cb_value_string(cb_value_get(properties, "LastError"), "");
        cli->error = seen;
        return *trouble ? cli_fail(cli, r, "%s. Of our certificate %s is known: %s", seen.text,
                                   c->credential->id, trouble)
                        : r;
}

static int handshake(Cli *cli, Check *c)
{
        if (!is_address(c->host) && !SSL_set_tlsext_host_name(c->ssl, c->host))
                return cli_out_of_memory(cli);
        ERR_clear_error();
        errno = 0;
        if (SSL_connect(c->ssl) == 1)
                return 0;
        if (c->refused_by_us)
                return CB_FAILED; /* the report says more than OpenSSL can */
        if (errno == EAGAIN)
                return cli_fail(cli, CB_FAILED, "%s gave no answer within %d s.", c->host,
                                CONNECT_SECONDS);
        return add_trouble(cli, c,
                           cli_fail(cli, CB_FAILED, "The TLS handshake with %s failed%s: %s", c->host,
                                    c->asked ? ", after it had asked for a certificate" : "",
                                    openssl_reason()));
}

/* In TLS 1.3 the backend's verdict on our certificate comes only after the handshake. */
static int request(Cli *cli, Check *c)
{
        CLEANUP(free_text) char *text = NULL;
        int n, error;

        if (asprintf(&text,
                     "HEAD %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: certbroker\r\n"
                     "Connection: close\r\n\r\n",
                     c->path, c->host) < 0) {
                text = NULL;
                return cli_out_of_memory(cli);
        }
        ERR_clear_error();
        errno = 0;
        /* Where writing fails there is still an alert to be read, which says more. */
        (void)SSL_write(c->ssl, text, (int)strlen(text));
        n = SSL_read(c->ssl, c->answer, sizeof(c->answer) - 1);
        error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, n);
        if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL)
                return add_trouble(cli, c,
                                   cli_fail(cli, CB_FAILED, "%s broke the connection off%s: %s",
                                            c->host,
                                            c->asked ? " after our certificate was presented" : "",
                                            ERR_peek_last_error() || !errno ? openssl_reason()
                                                                            : strerror(errno)));
        c->answer[n > 0 ? n : 0] = '\0';
        c->answer[strcspn(c->answer, "\r\n")] = '\0';
        return 0;
}

/* Why we did not accept it, and what to do: the pin first, since it takes nothing away. */
static int refused(Cli *cli, const Check *c)
{
        bool pinned = c->credential->server_thumbprints[0] != NULL;
        bool chain_failed =
                !pinned && c->credential->validate_chain && strcmp(c->chain_result, "ok") != 0;

        if (pinned && !is_pinned(c))
                return cli_fail(
                        cli, CB_FAILED,
                        "%s presented another certificate than the pinned one. If it has been "
                        "renewed: certbroker backend set %s --server-thumbprint %s",
                        c->host, c->name, c->thumbprint);
        if (chain_failed)
                return cli_fail(
                        cli, CB_FAILED,
                        "The certificate of %s is not trusted (%s). If it is the right one, pin "
                        "it: certbroker backend set %s --server-thumbprint %s; or name its "
                        "authority with --ca-file.",
                        c->host, c->self_signed ? "it is self-signed" : c->chain_result, c->name,
                        c->thumbprint);
        return cli_fail(
                cli, CB_FAILED,
                "The certificate of %s is for other names. If it is the right one: certbroker "
                "backend set %s --server-name NAME",
                c->host, c->name);
}

static int connect_and_ask(Cli *cli, Check *c)
{
        int r;

        r = tcp_connect(cli, c);
        if (r == 0)
                r = handshake(cli, c);
        if (r && c->refused_by_us)
                return refused(cli, c);
        return r ? r : request(cli, c);
}

int verb_backend_check(Cli *cli, const Arguments *arguments)
{
        CLEANUP(check_deinit) Check check = { .name = arguments->positionals[0] };
        cb_error error;
        int r, told;

        /* OpenSSL writes to sockets with write(2). */
        (void)signal(SIGPIPE, SIG_IGN);
        r = cb_get_credential(cli->client, check.name, &check.credential, &cli->error);
        if (r == 0)
                r = parse_url(cli, &check, check.credential->url);
        if (r == 0)
                r = doctor_provider_loads(cli); /* in the gateway it is not found by our paths */
        if (r == 0)
                r = load_providers(cli, &check);
        if (r == 0)
                r = load_chain(cli, &check);
        if (r == 0)
                r = load_key(cli, &check);
        if (r == 0)
                r = make_tls(cli, &check);
        if (r)
                return r;

        r = connect_and_ask(cli, &check);
        error = cli->error;
        told = check_tell(cli, &check, r, error.text);
        if (told)
                return told;
        cli->error = error;
        return r;
}
