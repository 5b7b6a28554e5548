/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing. Invariants: a signature is asked for by the versioned id of its generation's key, never by the
 * name alone, so that a rotation between cannot change the key; whatever comes back is verified with the
 * public key that the broker serves before it leaves. It keeps nothing of what it signed. A trial of a key
 * that somebody has just made is asked for again for some seconds.
 */
#include "source/azure-key-vault/sign.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"
#include "core/digest.h"
#include "pki/private-key.h"
#include "pki/signature.h"
#include "source/azure-key-vault/json.h"
#include "source/azure-key-vault/keys.h"
#include "source/azure-key-vault/lookup.h"
#include "source/azure-key-vault/patience.h"

#define SIGNATURE_RSA_MAX 512 /* 4096 bits */

static const char *const names[_ALGORITHM_N] = {
        [ALGORITHM_RSA_PKCS1_SHA256] = "RS256", [ALGORITHM_RSA_PKCS1_SHA384] = "RS384",
        [ALGORITHM_RSA_PKCS1_SHA512] = "RS512", [ALGORITHM_RSA_PSS_SHA256] = "PS256",
        [ALGORITHM_RSA_PSS_SHA384] = "PS384",   [ALGORITHM_RSA_PSS_SHA512] = "PS512",
        [ALGORITHM_ECDSA_SHA256] = "ES256",     [ALGORITHM_ECDSA_SHA384] = "ES384",
        [ALGORITHM_ECDSA_SHA512] = "ES512",
};

/* The kid of the answer is the version that signed. */
static int check_kid(Vault *vault, const Identifier *key, const char *kid, Failure *failure)
{
        Identifier signer = { 0 };

        if (!kid || (identifier_parse(&vault->settings.vault, kid, &signer, failure) == 0 &&
                     strcasecmp(signer.version, key->version) == 0))
                return 0;
        return fail(failure, CB_FAILED, "the vault signed with another key than %s/%s", key->name,
                    key->version);
}

static int refuse_length(const Bytes *raw, Failure *failure)
{
        return fail(failure, CB_FAILED,
                    "the vault's signature has %zu bytes, which none of its key has", raw->n);
}

static int take_rsa(const Bytes *raw, size_t n, Bytes *ret_signature, Failure *failure)
{
        uint8_t signature[SIGNATURE_RSA_MAX];

        if (n > sizeof(signature) || !number_fit(raw, n, signature))
                return refuse_length(raw, failure);
        return bytes_set(ret_signature, signature, n);
}

static int take_signature(Vault *vault, const Identifier *key, const KeyKnown *known,
                          const HttpAnswer *answer, Bytes *ret_signature, Failure *failure)
{
        const KeyTypeRow *row = key_type_row(known->type);
        CLEANUP(bytes_deinit) Bytes raw = { 0 };
        CLEANUP(freep) char *kid = NULL;
        int r;

        r = signature_answer_parse(answer->body.data, answer->body.n, &raw, &kid, failure);
        if (r == 0)
                r = check_kid(vault, key, kid, failure);
        if (r != 0)
                return r;
        if (row->family == KEY_RSA)
                return take_rsa(&raw, row->bits / 8, ret_signature, failure);
        if (raw.n == 0 || raw.n % 2 != 0 || raw.n > 2 * ((row->bits + 7) / 8))
                return refuse_length(&raw, failure);
        return pki_ecdsa_to_der(&raw, ret_signature);
}

static int sign_remotely(Vault *vault, const DriverCall *call, const Identifier *key,
                         const KeyKnown *known, Bytes *ret_signature, Failure *failure)
{
        const WireRequest *request = call->request;
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        char value[2 * DIGEST_LENGTH_MAX], body[sizeof(value) + 64];
        CLEANUP(freep) char *uri = NULL;
        VaultCall ask = { .method = "POST",
                          .body = body,
                          .permission = PERMISSION_KEYS_SIGN,
                          .cost = known->cost,
                          .signs = !request->manages,
                          .deadline_usec = call->deadline_usec };
        int r;

        if (asprintf(&uri, "%s/sign", request->key_uri) < 0)
                return -ENOMEM;
        ask.uri = uri;
        base64_encode(request->input.data, request->input.n, true, value);
        ask.n_body = (size_t)snprintf(body, sizeof(body), "{\"alg\":\"%s\",\"value\":\"%s\"}",
                                      names[request->algorithm], value);
        r = vault_call(vault, &ask, &answer, failure);
        return r == 0 ? take_signature(vault, key, known, &answer, ret_signature, failure) : r;
}

