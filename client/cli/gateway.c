/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gateways of others enforce is what their configuration says. Here a credential is put into it. The
 * invariant: what is written verifies the backend at least as far as the credential demands; where a gateway
 * cannot do that, nothing is written, and why is said. Whatever goes into a configuration, comments
 * included, has none of the characters that mean something there: text_is_plain() is asked about each.
 */
#include "gateway.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <arpa/inet.h>

#include "macro.h"
#include "text.h"
#include "written.h"

/* Where Debian keeps the authorities of the system; nginx has no word for them. */
#define SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt"
#define DEPTH     "10"
#define WITH_COMMENT                                                                               \
        "# Written by `certbroker backend watch %s`; changes are lost with the next one.\n"        \
        "# Certificate %s, generation %llu. The key file holds a reference, no secret.\n"

typedef struct Place {
        char host[256], port[8];
        bool is_address;
        const char *name; /* that the certificate must have; NULL: none can be verified */
} Place;

struct Gateway {
        const char *name;
        const char *(*check_files)(const GatewayFiles *files);
        int (*write)(const GatewayFiles *files, const cb_credential *credential, const Place *place,
                     FILE *to, char *ret_why);
};

static int refuse(char *ret_why, const char *format, ...) PRINTF(2, 3);
static int refuse(char *ret_why, const char *format, ...)
{
        va_list list;

        va_start(list, format);
        (void)vsnprintf(ret_why, GATEWAY_WHY_MAX, format, list);
        va_end(list);
        return CB_NOT_SUPPORTED;
}

/* ------------------------------------------------------------------ what is safe in a configuration */

static bool is_plain_path(const char *path)
{
        return *path == '/' && text_is_plain(path, "/._-+=@:,~");
}

