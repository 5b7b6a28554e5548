/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The facts about a key, from objects that other programs may have written: nothing ties them together but CKA_ID,
 * which no token checks. Invariant: a public key or certificate is taken for a key's only if its key is the key's:
 * by the modulus for RSA, else by a trial signature where there is more than one answer.
 */
#include "source/pkcs11/facts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/strings.h"
#include "pki/signature.h"
#include "pki/x509.h"
#include "source/pkcs11/beside.h"
#include "source/pkcs11/sign.h"

void key_facts_deinit(KeyFacts *facts)
{
        locator_deinit(&facts->locator);
        bytes_deinit(&facts->spki);
}

/* Public halves */

static bool list_has(const BytesList *list, const Bytes *bytes)
{
        for (size_t i = 0; i < list->n; i++)
                if (bytes_equal(&list->items[i], bytes))
                        return true;
        return false;
}

static int add_candidate(BytesList *candidates, const Bytes *spki)
{
        if (spki->n == 0 || list_has(candidates, spki))
                return 0;
        return bytes_list_append(candidates, spki->data, spki->n);
}

static int candidates_of_publics(Session *session, const KeyFacts *facts, BytesList *candidates,
                                 Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        int r;

        r = beside_find(session, CKO_PUBLIC_KEY, &facts->locator, &list, failure);
        for (size_t i = 0; i < list.n && r == 0; i++) {
                CLEANUP(bytes_deinit) Bytes spki = { 0 };

                r = object_spki(session, list.handles[i], &facts->key, &spki, failure);
                if (r == 0)
                        r = add_candidate(candidates, &spki);
        }
        return r;
}

static int candidates_of_certificates(Session *session, const KeyFacts *facts,
                                      BytesList *candidates, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        int r;

        r = beside_find(session, CKO_CERTIFICATE, &facts->locator, &list, failure);
        for (size_t i = 0; i < list.n && r == 0; i++) {
                CLEANUP(bytes_deinit) Bytes der = { 0 };
                CLEANUP(certificate_facts_deinit) CertificateFacts certificate = { 0 };

                r = certificate_read(session, list.handles[i], &der, &certificate, failure);
                if (r == 0 && certificate.key_type == facts->key.type)
                        r = add_candidate(candidates, &certificate.spki);
        }
        return r;
}

static Algorithm trial_algorithm(const Token *token, KeyType type)
{
        uint32_t possible = token_algorithms(token, type);

        for (Algorithm algorithm = ALGORITHM_NONE + 1; algorithm < _ALGORITHM_N; algorithm++)
                if (possible & ALGORITHM_BIT(algorithm))
                        return algorithm;
        return ALGORITHM_NONE;
}

typedef struct Trial {
        Algorithm algorithm;
        uint8_t data[64];
        Bytes input;
        Bytes signature;
} Trial;

static void trial_deinit(Trial *trial)
{
        bytes_deinit(&trial->signature); /* `input` borrows `data` */
}

static int trial_run(Session *session, const Key *key, Trial *trial, Failure *failure)
{
        trial->algorithm = trial_algorithm(session->token, key->type);
        if (trial->algorithm == ALGORITHM_NONE)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the token has no mechanism to sign with a key of type %s",
                            key_type_name(key->type));
        if (getrandom(trial->data, sizeof(trial->data), 0) != sizeof(trial->data))
                return -EIO;
        trial->input.data = trial->data;
        trial->input.n = digest_length(algorithm_row(trial->algorithm)->digest);
        if (trial->input.n == 0)
                trial->input.n = sizeof(trial->data);
        return key_sign(session, key, trial->algorithm, &trial->input, &trial->signature, failure);
}

int key_trial(Session *session, const Key *key, const Bytes *spki, Failure *failure)
{
        CLEANUP(trial_deinit) Trial trial = { 0 };
        int r;

        r = trial_run(session, key, &trial, failure);
        if (r != 0)
                return r;
        r = pki_verify(spki, trial.algorithm, &trial.input, &trial.signature);
        if (r < 0)
                return fail(failure, r, "no memory to check a trial signature");
        if (r > 0)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "source '%s': a trial signature by the token does not fit the public "
                            "key; do not use this token before that is explained",
                            session->token->name);
        return 0;
}

