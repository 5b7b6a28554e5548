/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import of a bundle. It is read and proven here first, so that nothing half-done comes into the vault;
 * then its key goes there, over TLS, out of locked memory, and is forgotten. A certificate that is there
 * already gets no new version by accident. What the vault has taken and cannot be used is taken back,
 * and the failure says so.
 */
#include "source/azure-key-vault/import.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pki/bundle.h"
#include "pki/private-key.h"
#include "pki/x509.h"
#include "source/azure-key-vault/lookup.h"
#include "source/azure-key-vault/policy.h"
#include "source/handed.h"
#include "source/same-leaf.h"

static int read_bundle(Handed *handed, PkiBundle *ret_bundle, Failure *failure)
{
        CLEANUP(secret_freep) Secret *data = NULL, *passphrase = NULL;
        int r;

        r = handed_take(handed, 0, "bundle", &data, failure);
        if (r == 0)
                r = handed_take(handed, 1, "passphrase", &passphrase, failure);
        if (r != 0)
                return r;
        secret_chomp(passphrase);
        return pki_bundle_parse(data, passphrase, clock_realtime_sec(), ret_bundle, failure);
}

/* All that is there is what earlier tries have left, disabled. */
static bool is_left_over(Vault *vault, const char *name, const CertificateAnswer *certificate,
                         uint64_t deadline_usec)
{
        Failure ignored = { 0 };
        bool has_enabled = true;

        return certificate->attributes.disabled && certificate->taken_back &&
               destroy_find_enabled(vault, name, deadline_usec, &has_enabled, &ignored) == 0 &&
               !has_enabled;
}

static int check_free(Vault *vault, const char *name, uint64_t deadline_usec, Failure *failure)
{
        CLEANUP(freep)
        char *uri = identifier_uri(&vault->settings.vault, OBJECT_CERTIFICATE, name, "");
        CLEANUP(certificate_answer_deinit) CertificateAnswer certificate = { 0 };
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        Failure ignored = { 0 };
        VaultCall call = { .method = "GET",
                           .uri = uri,
                           .permission = PERMISSION_CERTIFICATES_GET,
                           .deadline_usec = deadline_usec };
        int r;

        if (!uri)
                return -ENOMEM;
        r = vault_call(vault, &call, &answer, failure);
        /* One that never had a version is there in name only, without a leaf. */
        if (r == 0 &&
            certificate_answer_parse(answer.body.data, answer.body.n, &certificate, &ignored) != 0)
                return 0;
        if (r == 0 && is_left_over(vault, name, &certificate, deadline_usec))
                return 0;
        if (r == 0)
                return fail(failure, CB_ALREADY_EXISTS,
                            "the name that it would have in the vault is taken; choose another id, "
                            "or register what has that name");
        if (r == CB_NOT_FOUND)
                *failure = (Failure){ 0 };
        return r == CB_NOT_FOUND ? 0 : r;
}

int import_check_name(Vault *vault, const WireRequest *request, const char *name,
                      uint64_t deadline_usec, Failure *failure)
{
        if (!request->key_uri)
                return check_free(vault, name, deadline_usec, failure);
        if (!identifier_has_name(&vault->settings.vault, request->key_uri, name))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "its key lies under another name than %s in the vault", name);
        return 0;
}

static int send_bundle(Vault *vault, const char *name, const PkiBundle *bundle, bool exportable,
                       uint64_t deadline_usec, CertificateAnswer *ret_certificate, Failure *failure)
{
        CLEANUP(secret_freep) Secret *pem = NULL, *body = NULL;
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        CLEANUP(freep) char *uri = NULL;
        VaultCall call = { .method = "POST",
                           .permission = PERMISSION_CERTIFICATES_IMPORT,
                           .once = true,
                           .deadline_usec = deadline_usec };
        int r;

        r = pki_private_key_pem(bundle->key, &pem);
        if (r == 0)
                r = policy_import_body(pem, &bundle->chain, bundle->key_type, exportable, &body);
        if (r == CB_NOT_SUPPORTED)
                return fail(failure, r, "a vault holds no keys of type %s",
                            key_type_name(bundle->key_type));
        if (r == 0 &&
            asprintf(&uri, "%s/certificates/%s/import", vault->settings.vault.origin, name) < 0)
                r = -ENOMEM;
        if (r != 0)
                return r;
        call.uri = uri;
        call.body = secret_data(body);
        call.n_body = secret_length(body);
        r = vault_call(vault, &call, &answer, failure);
        return r == 0 ? certificate_answer_parse(answer.body.data, answer.body.n, ret_certificate,
                                                 failure)
                      : r;
}

