/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-up. What a certificate is made of lies in three objects of one version: the certificate (leaf), its
 * key (type, operations), its secret (chain, and an exportable key). Invariants: leaf and key belong
 * together, or nothing is answered; the leaf is the certificate object's, whatever order the secret has;
 * a version that is older than one seen before, and still there, is not taken for the latest; 404 is
 * believed when it was said twice. What the identity may not read, or nobody can, is left out, and said.
 */
#include "source/azure-key-vault/lookup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "core/certificate.h"
#include "pki/bundle.h"
#include "pki/private-key.h"
#include "pki/request.h"
#include "pki/signature.h"
#include "pki/x509.h"
#include "source/azure-key-vault/keys.h"
#include "source/azure-key-vault/newest.h"
#include "source/azure-key-vault/patience.h"

#define CONFIRM_USEC (400 * USEC_PER_MSEC)

typedef struct Found {
        const CertificateAnswer *certificate;
        Identifier key;
        char *key_uri, *fault;
        CertificateFacts facts;
        KeyKnown known;
        BytesList chain;
        bool is_new;    /* made a moment ago: the vault may not know all of it yet */
        bool no_secret; /* the identity may not read it */
        bool is_answered; /* it was: what is wrong with it does not pass by itself */
        char *unreadable; /* why nobody can read it; NULL: it was, or may not be */
} Found;

static void found_deinit(Found *found)
{
        free(found->key_uri);
        free(found->fault);
        free(found->unreadable);
        certificate_facts_deinit(&found->facts);
        key_known_deinit(&found->known);
        bytes_list_deinit(&found->chain);
}

/* --- the certificate --- */

static int get_certificate(Vault *vault, const char *uri, uint64_t deadline_usec,
                           CertificateAnswer *ret_certificate, Failure *failure)
{
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = { .method = "GET",
                           .uri = uri,
                           .permission = PERMISSION_CERTIFICATES_GET,
                           .deadline_usec = deadline_usec };
        int r;

        r = vault_call(vault, &call, &answer, failure);
        return r == 0 ? certificate_answer_parse(answer.body.data, answer.body.n, ret_certificate,
                                                 failure)
                      : r;
}

/* Is it soft-deleted? Said where it can be known. */
static int confirm_gone(Vault *vault, const Identifier *identifier, uint64_t deadline_usec,
                        Failure *failure)
{
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        CLEANUP(freep) char *uri = NULL;
        Failure ignored = { 0 };
        VaultCall call = { .method = "GET", .deadline_usec = deadline_usec };

        if (asprintf(&uri, "%s/deletedcertificates/%s", vault->settings.vault.origin,
                     identifier->name) < 0)
                return -ENOMEM;
        call.uri = uri;
        if (vault_call(vault, &call, &answer, &ignored) == 0)
                return fail(failure, CB_NOT_FOUND,
                            "certificate %s was deleted in the vault (soft delete): recover it "
                            "there, or forget it here",
                            identifier->name);
        return fail(failure, CB_NOT_FOUND,
                    "the vault has no certificate %s%s%s; it was asked twice", identifier->name,
                    *identifier->version ? " of version " : "", identifier->version);
}

/* What is said once may be a replica that lags. CB_NOT_FOUND: it can be asked again now. */
static int wait_to_confirm(const char *what, const char *name, uint64_t deadline_usec,
                           Failure *failure)
{
        if (vault_sleep(CONFIRM_USEC + vault_random() % CONFIRM_USEC, deadline_usec))
                return CB_NOT_FOUND;
        return fail(failure, CB_SOURCE_UNAVAILABLE,
                    "the vault says that there is no %s %s; there was no time to ask it again",
                    what, name);
}

int lookup_certificate(Vault *vault, const Identifier *identifier, uint64_t deadline_usec,
                       CertificateAnswer *ret_certificate, Failure *failure)
{
        CLEANUP(freep)
        char *uri = identifier_uri(&vault->settings.vault, OBJECT_CERTIFICATE, identifier->name,
                                   identifier->version);
        int r;

        if (!uri)
                return -ENOMEM;
        r = get_certificate(vault, uri, deadline_usec, ret_certificate, failure);
        if (r == CB_NOT_FOUND)
                r = wait_to_confirm("certificate", identifier->name, deadline_usec, failure);
        if (r != CB_NOT_FOUND)
                return r;
        r = get_certificate(vault, uri, deadline_usec, ret_certificate, failure);
        return r == CB_NOT_FOUND ? confirm_gone(vault, identifier, deadline_usec, failure) : r;
}