static int choose_by_trial(Session *session, const Key *key, const BytesList *candidates,
                           Bytes *ret_spki, Failure *failure)
{
        CLEANUP(trial_deinit) Trial trial = { 0 };
        int r;

        r = trial_run(session, key, &trial, failure);
        if (r != 0)
                return r;
        for (size_t i = 0; i < candidates->n; i++) {
                r = pki_verify(&candidates->items[i], trial.algorithm, &trial.input,
                               &trial.signature);
                if (r == 0)
                        return bytes_set(ret_spki, candidates->items[i].data,
                                         candidates->items[i].n);
                if (r < 0)
                        return fail(failure, r, "no memory to check a trial signature");
        }
        return fail(
                failure, CB_KEY_MISMATCH,
                "the public key and the certificates with the key's id are not the key's; put the "
                "right certificate beside it");
}

static int find_spki(Session *session, KeyFacts *facts, bool is_needed, Failure *failure)
{
        CLEANUP(bytes_list_deinit) BytesList candidates = { 0 };
        int r;

        if (key_type_row(facts->key.type)->family == KEY_RSA) {
                r = object_spki(session, facts->key.handle, &facts->key, &facts->spki, failure);
                if (r != 0 || facts->spki.n > 0)
                        return r; /* the private key tells its public half: no doubt left */
        }
        r = candidates_of_publics(session, facts, &candidates, failure);
        if (r != 0)
                return r;
        if (candidates.n == 1)
                return bytes_set(&facts->spki, candidates.items[0].data, candidates.items[0].n);
        r = candidates_of_certificates(session, facts, &candidates, failure);
        if (r != 0)
                return r;
        if (candidates.n == 0 && !is_needed)
                return 0;
        if (candidates.n == 0)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the key's public half is not on the token: neither a public key nor a "
                            "certificate has its id; put one there");
        return choose_by_trial(session, &facts->key, &candidates, &facts->spki, failure);
}

static int read_facts(Session *session, CK_OBJECT_HANDLE handle, bool needs_public,
                      KeyFacts *ret_facts, Failure *failure)
{
        CLEANUP(key_facts_deinit) KeyFacts facts = { 0 };
        int r;

        r = keys_read(session, handle, &facts.key, failure);
        if (r == 0)
                r = object_read(session, handle, CKA_ID, &facts.locator.id, failure);
        if (r == 0)
                r = object_read(session, handle, CKA_LABEL, &facts.locator.label, failure);
        if (r == 0)
                r = object_read_bool(session, handle, CKA_EXTRACTABLE, false, &facts.extractable,
                                     failure);
        if (r == 0)
                r = object_read_bool(session, handle, CKA_SIGN, true, &facts.signs, failure);
        if (r == 0)
                r = find_spki(session, &facts, needs_public, failure);
        if (r != 0)
                return r;
        *ret_facts = facts;
        facts = (KeyFacts){ 0 };
        return 0;
}

int key_facts_read(Session *session, CK_OBJECT_HANDLE handle, KeyFacts *ret_facts, Failure *failure)
{
        return read_facts(session, handle, true, ret_facts, failure);
}

static int find_facts(Session *session, const char *key_uri, bool needs_public, KeyFacts *ret_facts,
                      Failure *failure)
{
        Key key;
        int r;

        r = keys_find(session, key_uri, &key, failure);
        if (r == 0)
                r = read_facts(session, key.handle, needs_public, ret_facts, failure);
        if (r != 0)
                keys_forget(session->token, key_uri);
        return r;
}

int key_facts_find(Session *session, const char *key_uri, KeyFacts *ret_facts, Failure *failure)
{
        return find_facts(session, key_uri, true, ret_facts, failure);
}

int key_facts_find_rest(Session *session, const char *key_uri, KeyFacts *ret_facts, Failure *failure)
{
        return find_facts(session, key_uri, false, ret_facts, failure);
}

int key_facts_reply(const Token *token, const KeyFacts *facts, WireReply *reply)
{
        int r;

        r = locator_format(&facts->locator, &token->info, &reply->key_uri);
        if (r == 0)
                r = bytes_set(&reply->spki, facts->spki.data, facts->spki.n);
        reply->key_type = facts->key.type;
        reply->algorithms = facts->signs ? token_algorithms(token, facts->key.type) : 0;
        reply->extractable = facts->extractable;
        return r;
}
