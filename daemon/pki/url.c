/* SPDX-License-Identifier: Apache-2.0 */
/* URLs, taken apart by OpenSSL; what is refused here would be read in two ways by two programs. */
#include "pki/url.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/http.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/macro.h"

#define URL_MAX 2048

typedef struct UrlParts {
        char *scheme, *user, *host, *fragment;
} UrlParts;

static void parts_deinit(UrlParts *parts)
{
        OPENSSL_free(parts->scheme);
        OPENSSL_free(parts->user);
        OPENSSL_free(parts->host);
        OPENSSL_free(parts->fragment);
}

static const char *refuse_parts(const UrlParts *parts)
{
        if (!parts->scheme || strcasecmp(parts->scheme, "https") != 0)
                return "must begin with https://";
        if (parts->user && parts->user[0])
                return "must not hold a user name or password";
        if (!parts->host || !parts->host[0])
                return "names no host";
        if (parts->fragment && parts->fragment[0])
                return "must not have a fragment (#...)";
        return NULL;
}

/* OpenSSL answers 0 both for no port and for port 0, which nobody can listen on. */
static bool has_port_zero(const char *url)
{
        const char *authority = strstr(url, "://") + strlen("://");
        size_t n = strcspn(authority, "/?#");

        while (n > 0 && authority[n - 1] == '0')
                n--;
        return n > 0 && authority[n - 1] == ':' && authority[n] == '0';
}

void pki_url_normalise(char *url)
{
        for (; *url && *url != ':'; url++)
                *url = (char)tolower((unsigned char)*url);
}

const char *pki_url_refuse(const char *url)
{
        CLEANUP(parts_deinit) UrlParts parts = { 0 };
        size_t n = strlen(url);

        if (n > URL_MAX)
                return "is longer than 2048 bytes";
        for (size_t i = 0; i < n; i++) {
                if (url[i] <= ' ' || url[i] > '~' || strchr("\"<>\\^`{|}", url[i]))
                        return "holds a character that a URL may not hold";
        }
        if (!strstr(url, "://"))
                return "has no scheme";

        if (OSSL_parse_url(url, &parts.scheme, &parts.user, &parts.host, NULL, NULL, NULL, NULL,
                           &parts.fragment) != 1) {
                ERR_clear_error();
                return "is not a URL";
        }
        if (has_port_zero(url))
                return "has no port from 1 to 65535";
        return refuse_parts(&parts);
}