/* A leaf that is not valid yet may wait for that; a date that is later than its own is somebody's decision. */
static int check_times(const Attributes *attributes, const CertificateFacts *leaf, const char *what,
                       const char *name, Failure *failure)
{
        uint64_t now_sec = clock_realtime_sec();
        bool waits = leaf->not_before_sec > now_sec;

        if (attributes->disabled)
                return fail(failure, CB_DISABLED, "%s %s is disabled in the vault; enable it there",
                            what, name);
        if (attributes->not_before_sec > now_sec && !waits)
                return fail(failure, CB_PENDING, "%s %s is not valid yet, says the vault", what,
                            name);
        if (attributes->expires_sec != 0 && attributes->expires_sec <= now_sec)
                return fail(failure, CB_EXPIRED, "%s %s has expired, says the vault; rotate it",
                            what, name);
        return 0;
}

/* As where it is reached by another name: an alias, a forwarded port, an emulator. */
static int refuse_ids(const Address *address, const CertificateAnswer *certificate,
                      Failure *failure)
{
        CLEANUP(freep) char *id = text_escape(certificate->id, strlen(certificate->id), 160);
        CLEANUP(freep) char *kid = NULL;

        if (certificate->kid)
                kid = text_escape(certificate->kid, strlen(certificate->kid), 160);
        return fail(failure, CB_FAILED,
                    "the vault's certificate has ids that are not this vault's: it is '%s' (key "
                    "'%s'), and the source's uri is '%s'; give the uri by which the vault names "
                    "itself",
                    string_or_empty(id), string_or_empty(kid), address->origin);
}

/* id and kid: of this vault, of the name that was asked for, and of one version. */
static int take_ids(Vault *vault, const Identifier *asked, Found *found, Failure *failure)
{
        const CertificateAnswer *certificate = found->certificate;
        const Address *address = &vault->settings.vault;
        Identifier id = { 0 };
        int r;

        r = identifier_parse(address, certificate->id, &id, failure);
        if (r == 0 && certificate->kid)
                r = identifier_parse(address, certificate->kid, &found->key, failure);
        if (r != 0)
                return refuse_ids(address, certificate, failure);
        if (!certificate->kid) {
                found->key = id;
                found->key.kind = OBJECT_KEY;
        }
        if (id.kind != OBJECT_CERTIFICATE || strcasecmp(id.name, asked->name) != 0 ||
            (*asked->version && strcasecmp(id.version, asked->version) != 0) ||
            found->key.kind != OBJECT_KEY || !*found->key.version)
                return fail(failure, CB_FAILED,
                            "the vault answered for certificate %s with another one", asked->name);
        found->key_uri = identifier_uri(address, OBJECT_KEY, found->key.name, found->key.version);
        return found->key_uri ? 0 : -ENOMEM;
}

/* --- the key --- */

static int judge_key(Vault *vault, const KeyAnswer *key, Found *found, Failure *failure)
{
        int r = check_times(&key->attributes, &found->facts, "the key of", found->key.name,
                            failure);

        if (r != 0)
                return r;
        if (key->type == KEY_TYPE_NONE || !bytes_equal(&key->spki, &found->facts.spki)) {
                log_error("certificate %s/%s is for another key than the vault's key of that name",
                          found->key.name, found->key.version);
                return fail(failure, CB_KEY_MISMATCH,
                            "certificate %s in the vault is for another key than the one of the "
                            "same name and version",
                            found->key.name);
        }
        if (key->has_operations && !key->may_sign && !vault->settings.local)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the operations of key %s do not hold 'sign': its certificate's policy "
                            "needs the key usage digitalSignature",
                            found->key.name);
        found->known.cost = vault_keys_cost(key->type, key->hsm);
        return 0;
}

static int call_twice(Vault *vault, const VaultCall *call, const Identifier *key,
                      Patience *patience, HttpAnswer *answer, Failure *failure)
{
        int r;

        for (;;) {
                r = vault_call(vault, call, answer, failure);
                if (!patience_wait(patience, r))
                        break;
                http_answer_deinit(answer);
                *failure = (Failure){ 0 };
        }
        if (r == CB_NOT_FOUND)
                r = wait_to_confirm("key", key->name, call->deadline_usec, failure);
        if (r != CB_NOT_FOUND)
                return r;
        http_answer_deinit(answer);
        r = vault_call(vault, call, answer, failure);
        return r == CB_NOT_FOUND ? fail(failure, r,
                                        "the vault has no key %s of version %s; it was asked twice",
                                        key->name, key->version)
                                 : r;
}

