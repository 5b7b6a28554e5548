/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gateways ask for: credentials, certificates, signatures. Here answers of the broker become
 * structs, with every type checked and everything copied; what is missing but needed makes a
 * failure, so that a caller never meets a NULL that the header does not tell of.
 */
#include "credential.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "error.h"

#define CERTIFICATE_INTERFACE "org.certbroker1.Certificate"
#define BACKEND_INTERFACE     "org.certbroker1.Backend"
#define PROPERTIES_INTERFACE  "org.freedesktop.DBus.Properties"
#define ROTATION_TRIES        3

DEFINE_CLEANUP(cb_credential *, cb_credential_free)

static void strings_free(char **strings)
{
        for (size_t i = 0; strings && strings[i]; i++)
                free(strings[i]);
        free(strings);
}

cb_credential *cb_credential_free(cb_credential *credential)
{
        if (!credential)
                return NULL;
        for (size_t i = 0; i < credential->n_chain; i++)
                free(credential->chain[i].data);
        free(credential->chain);
        free(credential->id);
        free(credential->key);
        free(credential->thumbprint);
        free(credential->url);
        free(credential->ca_file);
        strings_free(credential->algorithms);
        strings_free(credential->server_names);
        strings_free(credential->server_thumbprints);
        free(credential);
        return NULL;
}

/* ------------------------------------------------------------------ out of values */

static int copy_string(const cb_value *value, char **ret_text)
{
        const char *text = cb_value_string(value, NULL);

        if (!text)
                return -EBADMSG;
        *ret_text = strdup(text);
        return *ret_text ? 0 : -ENOMEM;
}

static int copy_strings(const cb_value *list, char ***ret_strings)
{
        size_t n = cb_value_length(list);
        char **strings;

        if (!list || list->type != CB_TYPE_LIST)
                return -EBADMSG;
        strings = calloc(n + 1, sizeof(*strings));
        if (!strings)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r = copy_string(cb_value_at(list, i), &strings[i]);

                if (r) {
                        strings_free(strings);
                        return r;
                }
        }
        *ret_strings = strings;
        return 0;
}

static int copy_chain(const cb_value *list, cb_credential *credential)
{
        size_t n = cb_value_length(list);

        if (!list || list->type != CB_TYPE_LIST)
                return -EBADMSG;
        credential->chain = calloc(n + 1, sizeof(*credential->chain));
        if (!credential->chain)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const cb_value *der = cb_value_at(list, i);
                uint8_t *data;

                if (der->type != CB_TYPE_BYTES || der->as.bytes.n == 0)
                        return -EBADMSG;
                data = malloc(der->as.bytes.n);
                if (!data)
                        return -ENOMEM;
                memcpy(data, der->as.bytes.data, der->as.bytes.n);
                credential->chain[credential->n_chain++] = (cb_bytes){ data, der->as.bytes.n };
        }
        return 0;
}

static int bad_answer(cb_error *error, int r)
{
        if (r == -ENOMEM)
                return error_set(error, r, "Out of memory.");
        return error_set(
                error, CB_FAILED,
                "certbrokerd's answer lacks something; are library and daemon of one version?");
}

int credential_from_value(const cb_value *dict, cb_credential **ret_credential, cb_error *error)
{
        CLEANUP(cb_credential_freep) cb_credential *c = calloc(1, sizeof(*c));
        int r = 0;

        if (!c)
                return bad_answer(error, -ENOMEM);

        const struct {
                const char *key;
                char **place;
        } strings[] = {
                { "id", &c->id },   { "key", &c->key },         { "thumbprint", &c->thumbprint },
                { "url", &c->url }, { "ca-file", &c->ca_file },
        };
        const struct {
                const char *key;
                char ***place;
        } lists[] = {
                { "algorithms", &c->algorithms },
                { "server-names", &c->server_names },
                { "server-thumbprints", &c->server_thumbprints },
        };

        for (size_t i = 0; i < ELEMENTSOF(strings) && r == 0; i++)
                r = copy_string(cb_value_get(dict, strings[i].key), strings[i].place);
        for (size_t i = 0; i < ELEMENTSOF(lists) && r == 0; i++)
                r = copy_strings(cb_value_get(dict, lists[i].key), lists[i].place);
        if (r == 0)
                r = copy_chain(cb_value_get(dict, "chain"), c);
        if (r)
                return bad_answer(error, r);

        c->generation = cb_value_number(cb_value_get(dict, "generation"), 0);
        c->not_after = cb_value_number(cb_value_get(dict, "not-after"), 0);
        c->stale = cb_value_boolean(cb_value_get(dict, "stale"), false);
        /* Whoever does not say is verified. */
        c->validate_chain = cb_value_boolean(cb_value_get(dict, "validate-chain"), true);
        c->validate_name = cb_value_boolean(cb_value_get(dict, "validate-name"), true);
        if (c->generation == 0 || c->n_chain == 0)
                return bad_answer(error, -EBADMSG);

        *ret_credential = TAKE(c);
        return 0;
}

