/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Managed identities: the endpoint of App Service, of Azure Arc, or of the virtual machine (IMDS), in
 * that order, as the host's environment tells. All are on this host or its link: http is what they
 * speak, no proxy is ever between, and no token of ours is sent there.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/strings.h"
#include "source/azure-key-vault/auth.h"

#define CONNECT_USEC (1 * USEC_PER_SEC)
#define ARC_FOLDER   "/var/opt/azcmagent/tokens/"
#define ARC_KEY_MAX  4096
#define VERSION_IMDS "2018-02-01"
#define VERSION_APP  "2019-08-01"
#define VERSION_ARC  "2019-11-01"

/* This host or its link, by number; or https. */
static bool is_near(const Address *address)
{
        struct in_addr ip;
        uint32_t n;

        if (strncmp(address->origin, "https://", 8) == 0 ||
            strcmp(address->host, "localhost") == 0 || strcmp(address->host, "[::1]") == 0)
                return true;
        if (inet_pton(AF_INET, address->host, &ip) != 1)
                return false;
        n = ntohl(ip.s_addr);
        return n >> 24 == 127 || n >> 16 == 0xa9fe; /* 127/8, 169.254/16 */
}

/* An endpoint from the environment may have a path: only where it is has to be near. */
static int check_near(const AuthJob *job, const char *endpoint)
{
        CLEANUP(address_deinit) Address address = { 0 };
        CLEANUP(freep) char *origin = NULL;
        const char *slash = strstr(endpoint, "://");
        int r;

        slash = slash ? strchr(slash + 3, '/') : NULL;
        origin = strndup(endpoint, slash ? (size_t)(slash - endpoint) : strlen(endpoint));
        if (!origin)
                return -ENOMEM;
        r = address_parse(origin, "IDENTITY_ENDPOINT", true, &address, job->failure);
        if (r == 0 && !is_near(&address))
                r = fail(job->failure, CB_SOURCE_DENIED,
                         "IDENTITY_ENDPOINT is not on this host; no token is asked for there");
        return r;
}

static char *make_url(const AuthJob *job, const char *endpoint, const char *path,
                      const char *version, bool with_client)
{
        const char *client = with_client ? job->vault->settings.client_id : NULL;
        char *url;

        /* A resource is of characters that need no escape in a query (RFC 3986, 3.4). */
        if (asprintf(&url, "%s%s?api-version=%s&resource=%s%s%s", endpoint, path, version,
                     job->resource, client ? "&client_id=" : "", string_or_empty(client)) < 0)
                return NULL;
        return url;
}

static HttpRequest make_request(const AuthJob *job, const char *url, const char *const *headers)
{
        return (HttpRequest){
                .method = "GET",
                .url = url,
                .headers = headers,
                .plain = true,
                .secret_answer = true,
                .connect_usec = CONNECT_USEC,
                .deadline_usec = job->deadline_usec,
        };
}

static const char *const metadata[] = { "Metadata: true", NULL };

static int ask_imds(const AuthJob *job)
{
        CLEANUP(freep)
        char *url = make_url(job, job->vault->settings.imds.origin,
                             "/metadata/identity/oauth2/token", VERSION_IMDS, true);
        HttpRequest request = make_request(job, url, metadata);

        return url ? auth_ask(job, &request, "the identity endpoint (IMDS)") : -ENOMEM;
}

static int ask_app_service(const AuthJob *job, const char *endpoint, const char *header)
{
        CLEANUP(freep) char *url = make_url(job, endpoint, "", VERSION_APP, true);
        CLEANUP(secret_freep) Secret *secret = NULL;
        HttpRequest request = make_request(job, url, metadata);
        size_t n = strlen(header);
        int r;

        r = url ? secret_new(n, &secret) : -ENOMEM;
        if (r < 0)
                return r;
        memcpy(secret_data(secret), header, n);
        secret_set_length(secret, n);
        request.secret_header = "X-IDENTITY-HEADER: ";
        request.secret = secret;
        return auth_ask(job, &request, "the identity endpoint (App Service)");
}

/* --- Azure Arc: who can read a file of root's is who it says --- */

/* Basic realm=FILE: exactly in the agent's folder, and a .key. NULL: it is not. Borrowed. */
static const char *arc_file(const char *challenge)
{
        static const char head[] = "Basic realm=";
        size_t n_folder = strlen(ARC_FOLDER), n;
        const char *path;

        if (!challenge || strncasecmp(challenge, head, sizeof(head) - 1) != 0)
                return NULL;
        path = challenge + sizeof(head) - 1;
        n = strlen(path);
        if (strncmp(path, ARC_FOLDER, n_folder) != 0 || strchr(path + n_folder, '/') ||
            strpbrk(path, "\n\"") || n < n_folder + 5 || strcmp(path + n - 4, ".key") != 0)
                return NULL;
        return path;
}

static int read_arc_key(const AuthJob *job, const char *challenge, Secret **ret_key)
{
        const char *path = arc_file(challenge);
        int r;

        if (!path)
                return fail(job->failure, CB_SOURCE_DENIED,
                            "the identity endpoint (Arc) names no file of its own folder; nothing "
                            "is read or sent");
        r = secret_read_foreign_file(path, ARC_KEY_MAX, ret_key);
        if (r < 0 && r != -ENOMEM)
                return fail(job->failure, CB_SOURCE_DENIED,
                            "the key of the identity endpoint (Arc), %s, cannot be read: %s; is "
                            "certbroker in the group himds?",
                            path, strerror(-r));
        return r;
}

static int ask_arc(const AuthJob *job, const char *endpoint)
{
        CLEANUP(freep) char *url = make_url(job, endpoint, "", VERSION_ARC, false);
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        CLEANUP(secret_freep) Secret *key = NULL;
        HttpRequest request = make_request(job, url, metadata);
        int r;

        if (!url)
                return -ENOMEM;
        r = http_perform(job->vault->http, &request, &answer);
        if (r < 0)
                return r;
        if (answer.fault != HTTP_OK || answer.status != 401)
                return auth_refusal(job, &answer, "the identity endpoint (Arc)");
        r = read_arc_key(job, answer.challenge, &key);
        if (r != 0)
                return r;
        request.secret_header = "Authorization: Basic ";
        request.secret = key;
        return auth_ask(job, &request, "the identity endpoint (Arc)");
}

int auth_managed_identity(const AuthJob *job)
{
        const char *endpoint = getenv("IDENTITY_ENDPOINT"), *header = getenv("IDENTITY_HEADER");
        bool arc = endpoint && !header && getenv("IMDS_ENDPOINT");
        int r = 0;

        if (endpoint && (header || arc))
                r = check_near(job, endpoint);
        if (r != 0)
                return r;
        if (endpoint && header)
                return ask_app_service(job, endpoint, header);
        return arc ? ask_arc(job, endpoint) : ask_imds(job);
}