/* Where the identity may not read keys, the certificate says all that is needed. */
static int take_key(Vault *vault, uint64_t deadline_usec, Found *found, Failure *failure)
{
        CLEANUP(key_answer_deinit) KeyAnswer key = { 0 };
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = { .method = "GET",
                           .uri = found->key_uri,
                           .permission = PERMISSION_KEYS_GET,
                           .deadline_usec = deadline_usec };
        Patience patience = patience_begin(found->is_new, deadline_usec);
        int r;

        found->known.type = found->facts.key_type;
        found->known.algorithms = vault_keys_algorithms(vault, found->known.type);
        found->known.cost = vault_keys_cost(found->known.type, false);
        r = bytes_set(&found->known.spki, found->facts.spki.data, found->facts.spki.n);
        if (r == 0)
                r = call_twice(vault, &call, &found->key, &patience, &answer, failure);
        if (r == CB_SOURCE_DENIED) {
                *failure = (Failure){ 0 };
                return 0;
        }
        if (r == 0)
                r = key_answer_parse(answer.body.data, answer.body.n, &key, failure);
        return r == 0 ? judge_key(vault, &key, found, failure) : r;
}

/* --- chain and secret --- */

/* Beside the leaf nothing that could be taken for it: another certificate for the same key. */
static int collect(const Found *found, const BytesList *more, BytesList *ret_all)
{
        const Bytes *leaf = &found->certificate->leaf;
        int r = bytes_list_append(ret_all, leaf->data, leaf->n);

        for (size_t i = 0; r == 0 && i < more->n; i++) {
                CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
                Failure ignored = { 0 };
                const Bytes *one = &more->items[i];

                if (pki_certificate_facts(one->data, one->n, &facts, &ignored) == 0 &&
                    bytes_equal(&facts.spki, &found->facts.spki))
                        continue;
                r = bytes_list_append(ret_all, one->data, one->n);
        }
        return r;
}

static int sort_chain(Found *found, const BytesList *more, Failure *failure)
{
        CLEANUP(bytes_list_deinit) BytesList all = { 0 };
        int r;

        r = collect(found, more, &all);
        return r == 0 ? pki_chain_sort(&all, &found->facts.spki, clock_realtime_sec(),
                                       &found->chain, &found->fault, failure)
                      : r;
}

/* What a file's reader says is for somebody who gave a file. */
int lookup_explain_secret(const char *name, int status, Failure *failure)
{
        const Failure why = *failure;

        if (status == CB_BAD_PASSPHRASE)
                return fail(failure, status,
                            "the secret of %s in the vault has a passphrase, which a vault gives "
                            "none of its own; import the certificate into the vault again",
                            name);
        if (status == CB_BAD_BUNDLE)
                return fail(failure, status,
                            "the secret of %s in the vault is neither PKCS#12 nor PEM with "
                            "certificates; import the certificate into the vault again",
                            name);
        return fail(failure, status, "the secret of %s in the vault cannot be read: %.380s", name,
                    why.text);
}

static int read_bundle(Vault *vault, Secret *value, Found *found, BytesList *ret_more,
                       Failure *failure)
{
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        int r;

        r = pki_bundle_certificates(value, NULL, ret_more, failure);
        if (r > 0)
                return lookup_explain_secret(found->key.name, r, failure);
        if (r != 0 || !vault->settings.local)
                return r;
        if (pki_private_keys_lock() < 0)
                return fail(failure, -ENOMEM,
                            "no memory can be locked for private keys; raise "
                            "the limit (LimitMEMLOCK)");
        r = pki_bundle_parse(value, NULL, clock_realtime_sec(), &bundle, failure);
        if (r == CB_BAD_BUNDLE)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the key of %s cannot be had, so that it cannot sign locally: is it "
                            "exportable? Else configure signing = \"remote\"",
                            found->key.name);
        if (r > 0)
                return lookup_explain_secret(found->key.name, r, failure);
        if (r == 0 && !bytes_equal(&bundle.spki, &found->facts.spki))
                r = fail(failure, CB_KEY_MISMATCH,
                         "the secret of %s holds another key than its certificate's",
                         found->key.name);
        if (r == 0)
                found->known.private_key = TAKE(bundle.key);
        return r;
}