/* ------------------------------------------------------------------ comparing */

static bool strings_equal(char *const *a, char *const *b)
{
        size_t i;

        for (i = 0; a[i] && b[i]; i++)
                if (strcmp(a[i], b[i]) != 0)
                        return false;
        return !a[i] && !b[i];
}

static bool chains_equal(const cb_credential *a, const cb_credential *b)
{
        if (a->n_chain != b->n_chain)
                return false;
        for (size_t i = 0; i < a->n_chain; i++)
                if (a->chain[i].n != b->chain[i].n ||
                    memcmp(a->chain[i].data, b->chain[i].data, a->chain[i].n) != 0)
                        return false;
        return true;
}

bool credential_equals(const cb_credential *a, const cb_credential *b)
{
        return strcmp(a->id, b->id) == 0 && a->generation == b->generation && chains_equal(a, b) &&
               strings_equal(a->algorithms, b->algorithms) && strcmp(a->url, b->url) == 0 &&
               a->validate_chain == b->validate_chain && a->validate_name == b->validate_name &&
               strings_equal(a->server_names, b->server_names) &&
               strings_equal(a->server_thumbprints, b->server_thumbprints) &&
               strcmp(a->ca_file, b->ca_file) == 0;
}

/* ------------------------------------------------------------------ asking */

static int object_path(const char *kind, const char *name, char **ret_path, cb_error *error)
{
        int r = cb_object_path(kind, name, ret_path);

        if (r == CB_INVALID_ARGUMENT)
                return error_set(error, r, "A name of a %s has 1 to 127 characters.", kind);
        return r ? error_set(error, r, "No name of a %s: %s", kind, strerror(-r)) : 0;
}

int cb_get_credential(cb_client *client, const char *backend, cb_credential **ret_credential,
                      cb_error *error)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        CLEANUP(free_text) char *path = NULL;
        int r;

        if (!ret_credential)
                return error_set(error, -EINVAL, "No place for the credential.");
        r = object_path("backend", backend, &path, error);
        if (r)
                return r;
        r = cb_call(client,
                    &(cb_method){ .path = path,
                                  .interface = BACKEND_INTERFACE,
                                  .member = "GetCredential",
                                  .repeatable = true },
                    &reply, error, "");
        if (r)
                return r;
        return credential_from_value(cb_value_at(reply, 0), ret_credential, error);
}

static int get_property(cb_client *client, const char *path, const char *name, cb_value **ret_reply,
                        cb_error *error)
{
        return cb_call(client,
                       &(cb_method){ .path = path,
                                     .interface = PROPERTIES_INTERFACE,
                                     .member = "Get",
                                     .repeatable = true },
                       ret_reply, error, "ss", CERTIFICATE_INTERFACE, name);
}

/* NULL: no memory. */
static char *key_uri(const char *id, uint64_t generation)
{
        char *uri;

        if (asprintf(&uri, "certbroker:certificate/%s?generation=%" PRIu64, id, generation) < 0)
                return NULL;
        return uri;
}

static int fill_certificate(cb_credential *c, const cb_value *properties, const cb_value *chain)
{
        int r;

        r = copy_string(cb_value_get(properties, "Id"), &c->id);
        if (r == 0)
                r = copy_string(cb_value_get(properties, "Thumbprint"), &c->thumbprint);
        if (r == 0)
                r = copy_strings(cb_value_get(properties, "Algorithms"), &c->algorithms);
        if (r == 0)
                r = copy_chain(chain, c);
        if (r)
                return r;
        c->generation = cb_value_number(cb_value_get(properties, "Generation"), 0);
        c->not_after = cb_value_number(cb_value_get(properties, "NotAfter"), 0);
        c->key = key_uri(c->id, c->generation);
        return c->key ? 0 : -ENOMEM;
}

/* Three answers that must be of one generation: -EAGAIN where a rotation came between them. */
static int read_certificate(cb_client *client, const char *path, cb_credential **ret_credential,
                            cb_error *error)
{
        CLEANUP(cb_credential_freep) cb_credential *c = NULL;
        CLEANUP(cb_value_freep) cb_value *all = NULL;
        CLEANUP(cb_value_freep) cb_value *chain = NULL;
        CLEANUP(cb_value_freep) cb_value *after = NULL;
        int r;

        r = cb_call(client,
                    &(cb_method){ .path = path,
                                  .interface = PROPERTIES_INTERFACE,
                                  .member = "GetAll",
                                  .repeatable = true },
                    &all, error, "s", CERTIFICATE_INTERFACE);
        if (r == 0)
                r = get_property(client, path, "Chain", &chain, error);
        if (r == 0)
                r = get_property(client, path, "Generation", &after, error);
        if (r)
                return r;

        c = calloc(1, sizeof(*c));
        if (!c)
                return bad_answer(error, -ENOMEM);
        r = fill_certificate(c, cb_value_at(all, 0), cb_value_at(chain, 0));
        if (r)
                return bad_answer(error, r);
        if (c->generation != cb_value_number(cb_value_at(after, 0), 0))
                return error_set(error, -EAGAIN, "%s is being rotated; try again.", c->id);
        *ret_credential = TAKE(c);
        return 0;
}

