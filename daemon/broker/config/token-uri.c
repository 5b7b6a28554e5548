/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The URI of a token (RFC 7512), checked as text: the broker links no p11-kit. What is taken selects a
 * token and nothing else: no object, for certificates name their keys themselves; no library, file or PIN,
 * for those are settings of the source; and nothing unknown, for it could be what narrows. Matching is the
 * driver's.
 */
#include <string.h>

#include "base/hex.h"
#include "base/strings.h"
#include "broker/config/parse.h"

#define SCHEME "pkcs11:"

static const char *const selects_token[] = {
        "token",
        "manufacturer",
        "model",
        "serial",
        "slot-id",
        "slot-description",
        "slot-manufacturer",
        "library-description",
        "library-manufacturer",
        "library-version",
        NULL,
};
static const char *const selects_object[] = { "object", "id", "type", "object-type", NULL };
static const char *const chooses_secrets[] = { "pin-value",   "pin-source",  "pinfile",
                                               "module-path", "module-name", NULL };

/* The word that text[0..n) is, in any case; NULL: none of them. */
static const char *word_of(const char *const *words, const char *text, size_t n)
{
        for (; *words; words++) {
                if (strlen(*words) == n && strncasecmp(*words, text, n) == 0)
                        return *words;
        }
        return NULL;
}

/*
 * An attribute anywhere in the URI, before the '?' or
 * behind it, that would choose a library, a file or a PIN.
 */
static const char *forbidden_attribute(const char *attributes)
{
        for (const char *p = attributes;; p++) {
                const char *word = word_of(chooses_secrets, p, strcspn(p, "=;?&"));

                if (word)
                        return word;
                p += strcspn(p, ";?&");
                if (!*p)
                        return NULL;
        }
}

/* pk11-pchar of RFC 7512, section 2.3. */
static bool is_value(const char *text, size_t n)
{
        uint8_t byte;

        for (size_t i = 0; i < n; i++) {
                if (text[i] <= ' ' || text[i] > '~' || strchr("\"#/<>\\^`{|}", text[i]))
                        return false;
                if (text[i] != '%')
                        continue;
                if (n - i < 3 ||
                    hex_decode((const char[]){ text[i + 1], text[i + 2], '\0' }, &byte, 1) < 0)
                        return false;
                i += 2;
        }
        return true;
}

/* One NAME=VALUE of n bytes; why it cannot be taken, NULL: it can. */
static const char *refuse_attribute(const char *text, size_t n, unsigned *seen)
{
        const char *equals = memchr(text, '=', n);
        size_t n_name = equals ? (size_t)(equals - text) : n;
        const char *name = word_of(selects_token, text, n_name);
        unsigned bit = 0;

        if (word_of(selects_object, text, n_name))
                return "selects an object, and a source is a token: each certificate names its key";
        if (!name || !equals || strncmp(name, text, n_name) != 0)
                return "is not known to select a token";
        if (!is_value(equals + 1, n - n_name - 1))
                return "has a value that must be percent-encoded";
        while (!string_equal(selects_token[bit], name))
                bit++;
        if (*seen & 1U << bit)
                return "is there twice";
        *seen |= 1U << bit;
        return NULL;
}

static int check_attributes(Parse *parse, const config_setting_t *setting, const char *attributes)
{
        unsigned seen = 0;
        const char *p = attributes;

        while (*p) {
                size_t n = strcspn(p, ";");
                const char *why = refuse_attribute(p, n, &seen);

                if (why)
                        return parse_fail(parse, setting, "'uri': '%.*s' %s",
                                          (int)MIN(strcspn(p, "=;"), 64), p, why);
                if (p[n] == ';' && p[n + 1] == '\0')
                        return parse_fail(parse, setting, "'uri' ends with ';'");
                p += p[n] == ';' ? n + 1 : n;
        }
        return 0;
}

int parse_token_uri(Parse *parse, const config_setting_t *setting, char **ret_uri)
{
        const char *text, *forbidden;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        if (strncmp(text, SCHEME, strlen(SCHEME)) != 0)
                return parse_fail(parse, setting,
                                  "'uri' must begin with 'pkcs11:' (RFC 7512) and select a token, "
                                  "like \"pkcs11:token=prod\"");
        forbidden = forbidden_attribute(text + strlen(SCHEME));
        if (forbidden)
                return parse_fail(parse, setting,
                                  "'uri' must not have '%s' in it: give 'pin-file' and 'module' as "
                                  "settings of the source",
                                  forbidden);
        if (strchr(text, '?'))
                return parse_fail(parse, setting,
                                  "'uri' must have no '?': nothing behind it selects a token");
        r = check_attributes(parse, setting, text + strlen(SCHEME));
        return r == 0 ? string_set(ret_uri, text) : r;
}
