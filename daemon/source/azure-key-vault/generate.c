/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that a vault makes. A vault makes a key only together with a request for its certificate: the
 * operation that is pending is the key's locator (…/certificates/NAME/pending) until a certificate is
 * merged into it, which gives both a version. The request's names are fixed when it is made: who asks for
 * others gets a new operation, with a new key, and the answer says so.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "pki/request.h"
#include "pki/signature.h"
#include "pki/x509.h"
#include "source/azure-key-vault/import.h"
#include "source/azure-key-vault/keys.h"
#include "source/azure-key-vault/lookup.h"
#include "source/azure-key-vault/patience.h"
#include "source/azure-key-vault/policy.h"

#define POLL_USEC (500 * USEC_PER_MSEC)
#define POLLS_MAX 100

typedef struct Making {
        Vault *vault;
        const char *name; /* in the vault */
        KeyType type;
        bool exportable;
        const char *subject;
        char *const *alt_names;
        uint64_t deadline_usec;
} Making;

static int pending_uri(const Making *making, char **ret_uri)
{
        return asprintf(ret_uri, "%s/certificates/%s/pending", making->vault->settings.vault.origin,
                        making->name) < 0
                       ? -ENOMEM
                       : 0;
}

static int create(const Making *making, OperationAnswer *ret_operation, Failure *failure)
{
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        CLEANUP(freep) char *uri = NULL, *body = NULL;
        VaultCall call = { .method = "POST",
                           .permission = PERMISSION_CERTIFICATES_CREATE,
                           .cost = 10 * vault_keys_cost(making->type, false),
                           .once = true,
                           .deadline_usec = making->deadline_usec };
        int r;

        body = policy_create_body(making->type, making->exportable, making->subject,
                                  making->alt_names);
        if (!body || asprintf(&uri, "%s/certificates/%s/create",
                              making->vault->settings.vault.origin, making->name) < 0)
                return -ENOMEM;
        call.uri = uri;
        call.body = body;
        call.n_body = strlen(body);
        r = vault_call(making->vault, &call, &answer, failure);
        return r == 0 ? operation_answer_parse(answer.body.data, answer.body.n, ret_operation,
                                               failure)
                      : r;
}

static int get_operation(const Making *making, OperationAnswer *ret_operation, Failure *failure)
{
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        CLEANUP(freep) char *uri = NULL;
        VaultCall call = { .method = "GET",
                           .permission = PERMISSION_CERTIFICATES_GET,
                           .deadline_usec = making->deadline_usec };
        int r = pending_uri(making, &uri);

        if (r < 0)
                return r;
        call.uri = uri;
        r = vault_call(making->vault, &call, &answer, failure);
        return r == 0 ? operation_answer_parse(answer.body.data, answer.body.n, ret_operation,
                                               failure)
                      : r;
}

static int get_new_operation(const Making *making, OperationAnswer *ret_operation,
                             Failure *failure)
{
        Patience patience = patience_begin(true, making->deadline_usec);
        int r;

        do {
                *failure = (Failure){ 0 };
                r = get_operation(making, ret_operation, failure);
        } while (patience_wait(&patience, r));
        return r;
}