static int take_chain(PkiBundle *bundle, WireReply *reply)
{
        bytes_list_deinit(&reply->chain);
        reply->chain = bundle->chain;
        bundle->chain = (BytesList){ 0 };
        free(reply->warning);
        reply->warning = NULL;
        return pki_chain_warning(bundle->fault, NULL, &reply->warning);
}

/*
 * A vault gives key and certificate the leaf's dates, and until and after those signs nothing with the key: it would be
 * there, and could not be tried.
 */
int import_check_dates(const BytesList *chain, const char *verb, Failure *failure)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts leaf = { 0 };
        const Bytes *der = &chain->items[0];
        uint64_t now_sec = clock_realtime_sec();
        int r = pki_certificate_facts(der->data, der->n, &leaf, failure);

        if (r != 0)
                return r;
        if (leaf.not_before_sec > now_sec)
                return fail(failure, CB_PENDING,
                            "the leaf is not valid yet, and until it is a vault does not sign with "
                            "its key, so that it cannot be tried: %s it then",
                            verb);
        if (leaf.not_after_sec < now_sec)
                return fail(failure, CB_EXPIRED,
                            "the leaf has expired, and a vault does not sign with its key: give a "
                            "valid one");
        return 0;
}

/* Which version it is must be known: it is from the answer, whatever else is wrong with that. */
static int take_back(Vault *vault, const CertificateAnswer *certificate, const char *name,
                     uint64_t deadline_usec, Failure *failure)
{
        CLEANUP(freep) char *told = NULL;
        const Failure why = *failure;
        Failure second = { 0 };
        Identifier id = { 0 };
        int r = CB_FAILED;

        if (certificate->id)
                r = identifier_parse(&vault->settings.vault, certificate->id, &id, &second);
        if (r == 0 && *id.version)
                r = destroy_take_back(vault, &id, deadline_usec, &told, &second);
        if (r == 0 && told)
                return fail(failure, why.status, "%.300s; %s", why.text, told);
        return fail(failure, why.status,
                    "%.220s; certificate %s in the vault has it, and could not be disabled (%.100s): "
                    "do that there, or register it",
                    why.text, name, second.text);
}

/* What the vault has made of it. */
static int take_answer(Vault *vault, const CertificateAnswer *certificate, PkiBundle *bundle,
                       uint64_t deadline_usec, WireReply *reply)
{
        int r = lookup_fill(vault, certificate, deadline_usec, reply);

        if (r == 0 && !bytes_equal(&reply->spki, &bundle->spki))
                r = fail(&reply->failure, CB_KEY_MISMATCH,
                         "the vault answered the import with another key");
        return r == 0 ? take_chain(bundle, reply) /* as it was given: the secret may not be readable */
                      : r;
}

int import_run(Vault *vault, const DriverCall *call, WireReply *reply)
{
        WireRequest *request = call->request;
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        CLEANUP(certificate_answer_deinit) CertificateAnswer certificate = { 0 };
        Failure *failure = &reply->failure;
        char name[OBJECT_NAME_MAX + 1];
        int r;

        if (!request->name)
                return fail(failure, CB_INVALID_ARGUMENT, "no id is named");
        r = object_name_of(request->name, name, failure);
        if (r == 0)
                r = read_bundle(call->handed, &bundle, failure);
        if (r == 0 && same_leaf(request->settings, &bundle.chain))
                return take_chain(&bundle, reply);
        if (r == 0)
                r = import_check_dates(&bundle.chain, "import", failure);
        if (r == 0)
                r = import_check_name(vault, request, name, call->deadline_usec, failure);
        if (r == 0)
                r = send_bundle(vault, name, &bundle, request->extractable, call->deadline_usec,
                                &certificate, failure);
        if (r != 0)
                return r;
        r = take_answer(vault, &certificate, &bundle, call->deadline_usec, reply);
        return r > 0 ? take_back(vault, &certificate, name, call->deadline_usec, failure) : r;
}