/* A version that was switched off is most often one that was rotated away. */
static int explain_disabled(Vault *vault, const Identifier *key, uint64_t deadline_usec,
                            Failure *failure)
{
        CLEANUP(certificate_answer_deinit) CertificateAnswer latest = { 0 };
        Identifier base = *key, id = { 0 };
        Failure ignored = { 0 };

        base.version[0] = '\0';
        if (lookup_certificate(vault, &base, deadline_usec, &latest, &ignored) == 0 &&
            identifier_parse(&vault->settings.vault, latest.id, &id, &ignored) == 0 &&
            strcasecmp(id.version, key->version) != 0)
                return fail(failure, CB_DISABLED,
                            "this generation's key %s/%s is disabled in the vault, which has a "
                            "newer version, %s: the key was rotated; refresh the certificate and "
                            "load its current generation",
                            key->name, key->version, id.version);
        return failure->status;
}

static int check_request(Vault *vault, const WireRequest *request, Identifier *ret_key,
                         Failure *failure)
{
        int r;

        if (!request->key_uri)
                return fail(failure, CB_INVALID_ARGUMENT, "no key is named");
        r = identifier_parse(&vault->settings.vault, request->key_uri, ret_key, failure);
        if (r != 0)
                return r;
        if (ret_key->pending)
                return fail(failure, CB_PENDING,
                            "key %s signs nothing before its certificate is installed",
                            ret_key->name);
        if (ret_key->kind != OBJECT_KEY || !*ret_key->version)
                return fail(failure, CB_INVALID_ARGUMENT, "'%.200s' is no key of one version",
                            request->key_uri);
        if (!algorithm_takes_input(request->algorithm, request->input.n))
                return fail(failure, CB_INVALID_ARGUMENT, "%zu bytes are no input for %s",
                            request->input.n, algorithm_name(request->algorithm));
        return 0;
}

static int sign_with(Vault *vault, const DriverCall *call, const Identifier *key,
                     const KeyKnown *known, Bytes *ret_signature, Failure *failure)
{
        const WireRequest *request = call->request;
        int r;

        if (!(known->algorithms & ALGORITHM_BIT(request->algorithm)))
                return fail(failure, CB_NOT_SUPPORTED,
                            "a key of type %s in this vault cannot do %s",
                            key_type_name(known->type), algorithm_name(request->algorithm));
        if (known->private_key) {
                r = pki_private_key_sign(known->private_key, request->algorithm, &request->input,
                                         ret_signature);
                return r > 0 ? fail(failure, r, "key %s could not sign", key->name) : r;
        }
        r = sign_remotely(vault, call, key, known, ret_signature, failure);
        return r == CB_DISABLED ? explain_disabled(vault, key, call->deadline_usec, failure) : r;
}

static int find_and_sign(Vault *vault, const DriverCall *call, const Identifier *key,
                         KeyKnown *known, Bytes *ret_signature, Failure *failure)
{
        const WireRequest *request = call->request;
        int r = vault_keys_get(vault, key, request->key_uri, !request->manages,
                               call->deadline_usec, known, failure);

        return r == 0 ? sign_with(vault, call, key, known, ret_signature, failure) : r;
}

/*
 * For who has just made the key, and waits. What the broker asks for by itself it asks for again, and its other
 * work would have to wait behind it.
 */
static int sign_patiently(Vault *vault, const DriverCall *call, const Identifier *key,
                          KeyKnown *known, Bytes *ret_signature, Failure *failure)
{
        const WireRequest *request = call->request;
        Patience patience = patience_begin(request->manages && request->owner != 0,
                                           call->deadline_usec);
        Failure last;
        int r;

        for (;;) {
                r = find_and_sign(vault, call, key, known, ret_signature, failure);
                if (!patience_wait(&patience, r))
                        break;
                key_known_deinit(known);
                *failure = (Failure){ 0 };
        }
        if (r <= 0 || patience.n == 0)
                return r;
        last = *failure;
        return fail(failure, r, "%.440s; it was asked %u times", last.text, patience.n + 1);
}

int sign_run(Vault *vault, const DriverCall *call, WireReply *reply)
{
        const WireRequest *request = call->request;
        CLEANUP(key_known_deinit) KeyKnown known = { 0 };
        CLEANUP(bytes_deinit) Bytes signature = { 0 };
        Identifier key = { 0 };
        int r;

        r = check_request(vault, request, &key, &reply->failure);
        if (r == 0)
                r = sign_patiently(vault, call, &key, &known, &signature, &reply->failure);
        if (r != 0)
                return r;
        r = pki_verify(&known.spki, request->algorithm, &request->input, &signature);
        if (r < 0)
                return fail(&reply->failure, r, "no memory to check what the vault answered");
        if (r > 0)
                return fail(&reply->failure, CB_FAILED,
                            "what the vault answered is no signature of key %s/%s over this input; "
                            "it is not handed on",
                            key.name, key.version);
        reply->output = signature;
        signature = (Bytes){ 0 };
        return 0;
}