/* The service makes the key before it answers, or soon after. */
static int wait_for_request(const Making *making, OperationAnswer *operation, Failure *failure)
{
        for (unsigned i = 0; operation->request.n == 0; i++) {
                int r;

                if (strcmp(operation->status, "inProgress") != 0 || i == POLLS_MAX ||
                    !vault_sleep(POLL_USEC, making->deadline_usec))
                        return fail(failure, CB_FAILED,
                                    "the vault made no certification request for %s (%.60s)",
                                    making->name, operation->status);
                operation_answer_deinit(operation);
                r = get_new_operation(making, operation, failure);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int take_request(const Making *making, OperationAnswer *operation, WireReply *reply)
{
        int r = wait_for_request(making, operation, &reply->failure);

        bytes_deinit(&reply->spki);
        if (r == 0)
                r = pki_request_public_key(&operation->request, &reply->spki, &reply->failure);
        if (r == 0)
                r = pki_key_type(&reply->spki, &reply->key_type, &reply->failure);
        if (r == 0 && reply->key_type != making->type)
                r = fail(&reply->failure, CB_FAILED, "the vault made a key of type %s, not %s",
                         key_type_name(reply->key_type), key_type_name(making->type));
        return r;
}

/* What goes on in the vault would be in the way of the next try. */
static void drop(const Making *making, Failure *failure)
{
        CLEANUP(freep) char *uri = NULL;
        const Failure why = *failure;
        Failure second = { 0 };

        if (pending_uri(making, &uri) < 0)
                return;
        if (generate_drop(making->vault, uri, making->deadline_usec, &second) == 0)
                fail(failure, why.status, "%.380s; what was begun in the vault is cancelled",
                     why.text);
        else
                fail(failure, why.status,
                     "%.240s; %s goes on in the vault, and could not be cancelled (%.100s): do that "
                     "there",
                     why.text, making->name, second.text);
}

static int make(const Making *making, Bytes *ret_request, WireReply *reply)
{
        CLEANUP(operation_answer_deinit) OperationAnswer operation = { 0 };
        int r;

        r = create(making, &operation, &reply->failure);
        if (r == 0) {
                r = take_request(making, &operation, reply);
                if (r > 0)
                        drop(making, &reply->failure);
        }
        if (r == 0)
                r = pending_uri(making, &reply->key_uri);
        if (r != 0)
                return r;
        reply->algorithms = vault_keys_algorithms(making->vault, reply->key_type);
        reply->extractable = making->exportable;
        if (ret_request) {
                *ret_request = operation.request;
                operation.request = (Bytes){ 0 };
        }
        return 0;
}

int generate_run(Vault *vault, const DriverCall *call, WireReply *reply)
{
        const WireRequest *request = call->request;
        char name[OBJECT_NAME_MAX + 1], subject[OBJECT_NAME_MAX + 8];
        Making making = { .vault = vault,
                          .name = name,
                          .type = request->key_type,
                          .exportable = request->extractable,
                          .subject = subject,
                          .deadline_usec = call->deadline_usec };
        int r;

        if (!request->name)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "no id is named");
        if (!policy_key_props(request->key_type))
                return fail(&reply->failure, CB_NOT_SUPPORTED, "a vault makes no keys of type %s",
                            key_type_name(request->key_type));
        r = object_name_of(request->name, name, &reply->failure);
        if (r == 0)
                r = import_check_name(vault, request, name, call->deadline_usec, &reply->failure);
        if (r != 0)
                return r;
        snprintf(subject, sizeof(subject), "CN=%s", name);
        return make(&making, NULL, reply);
}

/* --- the request --- */

static int take_pending(Vault *vault, const WireRequest *request, Identifier *ret_key,
                        Failure *failure)
{
        int r;

        if (!request->key_uri)
                return fail(failure, CB_INVALID_ARGUMENT, "no key is named");
        r = identifier_parse(&vault->settings.vault, request->key_uri, ret_key, failure);
        if (r == 0 && !ret_key->pending)
                return fail(failure, CB_NOT_SUPPORTED, "key %s signs its requests", ret_key->name);
        return r;
}

/* Cancelled first: a vault does not delete what is in progress. */
int generate_drop(Vault *vault, const char *uri, uint64_t deadline_usec, Failure *failure)
{
        static const char cancel[] = "{\"cancellation_requested\":true}";
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 }, second = { 0 };
        VaultCall call = { .method = "PATCH",
                           .uri = uri,
                           .body = cancel,
                           .n_body = sizeof(cancel) - 1,
                           .permission = PERMISSION_CERTIFICATES_UPDATE,
                           .deadline_usec = deadline_usec };
        VaultCall remove = { .method = "DELETE",
                             .uri = uri,
                             .permission = PERMISSION_CERTIFICATES_DELETE,
                             .deadline_usec = deadline_usec };
        Failure ignored = { 0 };
        int r;

        (void)vault_call(vault, &call, &answer, &ignored);
        r = vault_call(vault, &remove, &second, failure);
        return r == CB_NOT_FOUND ? 0 : r;
}

/* What a request's names would be, as it is built here: the same bytes mean the same names. */
static int names_of(const char *subject, char *const *alt_names, const Bytes *spki, Bytes *ret_info)
{
        CLEANUP(pki_request_freep) PkiRequest *request = NULL;
        Failure ignored = { 0 };
        int r;

        r = pki_request_new(subject, alt_names, spki, &request, &ignored);
        return r == 0 ? pki_request_info(request, ret_info) : r;
}

