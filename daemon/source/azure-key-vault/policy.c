/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies for import, create and merge. Whatever comes from a caller goes through the JSON encoder or is
 * base64; the one body that holds a private key is written by hand into locked memory.
 */
#include "source/azure-key-vault/policy.h"

#include <certbroker/status.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "source/azure-key-vault/json.h"

#define CERTIFICATE_HEAD "-----BEGIN CERTIFICATE-----\n"
#define CERTIFICATE_TAIL "\n-----END CERTIFICATE-----\n"

static const char *const key_props[_KEY_TYPE_N] = {
        [KEY_TYPE_RSA_2048] = "\"kty\":\"RSA\",\"key_size\":2048",
        [KEY_TYPE_RSA_3072] = "\"kty\":\"RSA\",\"key_size\":3072",
        [KEY_TYPE_RSA_4096] = "\"kty\":\"RSA\",\"key_size\":4096",
        [KEY_TYPE_EC_P256] = "\"kty\":\"EC\",\"crv\":\"P-256\"",
        [KEY_TYPE_EC_P384] = "\"kty\":\"EC\",\"crv\":\"P-384\"",
        [KEY_TYPE_EC_P521] = "\"kty\":\"EC\",\"crv\":\"P-521\"",
};

const char *policy_key_props(KeyType type)
{
        return (unsigned)type < _KEY_TYPE_N ? key_props[type] : NULL;
}

/* --- import --- */

static void put(Secret *body, const char *text, size_t n)
{
        size_t n_old = secret_length(body);

        memcpy(secret_data(body) + n_old, text, n);
        secret_set_length(body, n_old + n);
}

static void put_text(Secret *body, const char *text)
{
        put(body, text, strlen(text));
}

static int put_certificate(Secret *pem, const Bytes *der)
{
        CLEANUP(freep) char *text = malloc(base64_room(der->n));

        if (!text)
                return -ENOMEM;
        base64_encode(der->data, der->n, false, text);
        put_text(pem, CERTIFICATE_HEAD);
        for (size_t i = 0, n = strlen(text); i < n; i += 64) {
                put(pem, text + i, MIN(n - i, (size_t)64));
                if (i + 64 < n)
                        put_text(pem, "\n");
        }
        put_text(pem, CERTIFICATE_TAIL);
        return 0;
}

static size_t pem_room(Secret *key_pem, const BytesList *chain)
{
        size_t n = secret_length(key_pem);

        for (size_t i = 0; i < chain->n; i++)
                n += 2 * base64_room(chain->items[i].n) + 128;
        return n;
}

static int make_pem(Secret *key_pem, const BytesList *chain, Secret **ret_pem)
{
        CLEANUP(secret_freep) Secret *pem = NULL;
        int r = secret_new(pem_room(key_pem, chain), &pem);

        if (r < 0)
                return r;
        put(pem, (const char *)secret_data(key_pem), secret_length(key_pem));
        for (size_t i = 0; r == 0 && i < chain->n; i++)
                r = put_certificate(pem, &chain->items[i]);
        if (r == 0)
                *ret_pem = TAKE(pem);
        return r;
}

/* In base64 as the service's own clients send it, PEM too: not every vault takes the text itself. */
static void put_base64(Secret *body, Secret *data)
{
        size_t n_old = secret_length(body), n = secret_length(data);

        base64_encode(secret_data(data), n, false, (char *)secret_data(body) + n_old);
        secret_set_length(body, n_old + base64_room(n) - 1);
}

int policy_import_body(Secret *key_pem, const BytesList *chain, KeyType type, bool exportable,
                       Secret **ret_body)
{
        CLEANUP(secret_freep) Secret *pem = NULL, *body = NULL;
        int r;

        if (!policy_key_props(type))
                return CB_NOT_SUPPORTED;
        r = make_pem(key_pem, chain, &pem);
        if (r == 0)
                r = secret_new(1024 + base64_room(secret_length(pem)), &body);
        if (r < 0)
                return r;
        put_text(body, "{\"value\":\"");
        put_base64(body, pem);
        put_text(body, "\",\"policy\":{\"key_props\":{\"exportable\":");
        put_text(body, exportable ? "true" : "false");
        put_text(body, ",\"reuse_key\":false,");
        put_text(body, policy_key_props(type));
        put_text(body, "},\"secret_props\":{\"contentType\":\"application/x-pem-file\"}}}");
        *ret_body = TAKE(body);
        return 0;
}

/* --- create --- */

static const struct {
        const char *prefix, *field;
} name_rows[] = {
        { "DNS:", "dns_names" },
        { "email:", "emails" },
        { "URI:", "uris" },
        { "IP:", "ipAddresses" },
};

static json_t *make_names(char *const *names)
{
        json_t *all = json_object();

        for (size_t i = 0; names && names[i]; i++)
                for (size_t k = 0; k < ELEMENTSOF(name_rows); k++) {
                        size_t n = strlen(name_rows[k].prefix);
                        json_t *list;

                        if (strncasecmp(names[i], name_rows[k].prefix, n) != 0)
                                continue;
                        list = json_object_get(all, name_rows[k].field);
                        if (!list) {
                                list = json_array();
                                json_object_set_new(all, name_rows[k].field, list);
                        }
                        json_array_append_new(list, json_string(names[i] + n));
                }
        return all;
}

/*
 * Client and server: which of them a gateway is, is not known here. With an EC key there must be no
 * keyEncipherment (RFC 8813, 3); with RSA it is what a vault asks for by itself.
 */
static json_t *make_x509(KeyType type, const char *subject, char *const *names)
{
        json_t *x509 = json_pack("{s:s, s:[s,s], s:[s], s:i}", "subject", subject, "ekus",
                                 "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1", "key_usage",
                                 "digitalSignature", "validity_months", 12);
        json_t *all = make_names(names);

        if (key_type_row(type)->family == KEY_RSA)
                json_array_append_new(json_object_get(x509, "key_usage"),
                                      json_string("keyEncipherment"));

        if (x509 && json_object_size(all) > 0)
                json_object_set(x509, "sans", all);
        json_decref(all);
        return x509;
}

char *policy_create_body(KeyType type, bool exportable, const char *subject, char *const *names)
{
        CLEANUP(json_freep) json_t *body = NULL;
        json_t *key, *x509 = make_x509(type, subject, names);
        char text[128];

        snprintf(text, sizeof(text), "{%s}", policy_key_props(type));
        key = json_loads(text, 0, NULL);
        json_object_set_new(key, "exportable", json_boolean(exportable));
        json_object_set_new(key, "reuse_key", json_false());
        body = json_pack("{s:{s:o, s:{s:s}, s:o, s:{s:s, s:b}}}", "policy", "key_props", key,
                         "secret_props", "contentType", "application/x-pkcs12", "x509_props", x509,
                         "issuer", "name", "Unknown", "cert_transparency", 0);
        return body ? json_dumps(body, JSON_COMPACT) : NULL;
}

char *policy_merge_body(const BytesList *chain)
{
        CLEANUP(json_freep) json_t *body = NULL;
        json_t *list = json_array();

        for (size_t i = 0; i < chain->n; i++) {
                CLEANUP(freep) char *text = malloc(base64_room(chain->items[i].n));

                if (!text)
                        break;
                base64_encode(chain->items[i].data, chain->items[i].n, false, text);
                json_array_append_new(list, json_string(text));
        }
        body = json_pack("{s:o}", "x5c", list);
        return body && json_array_size(list) == chain->n ? json_dumps(body, JSON_COMPACT) : NULL;
}