static int read_secret(Vault *vault, const HttpAnswer *answer, Found *found, BytesList *ret_more,
                       Failure *failure)
{
        CLEANUP(secret_answer_deinit) SecretAnswer secret = { 0 };
        const void *body;
        size_t n;
        int r;

        found->is_answered = true;
        body = http_answer_body(answer, &n);
        r = secret_answer_parse(body, n, &secret, failure);
        if (r > 0)
                return lookup_explain_secret(found->key.name, r, failure);
        return r == 0 ? read_bundle(vault, secret.value, found, ret_more, failure) : r;
}

static int get_secret(Vault *vault, uint64_t deadline_usec, Found *found, BytesList *ret_more,
                      Failure *failure)
{
        CLEANUP(freep)
        char *uri = identifier_uri(&vault->settings.vault, OBJECT_SECRET, found->key.name,
                                   found->key.version);
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = { .method = "GET",
                           .uri = uri,
                           .permission = PERMISSION_SECRETS_GET,
                           .secret = true,
                           .deadline_usec = deadline_usec };
        int r;

        if (!uri)
                return -ENOMEM;
        r = vault_call(vault, &call, &answer, failure);
        if (r == 0)
                return read_secret(vault, &answer, found, ret_more, failure);
        if (answer.fault == HTTP_TOO_LARGE) {
                found->is_answered = true;
                return fail(failure, CB_FAILED,
                            "the secret of %s in the vault is larger than any that a vault keeps",
                            found->key.name);
        }
        return r;
}

/* Where the key signs in the vault, it is the chain alone that is in it for us. */
static int take_secret(Vault *vault, uint64_t deadline_usec, Found *found, Failure *failure)
{
        CLEANUP(bytes_list_deinit) BytesList more = { 0 };
        int r = get_secret(vault, deadline_usec, found, &more, failure);

        if (r > 0 && !vault->settings.local) {
                if (r == CB_SOURCE_DENIED || r == CB_DISABLED || r == CB_NOT_FOUND)
                        found->no_secret = true;
                else if (r == CB_PENDING && found->facts.not_before_sec > clock_realtime_sec())
                        found->is_answered = true; /* the rest of the chain comes when it is valid */
                else if (!found->is_answered)
                        return r;
                else if (string_set(&found->unreadable, failure->text) < 0)
                        return -ENOMEM;
                *failure = (Failure){ 0 };
                bytes_list_deinit(&more);
                r = 0;
        }
        return r == 0 ? sort_chain(found, &more, failure) : r;
}

/* --- the answer --- */

static int note_warning(const Found *found, WireReply *reply)
{
        if (found->unreadable)
                return string_format(&reply->warning,
                                     "%s; until then it signs all the same, with a chain of the "
                                     "leaf alone",
                                     found->unreadable);
        return pki_chain_warning(found->fault,
                                 found->no_secret
                                         ? "the vault has chains in secrets, which this source's "
                                           "identity may not read (secrets/get, role Key Vault "
                                           "Secrets User)"
                                         : NULL,
                                 &reply->warning);
}

static int answer_found(Vault *vault, Found *found, WireReply *reply)
{
        int r = vault_keys_learn(vault, found->key_uri, &found->known);

        if (r == 0)
                r = bytes_set(&reply->spki, found->facts.spki.data, found->facts.spki.n);
        if (r == 0)
                r = note_warning(found, reply);
        if (r != 0)
                return r;
        reply->key_uri = TAKE(found->key_uri);
        reply->key_type = found->known.type;
        reply->algorithms = found->known.algorithms;
        reply->extractable = found->certificate->exportable;
        reply->chain = found->chain;
        found->chain = (BytesList){ 0 };
        return 0;
}

static int fill(Vault *vault, Found *found, uint64_t deadline_usec, WireReply *reply)
{
        const CertificateAnswer *certificate = found->certificate;
        Failure *failure = &reply->failure;
        int r;

        r = pki_certificate_facts(certificate->leaf.data, certificate->leaf.n, &found->facts,
                                  failure);
        if (r == 0)
                r = check_times(&certificate->attributes, &found->facts, "certificate",
                                found->key.name, failure);
        if (r == 0)
                r = take_key(vault, deadline_usec, found, failure);
        if (r == 0 && found->known.algorithms == 0)
                r = fail(failure, CB_NOT_SUPPORTED,
                         "the vault signs nothing of ours with a key of type %s",
                         key_type_name(found->known.type));
        if (r == 0)
                r = take_secret(vault, deadline_usec, found, failure);
        return r == 0 ? answer_found(vault, found, reply) : r;
}