/* Does the pending request have this subject and these names? The vault adds extensions of its own. */
static bool has_names(const Bytes *der, const WireRequest *wanted)
{
        CLEANUP(bytes_deinit) Bytes spki = { 0 }, bare = { 0 };
        Failure ignored = { 0 };
        char *const *names = wanted->settings;
        size_t n;

        if (pki_request_public_key(der, &spki, &ignored) != 0 || strv_length(names) > 0 ||
            names_of(string_or_empty(wanted->name), NULL, &spki, &bare) != 0)
                return false;
        /* CertificationRequestInfo: head, version, subject, key: the subject stands before the key. */
        for (n = 0; n + spki.n <= bare.n; n++)
                if (memcmp(bare.data + n, spki.data, spki.n) == 0)
                        break;
        for (size_t i = 0; n > 8 && i + (n - 7) + spki.n <= der->n; i++)
                if (memcmp(der->data + i, bare.data + 7, n - 7) == 0 &&
                    memcmp(der->data + i + n - 7, spki.data, spki.n) == 0)
                        return true;
        return false;
}

int generate_request(Vault *vault, const DriverCall *call, WireReply *reply)
{
        const WireRequest *request = call->request;
        CLEANUP(operation_answer_deinit) OperationAnswer operation = { 0 };
        CLEANUP(bytes_deinit) Bytes spki = { 0 };
        Failure *failure = &reply->failure;
        Identifier key = { 0 };
        Making making = { .vault = vault, .deadline_usec = call->deadline_usec };
        int r;

        r = take_pending(vault, request, &key, failure);
        making.name = key.name;
        if (r == 0)
                r = get_operation(&making, &operation, failure);
        if (r == 0)
                r = pki_request_public_key(&operation.request, &spki, failure);
        if (r == 0 && has_names(&operation.request, request)) {
                reply->output = operation.request;
                operation.request = (Bytes){ 0 };
                return 0;
        }
        if (r == 0)
                r = pki_key_type(&spki, &making.type, failure);
        if (r == 0)
                r = generate_drop(vault, request->key_uri, call->deadline_usec, failure);
        if (r != 0)
                return r;
        making.subject = string_or_empty(request->name);
        making.alt_names = request->settings;
        making.exportable = request->extractable;
        return make(&making, &reply->output, reply);
}

/* --- the certificate --- */

static int merge(Vault *vault, const Identifier *key, const WireRequest *request,
                 uint64_t deadline_usec, CertificateAnswer *ret_certificate, Failure *failure)
{
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        CLEANUP(freep) char *uri = NULL, *body = policy_merge_body(&request->chain);
        VaultCall call = { .method = "POST",
                           .permission = PERMISSION_CERTIFICATES_CREATE,
                           .once = true,
                           .deadline_usec = deadline_usec };
        int r;

        if (!body || asprintf(&uri, "%s/certificates/%s/pending/merge",
                              vault->settings.vault.origin, key->name) < 0)
                return -ENOMEM;
        call.uri = uri;
        call.body = body;
        call.n_body = strlen(body);
        r = vault_call(vault, &call, &answer, failure);
        return r == 0 ? certificate_answer_parse(answer.body.data, answer.body.n, ret_certificate,
                                                 failure)
                      : r;
}

/* Merged before, by us or by somebody else? Then the latest version has this very leaf. */
static int find_merged(Vault *vault, const Identifier *key, const Bytes *leaf,
                       uint64_t deadline_usec, CertificateAnswer *ret_certificate)
{
        CLEANUP(certificate_answer_deinit) CertificateAnswer certificate = { 0 };
        Identifier base = *key;
        Failure ignored = { 0 };
        int r;

        base.version[0] = '\0';
        r = lookup_certificate(vault, &base, deadline_usec, &certificate, &ignored);
        if (r != 0 || !bytes_equal(&certificate.leaf, leaf))
                return CB_NOT_FOUND;
        *ret_certificate = certificate;
        certificate = (CertificateAnswer){ 0 };
        return 0;
}

/* A key that has a certificate in the vault keeps it; one that waits for it gets it. */
int generate_install(Vault *vault, const DriverCall *call, WireReply *reply)
{
        const WireRequest *request = call->request;
        CLEANUP(certificate_answer_deinit) CertificateAnswer certificate = { 0 };
        Identifier key = { 0 };
        int r;

        if (!request->key_uri || request->chain.n == 0)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "no key or certificate is named");
        r = identifier_parse(&vault->settings.vault, request->key_uri, &key, &reply->failure);
        if (r != 0 || !key.pending)
                return r;
        r = import_check_dates(&request->chain, "install", &reply->failure);
        if (r != 0)
                return r;
        r = merge(vault, &key, request, call->deadline_usec, &certificate, &reply->failure);
        if (r != 0 && find_merged(vault, &key, &request->chain.items[0], call->deadline_usec,
                                  &certificate) == 0) {
                reply->failure = (Failure){ 0 };
                r = 0;
        }
        return r == 0 ? lookup_fill(vault, &certificate, call->deadline_usec, reply) : r;
}
