/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of a vault, field by field. Invariant: what is handed out is whole: an answer that was cut, is
 * of other types, or too large is refused, and nothing of it is used. Members that a vault may leave out
 * are taken as absent; those that it must not send (the private half of a key) are not looked at.
 */
#include "source/azure-key-vault/answer.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"
#include "pki/token-object.h"
#include "pki/x509.h"
#include "source/azure-key-vault/json.h"

#define URI_MAX       1024
#define NUMBER_MAX    600 /* bytes of a modulus */
#define SIGNATURE_MAX 1024
#define REQUEST_MAX   (64 * 1024)
#define INNER_MAX     4

static int take_string(const JsonView *view, const char *path, size_t n_max, bool needed,
                       char **ret_string)
{
        const char *string = NULL;
        int r;

        r = needed ? json_view_needed_string(view, path, &string)
                   : json_view_string(view, path, &string);
        if (r != 0 || !string)
                return r;
        if (strlen(string) > n_max)
                return fail(view->failure, CB_FAILED, "%s: '%s' is too long", view->what, path);
        return string_set(ret_string, string);
}

static int take_attributes(const JsonView *view, Attributes *attributes)
{
        const json_t *all = json_view_find(view, "attributes");
        bool enabled = true;
        int r;

        if (all && !json_is_object(all))
                return fail(view->failure, CB_FAILED, "%s: 'attributes' is not an object",
                            view->what);
        r = json_view_bool(view, "attributes.enabled", &enabled);
        if (r == 0)
                r = json_view_number(view, "attributes.nbf", &attributes->not_before_sec);
        if (r == 0)
                r = json_view_number(view, "attributes.exp", &attributes->expires_sec);
        if (r == 0)
                r = json_view_number(view, "attributes.created", &attributes->created_sec);
        attributes->disabled = !enabled;
        return r;
}

/* --- certificates --- */

void certificate_answer_deinit(CertificateAnswer *answer)
{
        free(answer->id);
        free(answer->kid);
        free(answer->sid);
        bytes_deinit(&answer->leaf);
        *answer = (CertificateAnswer){ 0 };
}

static int take_exportable(const JsonView *view, CertificateAnswer *answer)
{
        answer->has_exportable = json_view_find(view, "policy.key_props.exportable") != NULL;
        return json_view_bool(view, "policy.key_props.exportable", &answer->exportable);
}

/* What is in it of others' is none of our business, whatever it is. */
static void take_tags(const JsonView *view, CertificateAnswer *answer)
{
        const char *tag = json_string_value(json_view_find(view, "tags." TAG_NAME));

        answer->taken_back = tag && strcmp(tag, TAG_TAKEN_BACK) == 0;
}

int certificate_answer_parse(const void *body, size_t n, CertificateAnswer *ret_answer,
                             Failure *failure)
{
        CLEANUP(certificate_answer_deinit) CertificateAnswer answer = { 0 };
        CLEANUP(json_freep) json_t *root = NULL;
        JsonView view = { NULL, "the vault's certificate", failure };
        int r;

        r = json_read_object(body, n, view.what, &root, failure);
        if (r != 0)
                return r;
        view.root = root;
        r = take_string(&view, "id", URI_MAX, true, &answer.id);
        if (r == 0)
                r = take_string(&view, "kid", URI_MAX, false, &answer.kid);
        if (r == 0)
                r = take_string(&view, "sid", URI_MAX, false, &answer.sid);
        if (r == 0)
                r = json_view_base64(&view, "cer", PKI_CERTIFICATE_MAX, &answer.leaf);
        if (r == 0 && answer.leaf.n == 0)
                r = fail(failure, CB_FAILED, "%s has no 'cer'", view.what);
        if (r == 0)
                r = take_attributes(&view, &answer.attributes);
        if (r == 0)
                r = take_exportable(&view, &answer);
        if (r != 0)
                return r;
        take_tags(&view, &answer);
        *ret_answer = answer;
        answer = (CertificateAnswer){ 0 };
        return 0;
}

/* --- keys --- */