int cb_get_certificate(cb_client *client, const char *selector, cb_credential **ret_credential,
                       cb_error *error)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const char *path;
        int r;

        if (!selector || !ret_credential)
                return error_set(error, -EINVAL, "No selector, or no place for the certificate.");
        r = cb_call(client, &(cb_method){ .member = "GetCertificate", .repeatable = true }, &reply,
                    error, "s", selector);
        if (r)
                return r;
        path = cb_value_string(cb_value_at(reply, 0), NULL);
        if (!path)
                return bad_answer(error, -EBADMSG);

        for (unsigned i = 0; i < ROTATION_TRIES; i++) {
                r = read_certificate(client, path, ret_credential, error);
                if (r != -EAGAIN)
                        break;
        }
        return r;
}

static int make_generation(const char *id, uint64_t generation, const cb_value *chain,
                           cb_credential **ret_credential)
{
        CLEANUP(cb_credential_freep) cb_credential *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->generation = generation;
        c->id = strdup(id);
        c->key = key_uri(id, generation);
        c->algorithms = calloc(1, sizeof(*c->algorithms));
        if (!c->id || !c->key || !c->algorithms)
                return -ENOMEM;
        r = copy_chain(chain, c);
        if (r)
                return r;
        if (c->n_chain == 0)
                return -EBADMSG;
        *ret_credential = TAKE(c);
        return 0;
}

int cb_get_generation(cb_client *client, const char *id, uint64_t generation,
                      cb_credential **ret_credential, cb_error *error)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        CLEANUP(free_text) char *path = NULL;
        int r;

        if (!ret_credential || generation == 0)
                return error_set(error, -EINVAL, "No generation, or no place for the certificate.");
        r = object_path("certificate", id, &path, error);
        if (r)
                return r;
        r = cb_call(client,
                    &(cb_method){ .path = path,
                                  .interface = CERTIFICATE_INTERFACE,
                                  .member = "GetChain",
                                  .repeatable = true },
                    &reply, error, "t", generation);
        if (r)
                return r;
        r = make_generation(id, generation, cb_value_at(reply, 0), ret_credential);
        return r ? bad_answer(error, r) : 0;
}

/* ------------------------------------------------------------------ signing */

static int take_signature(const cb_value *value, void *signature, size_t *n_signature,
                          cb_error *error)
{
        size_t n = cb_value_length(value);

        if (!value || value->type != CB_TYPE_BYTES || n == 0)
                return bad_answer(error, -EBADMSG);
        if (n > *n_signature) {
                *n_signature = n;
                return error_set(error, -ENOBUFS, "The signature has %zu bytes: no room.", n);
        }
        memcpy(signature, value->as.bytes.data, n);
        *n_signature = n;
        return 0;
}

/* Sign or SignTls; what follows are their arguments. */
static int ask_signature(cb_client *client, const char *id, const char *member, void *signature,
                         size_t *n_signature, cb_error *error, const char *types, ...)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        CLEANUP(free_text) char *path = NULL;
        va_list list;
        int r;

        if (!signature || !n_signature)
                return error_set(error, -EINVAL, "No place for the signature.");
        r = object_path("certificate", id, &path, error);
        if (r)
                return r;
        va_start(list, types);
        r = cb_call_v(client,
                      &(cb_method){ .path = path,
                                    .interface = CERTIFICATE_INTERFACE,
                                    .member = member,
                                    .repeatable = true },
                      &reply, error, types, list);
        va_end(list);
        return r ? r : take_signature(cb_value_at(reply, 0), signature, n_signature, error);
}

int cb_sign(cb_client *client, const char *id, uint64_t generation, const char *algorithm,
            const void *input, size_t n_input, void *signature, size_t *n_signature,
            cb_error *error)
{
        return ask_signature(client, id, "Sign", signature, n_signature, error, "tsay", generation,
                             algorithm, input, n_input);
}

int cb_sign_tls(cb_client *client, const char *id, uint64_t generation, const char *algorithm,
                const char *role, const void *transcript_hash, size_t n_transcript_hash,
                void *signature, size_t *n_signature, cb_error *error)
{
        return ask_signature(client, id, "SignTls", signature, n_signature, error, "tssay",
                             generation, algorithm, role, transcript_hash, n_transcript_hash);
}