static bool is_address(const char *host)
{
        unsigned char address[sizeof(struct in6_addr)];

        return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static int find_place(const cb_credential *credential, Place *place, char *ret_why)
{
        const char *host = credential->url ? credential->url : "", *end, *port;
        size_t n_port;
        bool bracketed;

        if (strncasecmp(host, "https://", 8) != 0)
                return refuse(ret_why, "Its URL is not https.");
        host += 8;
        bracketed = *host == '[';
        host += bracketed;
        end = bracketed ? strchr(host, ']') : host + strcspn(host, ":/?#");
        if (!end || end == host || (size_t)(end - host) >= sizeof(place->host))
                return refuse(ret_why, "Its URL has no host.");
        memcpy(place->host, host, (size_t)(end - host));
        place->host[end - host] = '\0';
        port = end + bracketed;
        n_port = *port == ':' ? strspn(port + 1, "0123456789") : 3;
        end = *port == ':' ? port + 1 + n_port : port;
        /* What stands on would make another host of it: good:443@evil. */
        if (n_port == 0 || n_port >= sizeof(place->port) || (*end && !strchr("/?#", *end)))
                return refuse(ret_why, "Its URL has no port that can be.");
        (void)snprintf(place->port, sizeof(place->port), "%.*s", (int)n_port,
                       *port == ':' ? port + 1 : "443");
        place->is_address = is_address(place->host);
        if (!text_is_plain(place->host, place->is_address ? ".:" : ".-_"))
                return refuse(ret_why, "The host %s cannot be written into a configuration.",
                              place->host);

        place->name = place->is_address ? NULL : place->host;
        for (char **name = credential->server_names; !place->name && *name; name++)
                if (!is_address(*name) && text_is_plain(*name, ".-_"))
                        place->name = *name;
        return 0;
}

/* ------------------------------------------------------------------ what no gateway of others can do */

static int check_pins(const cb_credential *credential, const char *gateway, char *ret_why)
{
        if (!credential->server_thumbprints[0])
                return 0;
        return refuse(
                ret_why,
                "%s cannot hold a backend to a thumbprint. To the same effect, give the backend "
                "that very certificate as --ca-file, and take the pin away "
                "(--server-thumbprint '').",
                gateway);
}

static int check_name(const cb_credential *credential, const Place *place, const char *gateway,
                      char *ret_why)
{
        if (!credential->validate_name || place->name)
                return 0;
        return refuse(ret_why,
                      "%s cannot verify an address. Give the backend a --server-name that its "
                      "certificate has, or a URL with a name.",
                      gateway);
}

static void note_other_names(const cb_credential *credential, const Place *place, FILE *to)
{
        for (char **name = credential->server_names; credential->validate_name && *name; name++)
                if (text_is_plain(*name, ".:-_*") && strcasecmp(*name, place->name) != 0)
                        (void)fprintf(to,
                                      "# %s would be accepted too, but only one name can be "
                                      "verified here.\n",
                                      *name);
}

/* ------------------------------------------------------------------ nginx */

static const char *nginx_files(const GatewayFiles *files)
{
        (void)files;
        return NULL;
}

static int nginx_write(const GatewayFiles *files, const cb_credential *credential,
                       const Place *place, FILE *to, char *ret_why)
{
        const char *ca =
                credential->ca_file && *credential->ca_file ? credential->ca_file : SYSTEM_CA;
        int r = check_pins(credential, "nginx", ret_why);

        if (r)
                return r;
        if (credential->validate_chain != credential->validate_name)
                return refuse(ret_why,
                              "nginx verifies chain and name, or neither, and %s is switched off. "
                              "Switch it on again, or both off.",
                              credential->validate_chain ? "the name" : "the chain");
        r = check_name(credential, place, "nginx", ret_why);
        if (r)
                return r;

        (void)fprintf(to, "# Include it where %s is passed to: proxy_pass %s;\n", files->backend,
                      text_is_plain(credential->url, "/._-+=@:,~%?&[]") ? credential->url : "…");
        note_other_names(credential, place, to);
        (void)fprintf(to,
                      "proxy_ssl_certificate %s;\n"
                      "proxy_ssl_certificate_key %s;\n"
                      "proxy_ssl_protocols TLSv1.2 TLSv1.3;\n",
                      files->chain, files->key);
        if (place->name)
                (void)fprintf(to, "proxy_ssl_server_name on;\nproxy_ssl_name %s;\n", place->name);
        else
                (void)fputs("proxy_ssl_server_name off;\n", to);
        if (credential->validate_chain)
                (void)fprintf(to,
                              "proxy_ssl_verify on;\n"
                              "proxy_ssl_verify_depth " DEPTH ";\n"
                              "proxy_ssl_trusted_certificate %s;\n",
                              ca);
        else
                (void)fputs("# Verification is switched off for this backend.\n"
                            "proxy_ssl_verify off;\n",
                            to);
        return 0;
}

/* ------------------------------------------------------------------ haproxy */

/* It has one word for both: a file with chain and key, or the chain in FILE and the key in FILE.key. */
static const char *haproxy_files(const GatewayFiles *files)
{
        size_t n = strlen(files->chain);

        if (strcmp(files->chain, files->key) == 0 ||
            (strncmp(files->chain, files->key, n) == 0 && strcmp(files->key + n, ".key") == 0))
                return NULL;
        return "For haproxy the key file is the chain's file itself, or has its name with .key "
               "after "
               "it: --chain orders.pem --key orders.pem.key.";
}

static int haproxy_write(const GatewayFiles *files, const cb_credential *credential,
                         const Place *place, FILE *to, char *ret_why)
{
        const char *ca =
                credential->ca_file && *credential->ca_file ? credential->ca_file : "@system-ca";
        bool is_v6 = strchr(place->host, ':') != NULL;
        int r = check_pins(credential, "haproxy", ret_why);

        if (r)
                return r;
        if (credential->validate_name && !credential->validate_chain)
                return refuse(ret_why, "haproxy verifies no name where the chain is not verified. "
                                       "Switch the chain's verification on again, or both off.");
        r = check_name(credential, place, "haproxy", ret_why);
        if (r)
                return r;

        (void)fprintf(to,
                      "# A section of its own, for `haproxy -f haproxy.cfg -f THIS`, and "
                      "`use_backend %s` there.\n",
                      files->backend);
        note_other_names(credential, place, to);
        (void)fprintf(to, "backend %s\n    server %s %s%s%s:%s ssl crt %s ssl-min-ver TLSv1.2",
                      files->backend, files->backend, is_v6 ? "[" : "", place->host,
                      is_v6 ? "]" : "", place->port, files->chain);
        if (!credential->validate_chain)
                (void)fputs(" verify none", to);
        else
                (void)fprintf(to, " verify required ca-file %s", ca);
        /* With `verify required`, the name that is asked for is also the one that is verified. */
        if (place->name && (credential->validate_name || !credential->validate_chain))
                (void)fprintf(to, " sni str(%s)", place->name);
        if (place->name && credential->validate_name)
                (void)fprintf(to, " verifyhost %s", place->name);
        (void)fputc('\n', to);
        return 0;
}

/* ------------------------------------------------------------------ the door */

static const Gateway gateways[] = {
        { "nginx", nginx_files, nginx_write },
        { "haproxy", haproxy_files, haproxy_write },
};

const Gateway *gateway_find(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(gateways); i++)
                if (strcmp(gateways[i].name, name) == 0)
                        return &gateways[i];
        return NULL;
}

const char *gateway_check_files(const Gateway *gateway, const GatewayFiles *files)
{
        if (!is_plain_path(files->chain) || !is_plain_path(files->key))
                return "A path that goes into a gateway's configuration has letters, digits and "
                       "/._-+=@:,~ only.";
        if (!text_is_plain(files->backend, TEXT_OF_IDS))
                return "That is no backend's name.";
        return gateway->check_files(files);
}

int gateway_write(const Gateway *gateway, const GatewayFiles *files,
                  const cb_credential *credential, char **ret_text, char ret_why[GATEWAY_WHY_MAX])
{
        CLEANUP(written_deinit) Written written = { 0 };
        Place place;
        int r;

        if (!text_is_plain(credential->id, TEXT_OF_IDS))
                return refuse(ret_why, "Its certificate's id cannot be written into a "
                                       "configuration.");
        if (credential->ca_file && *credential->ca_file && !is_plain_path(credential->ca_file))
                return refuse(ret_why, "Its --ca-file cannot be written into a configuration.");
        r = find_place(credential, &place, ret_why);
        if (r)
                return r;
        r = written_init(&written);
        if (r)
                return r;
        (void)fprintf(written.to, WITH_COMMENT, files->backend, credential->id,
                      (unsigned long long)credential->generation);
        r = gateway->write(files, credential, &place, written.to, ret_why);
        return r ? r : written_finish(&written, ret_text);
}