int lookup_fill(Vault *vault, const CertificateAnswer *certificate, uint64_t deadline_usec,
                WireReply *reply)
{
        CLEANUP(found_deinit) Found found = { .certificate = certificate, .is_new = true };
        Identifier id = { 0 };
        int r;

        r = identifier_parse(&vault->settings.vault, certificate->id, &id, &reply->failure);
        if (r == 0)
                r = take_ids(vault, &id, &found, &reply->failure);
        return r == 0 ? fill(vault, &found, deadline_usec, reply) : r;
}

/* A key that waits for its certificate: its request says which it is. */
static int lookup_pending(Vault *vault, const char *uri, uint64_t deadline_usec, WireReply *reply)
{
        CLEANUP(operation_answer_deinit) OperationAnswer operation = { 0 };
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = { .method = "GET",
                           .uri = uri,
                           .permission = PERMISSION_CERTIFICATES_GET,
                           .deadline_usec = deadline_usec };
        int r;

        r = vault_call(vault, &call, &answer, &reply->failure);
        if (r == 0)
                r = operation_answer_parse(answer.body.data, answer.body.n, &operation,
                                           &reply->failure);
        if (r == 0)
                r = pki_request_public_key(&operation.request, &reply->spki, &reply->failure);
        if (r == 0)
                r = pki_key_type(&reply->spki, &reply->key_type, &reply->failure);
        if (r == 0)
                r = string_set(&reply->key_uri, uri);
        if (r == 0)
                reply->algorithms = vault_keys_algorithms(vault, reply->key_type);
        return r;
}

/* Up to a tenth earlier, so that not all are looked up at the same moment. */
static uint64_t refresh_after(const Vault *vault)
{
        uint64_t usec = vault->settings.refresh_usec;

        return usec - usec / 10 * (vault_random() % 1000) / 1000;
}

/* A key's id is the broker's own locator; a person names certificates. */
static int take_identifier(Vault *vault, const WireRequest *request, Identifier *ret_identifier,
                           Failure *failure)
{
        int r;

        if (!request->uri)
                return fail(failure, CB_INVALID_ARGUMENT, "no certificate is named");
        r = identifier_parse(&vault->settings.vault, request->uri, ret_identifier, failure);
        if (r != 0)
                return r;
        if (ret_identifier->kind == OBJECT_KEY && string_equal(request->uri, request->key_uri))
                ret_identifier->kind = OBJECT_CERTIFICATE;
        else if (ret_identifier->kind != OBJECT_CERTIFICATE ||
                 (ret_identifier->pending && !string_equal(request->uri, request->key_uri)))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "'%.200s' is no certificate's identifier: it must be "
                            "%s/certificates/NAME or %s/certificates/NAME/VERSION",
                            request->uri, vault->settings.vault.origin,
                            vault->settings.vault.origin);
        return 0;
}

int lookup_run(Vault *vault, const DriverCall *call, WireReply *reply)
{
        CLEANUP(certificate_answer_deinit) CertificateAnswer certificate = { 0 };
        CLEANUP(found_deinit) Found found = { .certificate = &certificate };
        Failure *failure = &reply->failure;
        Identifier identifier = { 0 };
        int r;

        r = take_identifier(vault, call->request, &identifier, failure);
        if (r == 0 && identifier.pending)
                return lookup_pending(vault, call->request->uri, call->deadline_usec, reply);
        if (r == 0)
                r = lookup_certificate(vault, &identifier, call->deadline_usec, &certificate,
                                       failure);
        if (r == 0)
                r = take_ids(vault, &identifier, &found, failure);
        if (r == 0 && !*identifier.version)
                r = newest_check(vault, call->request->key_uri, &found.key,
                                 certificate.attributes.created_sec, call->deadline_usec, failure);
        if (r == 0)
                r = fill(vault, &found, call->deadline_usec, reply);
        if (r == 0 && !*identifier.version)
                reply->refresh_after_usec = refresh_after(vault);
        if (r > 0)
                reply->key_uri = TAKE(found.key_uri); /* of which version it was said */
        return r;
}