void key_answer_deinit(KeyAnswer *answer)
{
        free(answer->kid);
        bytes_deinit(&answer->spki);
        *answer = (KeyAnswer){ 0 };
}

static const struct {
        const char *name;
        uint8_t oid[10];
        size_t n_oid, n_coordinate;
} curves[] = {
        { "P-256", { 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 }, 10, 32 },
        { "P-384", { 0x06, 5, 0x2b, 0x81, 0x04, 0, 0x22 }, 7, 48 },
        { "P-521", { 0x06, 5, 0x2b, 0x81, 0x04, 0, 0x23 }, 7, 66 },
};

/*
 * RFC 7518 (6.2.1.2) wants all octets of a coordinate; that one begins with zeros is often forgotten, or made
 * one more.
 */
bool number_fit(const Bytes *number, size_t n, uint8_t *ret_number)
{
        const uint8_t *data = number->data;
        size_t n_data = number->n;

        for (; n_data > n && *data == 0; n_data--)
                data++;
        if (n_data > n)
                return false;
        memset(ret_number, 0, n - n_data);
        if (n_data > 0)
                memcpy(ret_number + n - n_data, data, n_data);
        return true;
}

static int take_rsa(const JsonView *view, PkiPublicParts *parts)
{
        int r;

        r = json_view_base64url(view, "key.n", NUMBER_MAX, &parts->modulus);
        if (r == 0)
                r = json_view_base64url(view, "key.e", NUMBER_MAX, &parts->exponent);
        if (r == 0 && (parts->modulus.n == 0 || parts->exponent.n == 0))
                r = fail(view->failure, CB_FAILED, "%s has no 'key.n' or 'key.e'", view->what);
        return r;
}

static int take_ec(const JsonView *view, PkiPublicParts *parts)
{
        CLEANUP(bytes_deinit) Bytes x = { 0 }, y = { 0 };
        uint8_t point[1 + 2 * 66] = { 4 };
        const char *curve = NULL;
        size_t i = 0, n;
        int r;

        r = json_view_needed_string(view, "key.crv", &curve);
        if (r == 0)
                r = json_view_base64url(view, "key.x", NUMBER_MAX, &x);
        if (r == 0)
                r = json_view_base64url(view, "key.y", NUMBER_MAX, &y);
        if (r != 0)
                return r;
        while (i < ELEMENTSOF(curves) && strcmp(curves[i].name, curve) != 0)
                i++;
        if (i == ELEMENTSOF(curves))
                return CB_NOT_SUPPORTED;
        n = curves[i].n_coordinate;
        if (x.n == 0 || y.n == 0 || !number_fit(&x, n, point + 1) ||
            !number_fit(&y, n, point + 1 + n))
                return fail(view->failure, CB_FAILED,
                            "%s: 'key.x' or 'key.y' is missing, or longer than its curve has it",
                            view->what);
        r = bytes_set(&parts->params, curves[i].oid, curves[i].n_oid);
        return r == 0 ? bytes_set(&parts->point, point, 1 + 2 * n) : r;
}

static int take_public_key(const JsonView *view, KeyAnswer *answer)
{
        CLEANUP(pki_public_parts_deinit) PkiPublicParts parts = { 0 };
        const char *kind = NULL;
        size_t n;
        int r;

        r = json_view_needed_string(view, "key.kty", &kind);
        if (r != 0)
                return r;
        n = strcspn(kind, "-");
        answer->hsm = strcmp(kind + n, "-HSM") == 0;
        if (n == 3 && strncmp(kind, "RSA", n) == 0)
                r = take_rsa(view, &parts);
        else if (n == 2 && strncmp(kind, "EC", n) == 0)
                r = take_ec(view, &parts);
        else
                return 0;
        if (r == CB_NOT_SUPPORTED)
                return 0;
        if (r == 0 && parts.modulus.n > 0)
                parts.type = pki_modulus_type(&parts.modulus);
        else if (r == 0)
                parts.type = pki_curve_type(&parts.params);
        if (r != 0 || parts.type == KEY_TYPE_NONE)
                return r;
        answer->type = parts.type;
        return pki_public_key_from_parts(&parts, &answer->spki, view->failure);
}

static int take_operations(const JsonView *view, KeyAnswer *answer)
{
        const json_t *list = json_view_find(view, "key.key_ops"), *item;
        size_t i;

        if (!list)
                return 0;
        if (!json_is_array(list))
                return fail(view->failure, CB_FAILED, "%s: 'key.key_ops' is not a list",
                            view->what);
        answer->has_operations = true;
        json_array_foreach(list, i, item)
        {
                if (!json_is_string(item))
                        return fail(view->failure, CB_FAILED,
                                    "%s: 'key.key_ops' is not a list of texts", view->what);
                if (strcmp(json_string_value(item), "sign") == 0)
                        answer->may_sign = true;
        }
        return 0;
}

int key_answer_parse(const void *body, size_t n, KeyAnswer *ret_answer, Failure *failure)
{
        CLEANUP(key_answer_deinit) KeyAnswer answer = { 0 };
        CLEANUP(json_freep) json_t *root = NULL;
        JsonView view = { NULL, "the vault's key", failure };
        int r;

        r = json_read_object(body, n, view.what, &root, failure);
        if (r != 0)
                return r;
        view.root = root;
        r = take_string(&view, "key.kid", URI_MAX, true, &answer.kid);
        if (r == 0)
                r = take_public_key(&view, &answer);
        if (r == 0)
                r = take_operations(&view, &answer);
        if (r == 0)
                r = take_attributes(&view, &answer.attributes);
        if (r != 0)
                return r;
        *ret_answer = answer;
        answer = (KeyAnswer){ 0 };
        return 0;
}

/* --- secrets --- */

void secret_answer_deinit(SecretAnswer *answer)
{
        answer->value = secret_free(answer->value);
}

/* The content type is not to be trusted: what looks like PEM is PEM, the rest is base64 of PKCS#12. */
static int take_bundle(const JsonView *view, const char *text, Secret **ret_value)
{
        CLEANUP(secret_freep) Secret *value = NULL;
        size_t n = strlen(text);
        int r;

        r = secret_new(n, &value);
        if (r < 0)
                return r;
        if (strstr(text, "-----BEGIN ")) {
                memcpy(secret_data(value), text, n);
        } else if (base64_decode(text, n, false, secret_data(value), &n) < 0) {
                return fail(view->failure, CB_FAILED,
                            "%s: 'value' is neither PEM nor base64 of PKCS#12", view->what);
        }
        secret_set_length(value, n);
        *ret_value = TAKE(value);
        return 0;
}

int secret_answer_parse(const void *body, size_t n, SecretAnswer *ret_answer, Failure *failure)
{
        CLEANUP(json_freep) json_t *root = NULL;
        JsonView view = { NULL, "the vault's secret", failure };
        const char *text = NULL, *id = NULL;
        int r;

        r = json_read_object(body, n, view.what, &root, failure);
        if (r != 0)
                return r;
        view.root = root;
        r = json_view_needed_string(&view, "id", &id);
        if (r == 0)
                r = json_view_needed_string(&view, "value", &text);
        return r == 0 ? take_bundle(&view, text, &ret_answer->value) : r;
}

/* --- signatures, operations, versions --- */

int signature_answer_parse(const void *body, size_t n, Bytes *ret_signature, char **ret_kid,
                           Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes signature = { 0 };
        CLEANUP(json_freep) json_t *root = NULL;
        CLEANUP(freep) char *kid = NULL;
        JsonView view = { NULL, "the vault's signature", failure };
        int r;

        r = json_read_object(body, n, view.what, &root, failure);
        if (r != 0)
                return r;
        view.root = root;
        r = json_view_base64url(&view, "value", SIGNATURE_MAX, &signature);
        if (r == 0 && signature.n == 0)
                r = fail(failure, CB_FAILED, "%s has no 'value'", view.what);
        if (r == 0)
                r = take_string(&view, "kid", URI_MAX, false, &kid);
        if (r != 0)
                return r;
        *ret_signature = signature;
        signature = (Bytes){ 0 };
        *ret_kid = TAKE(kid);
        return 0;
}

void operation_answer_deinit(OperationAnswer *answer)
{
        bytes_deinit(&answer->request);
        free(answer->status);
        free(answer->details);
        *answer = (OperationAnswer){ 0 };
}

int operation_answer_parse(const void *body, size_t n, OperationAnswer *ret_answer,
                           Failure *failure)
{
        CLEANUP(operation_answer_deinit) OperationAnswer answer = { 0 };
        CLEANUP(json_freep) json_t *root = NULL;
        JsonView view = { NULL, "the vault's pending operation", failure };
        int r;

        r = json_read_object(body, n, view.what, &root, failure);
        if (r != 0)
                return r;
        view.root = root;
        r = take_string(&view, "status", 64, true, &answer.status);
        if (r == 0)
                r = json_view_base64(&view, "csr", REQUEST_MAX, &answer.request);
        if (r == 0)
                r = take_string(&view, "status_details", 4096, false, &answer.details);
        if (r != 0)
                return r;
        *ret_answer = answer;
        answer = (OperationAnswer){ 0 };
        return 0;
}

int versions_answer_parse(const void *body, size_t n, char ***ids, char **ret_next,
                          Failure *failure)
{
        CLEANUP(json_freep) json_t *root = NULL;
        JsonView view = { NULL, "the vault's list of versions", failure };
        const json_t *list, *item;
        size_t i;
        int r;

        r = json_read_object(body, n, view.what, &root, failure);
        if (r != 0)
                return r;
        view.root = root;
        list = json_view_find(&view, "value");
        if (list && !json_is_array(list))
                return fail(failure, CB_FAILED, "%s: 'value' is not a list", view.what);
        json_array_foreach(list, i, item)
        {
                JsonView one = { item, view.what, failure };
                Attributes attributes = { 0 };
                const char *id = NULL;

                r = json_view_needed_string(&one, "id", &id);
                if (r == 0)
                        r = take_attributes(&one, &attributes);
                if (r == 0 && !attributes.disabled)
                        r = strv_append(ids, id);
                if (r != 0)
                        return r;
        }
        r = take_string(&view, "nextLink", 4096, false, ret_next);
        if (r == 0 && *ret_next && **ret_next == '\0')
                freep(ret_next);
        return r;
}

/* --- errors --- */

/* Older services spell it innerError. */
static const json_t *find_inner(const json_t *error)
{
        const char *key;
        json_t *value;

        json_object_foreach((json_t *)(uintptr_t)error, key, value)
        {
                if (strcasecmp(key, "innererror") == 0)
                        return value;
        }
        return NULL;
}

static void copy_code(const json_t *error, char ret_code[64])
{
        const char *code = json_string_value(json_object_get(error, "code"));

        if (!code)
                return;
        snprintf(ret_code, 64, "%s", code);
        text_clean(ret_code, strlen(code) >= 64);
}

void error_answer_parse(const void *body, size_t n, ErrorAnswer *ret_answer)
{
        CLEANUP(json_freep) json_t *root = NULL;
        Failure ignored = { 0 };
        const json_t *error, *inner;
        const char *message;

        *ret_answer = (ErrorAnswer){ 0 };
        if (json_read_object(body, n, "the vault's error", &root, &ignored) != 0)
                return;
        error = json_object_get(root, "error");
        if (!json_is_object(error))
                return;
        copy_code(error, ret_answer->code);
        message = json_string_value(json_object_get(error, "message"));
        if (message) {
                snprintf(ret_answer->message, sizeof(ret_answer->message), "%s", message);
                text_clean(ret_answer->message, strlen(message) >= sizeof(ret_answer->message));
        }
        inner = find_inner(error);
        for (size_t i = 0; i < INNER_MAX && json_is_object(inner); i++) {
                copy_code(inner, ret_answer->inner);
                inner = find_inner(inner);
        }
}
