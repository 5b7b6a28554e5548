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
#include "pki/token-object.h"
#include "pki/x509.h"
#include "source/pkcs11/sign.h"

#define BESIDE_MAX 16 /* objects with the key's id that are looked at */
#define POOL_MAX   (2 * PKI_CHAIN_MAX)
#define ISSUER_MAX 4 /* certificates of one subject */

void key_facts_deinit(KeyFacts *facts)
{
        locator_deinit(&facts->locator);
        bytes_deinit(&facts->spki);
}

/* Objects of a class with the key's id; where the key has none, with its label. */
static int find_beside(Session *session, CK_OBJECT_CLASS class, const Locator *locator,
                       ObjectList *ret_list, Failure *failure)
{
        CK_ATTRIBUTE filter[2] = { { CKA_CLASS, &class, sizeof(class) } };

        if (locator->id.n > 0)
                filter[1] = (CK_ATTRIBUTE){ CKA_ID, locator->id.data, locator->id.n };
        else
                filter[1] = (CK_ATTRIBUTE){ CKA_LABEL, locator->label.data, locator->label.n };
        return objects_find(session, filter, 2, BESIDE_MAX, ret_list, failure);
}

/* Public halves */

/* What an object's attributes say; nothing where they say no key. */
static int spki_of_object(Session *session, CK_OBJECT_HANDLE object, const Key *key,
                          Bytes *ret_spki, Failure *failure)
{
        CLEANUP(pki_public_parts_deinit) PkiPublicParts parts = { 0 };
        bool rsa = key_type_row(key->type)->family == KEY_RSA;
        int r;

        r = object_read(session, object, rsa ? CKA_MODULUS : CKA_EC_PARAMS,
                        rsa ? &parts.modulus : &parts.params, failure);
        if (r == 0)
                r = object_read(session, object, rsa ? CKA_PUBLIC_EXPONENT : CKA_EC_POINT,
                                rsa ? &parts.exponent : &parts.point, failure);
        if (r != 0)
                return r;
        if ((rsa && parts.exponent.n == 0) || (!rsa && parts.point.n == 0))
                return 0;
        r = pki_public_key_from_parts(&parts, ret_spki, NULL);
        return r > 0 ? 0 : r;
}

static int spki_of_certificate(Session *session, CK_OBJECT_HANDLE object, Bytes *ret_der,
                               CertificateFacts *ret_facts, Failure *failure)
{
        int r;

        r = object_read(session, object, CKA_VALUE, ret_der, failure);
        if (r != 0)
                return r;
        r = ret_der->n > PKI_CERTIFICATE_MAX
                    ? CB_BAD_BUNDLE
                    : pki_certificate_facts(ret_der->data, ret_der->n, ret_facts, NULL);
        return r > 0 ? 0 : r; /* one that does not parse has no public key: it is passed over */
}

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

        r = find_beside(session, CKO_PUBLIC_KEY, &facts->locator, &list, failure);
        for (size_t i = 0; i < list.n && r == 0; i++) {
                CLEANUP(bytes_deinit) Bytes spki = { 0 };

                r = spki_of_object(session, list.handles[i], &facts->key, &spki, failure);
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

        r = find_beside(session, CKO_CERTIFICATE, &facts->locator, &list, failure);
        for (size_t i = 0; i < list.n && r == 0; i++) {
                CLEANUP(bytes_deinit) Bytes der = { 0 };
                CLEANUP(certificate_facts_deinit) CertificateFacts certificate = { 0 };

                r = spki_of_certificate(session, list.handles[i], &der, &certificate, failure);
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
        if (pki_verify(spki, trial.algorithm, &trial.input, &trial.signature) != 0)
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
        for (size_t i = 0; i < candidates->n; i++)
                if (pki_verify(&candidates->items[i], trial.algorithm, &trial.input,
                               &trial.signature) == 0)
                        return bytes_set(ret_spki, candidates->items[i].data,
                                         candidates->items[i].n);
        return fail(
                failure, CB_KEY_MISMATCH,
                "the public key and the certificates with the key's id are not the key's; put the "
                "right certificate beside it");
}

static int find_spki(Session *session, KeyFacts *facts, Failure *failure)
{
        CLEANUP(bytes_list_deinit) BytesList candidates = { 0 };
        int r;

        if (key_type_row(facts->key.type)->family == KEY_RSA) {
                r = spki_of_object(session, facts->key.handle, &facts->key, &facts->spki, failure);
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
        if (candidates.n == 0)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the key's public half is not on the token: neither a public key nor a "
                            "certificate has its id; put one there");
        return choose_by_trial(session, &facts->key, &candidates, &facts->spki, failure);
}

int key_facts_read(Session *session, CK_OBJECT_HANDLE handle, KeyFacts *ret_facts, Failure *failure)
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
                r = find_spki(session, &facts, failure);
        if (r != 0)
                return r;
        *ret_facts = facts;
        facts = (KeyFacts){ 0 };
        return 0;
}

int key_facts_find(Session *session, const char *key_uri, KeyFacts *ret_facts, Failure *failure)
{
        Key key;
        int r;

        r = keys_find(session, key_uri, &key, failure);
        if (r == 0)
                r = key_facts_read(session, key.handle, ret_facts, failure);
        if (r != 0)
                keys_forget(session->token, key_uri);
        return r;
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

/* Certificates */

/* The leaf among those with the key's id: the newest that is for the key. */
static int find_leaf(Session *session, const KeyFacts *facts, Bytes *ret_leaf, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        uint64_t newest_sec = 0;
        bool foreign = false;
        int r;

        r = find_beside(session, CKO_CERTIFICATE, &facts->locator, &list, failure);
        for (size_t i = 0; i < list.n && r == 0; i++) {
                CLEANUP(bytes_deinit) Bytes der = { 0 };
                CLEANUP(certificate_facts_deinit) CertificateFacts certificate = { 0 };

                r = spki_of_certificate(session, list.handles[i], &der, &certificate, failure);
                if (r != 0 || certificate.spki.n == 0)
                        continue;
                if (!bytes_equal(&certificate.spki, &facts->spki)) {
                        foreign = true;
                        continue;
                }
                if (ret_leaf->n > 0 && certificate.not_before_sec < newest_sec)
                        continue;
                newest_sec = certificate.not_before_sec;
                r = bytes_set(ret_leaf, der.data, der.n);
        }
        if (r == 0 && ret_leaf->n == 0 && foreign)
                return fail(
                        failure, CB_KEY_MISMATCH,
                        "the certificate beside the key is of another key; replace it, or delete "
                        "it");
        return r;
}

/* Those that an import or install has put there: the key's id and an index. */
static int find_own(Session *session, const Locator *locator, ObjectList *list, Failure *failure)
{
        uint8_t id[OWN_ID_LENGTH + 1];
        CK_OBJECT_CLASS class = CKO_CERTIFICATE;
        CK_ATTRIBUTE filter[] = { { CKA_CLASS, &class, sizeof(class) },
                                  { CKA_ID, id, sizeof(id) } };
        int r = 0;

        if (locator->id.n != OWN_ID_LENGTH)
                return 0;
        memcpy(id, locator->id.data, OWN_ID_LENGTH);
        for (unsigned i = 1; i < PKI_CHAIN_MAX && r == 0; i++) {
                CLEANUP(object_list_deinit) ObjectList found = { 0 };

                id[OWN_ID_LENGTH] = (uint8_t)i;
                r = objects_find(session, filter, 2, BESIDE_MAX, &found, failure);
                if (r != 0 || found.n == 0)
                        break;
                r = object_list_append(list, &found);
        }
        return r;
}

static int add_to_pool(Session *session, const ObjectList *list, BytesList *pool, Failure *failure)
{
        int r = 0;

        for (size_t i = 0; i < list->n && r == 0 && pool->n < POOL_MAX; i++) {
                CLEANUP(bytes_deinit) Bytes der = { 0 };
                CLEANUP(pki_certificate_names_deinit) PkiCertificateNames names = { 0 };

                r = object_read(session, list->handles[i], CKA_VALUE, &der, failure);
                if (r != 0)
                        return r;
                if (der.n <= PKI_CERTIFICATE_MAX &&
                    pki_certificate_names(&der, &names, NULL) == 0 && !list_has(pool, &der))
                        r = bytes_list_append(pool, der.data, der.n);
        }
        return r;
}

static bool pool_has_subject(const BytesList *pool, const Bytes *subject)
{
        for (size_t i = 0; i < pool->n; i++) {
                CLEANUP(pki_certificate_names_deinit) PkiCertificateNames names = { 0 };

                if (pki_certificate_names(&pool->items[i], &names, NULL) == 0 &&
                    bytes_equal(&names.subject, subject))
                        return true;
        }
        return false;
}

/* Issuers that are on the token for others too: by subject, so that not every certificate is read. */
static int add_issuers(Session *session, BytesList *pool, Failure *failure)
{
        CK_OBJECT_CLASS class = CKO_CERTIFICATE;
        int r = 0;

        for (size_t i = 0; i < pool->n && pool->n < POOL_MAX && r == 0; i++) {
                CLEANUP(pki_certificate_names_deinit) PkiCertificateNames names = { 0 };
                CLEANUP(object_list_deinit) ObjectList found = { 0 };
                CK_ATTRIBUTE filter[2] = { { CKA_CLASS, &class, sizeof(class) } };

                r = pki_certificate_names(&pool->items[i], &names, failure);
                if (r != 0 || pool_has_subject(pool, &names.issuer))
                        continue;
                filter[1] = (CK_ATTRIBUTE){ CKA_SUBJECT, names.issuer.data, names.issuer.n };
                r = objects_find(session, filter, 2, ISSUER_MAX, &found, failure);
                if (r == 0)
                        r = add_to_pool(session, &found, pool, failure);
        }
        return r;
}

int key_chain(Session *session, const KeyFacts *facts, BytesList *ret_chain, char **ret_missing,
              Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes leaf = { 0 };
        CLEANUP(bytes_list_deinit) BytesList pool = { 0 };
        CLEANUP(object_list_deinit) ObjectList own = { 0 };
        int r;

        r = find_leaf(session, facts, &leaf, failure);
        if (r != 0 || leaf.n == 0)
                return r;
        r = bytes_list_append(&pool, leaf.data, leaf.n);
        if (r == 0)
                r = find_own(session, &facts->locator, &own, failure);
        if (r == 0)
                r = add_to_pool(session, &own, &pool, failure);
        if (r == 0)
                r = add_issuers(session, &pool, failure);
        if (r != 0)
                return r;
        return pki_chain_sort(&pool, &facts->spki, ret_chain, ret_missing, failure);
}

char *chain_warning(const BytesList *chain, const char *missing)
{
        char *text = NULL;

        if (chain->n == 0)
                return strdup("there is no certificate for this key in the source yet");
        if (!missing)
                return NULL;
        if (asprintf(&text,
                     "the chain is not complete: it lacks the certificate of '%s'; peers that do "
                     "not "
                     "have it will refuse this one",
                     missing) < 0)
                return NULL;
        return text;
}

/* What belongs to the key */

static int read_label_equal(Session *session, CK_OBJECT_HANDLE object, const Bytes *label,
                            bool *ret_equal, Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes own = { 0 };
        int r;

        r = object_read(session, object, CKA_LABEL, &own, failure);
        if (r == 0)
                *ret_equal = bytes_equal(&own, label);
        return r;
}

/* Another private key has the same id: then only what has the key's label too is its own. */
static int id_is_shared(Session *session, const KeyFacts *facts, bool *ret_shared, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        int r;

        r = find_beside(session, CKO_PRIVATE_KEY, &facts->locator, &list, failure);
        if (r == 0)
                *ret_shared = list.n > 1;
        return r;
}

static int belongs(Session *session, const KeyFacts *facts, CK_OBJECT_CLASS class,
                   CK_OBJECT_HANDLE object, bool *ret_belongs, Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes der = { 0 };
        CLEANUP(bytes_deinit) Bytes spki = { 0 };
        CLEANUP(certificate_facts_deinit) CertificateFacts certificate = { 0 };
        int r;

        if (class == CKO_PUBLIC_KEY) {
                r = spki_of_object(session, object, &facts->key, &spki, failure);
                *ret_belongs = r == 0 && bytes_equal(&spki, &facts->spki);
        } else {
                r = spki_of_certificate(session, object, &der, &certificate, failure);
                *ret_belongs = r == 0 && bytes_equal(&certificate.spki, &facts->spki);
        }
        return r;
}

static int collect_own(Session *session, const KeyFacts *facts, CK_OBJECT_CLASS class,
                       ObjectList *ret_list, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList beside = { 0 };
        bool shared = false;
        int r;

        r = id_is_shared(session, facts, &shared, failure);
        if (r == 0)
                r = find_beside(session, class, &facts->locator, &beside, failure);
        for (size_t i = 0; i < beside.n && r == 0; i++) {
                ObjectList one = { &beside.handles[i], 1, false };
                bool own = false;

                r = belongs(session, facts, class, beside.handles[i], &own, failure);
                if (r == 0 && own && shared)
                        r = read_label_equal(session, beside.handles[i], &facts->locator.label,
                                             &own, failure);
                if (r == 0 && own)
                        r = object_list_append(ret_list, &one);
        }
        return r;
}

int key_certificates(Session *session, const KeyFacts *facts, ObjectList *ret_list,
                     Failure *failure)
{
        int r;

        r = collect_own(session, facts, CKO_CERTIFICATE, ret_list, failure);
        return r == 0 ? find_own(session, &facts->locator, ret_list, failure) : r;
}

int key_publics(Session *session, const KeyFacts *facts, ObjectList *ret_list, Failure *failure)
{
        return collect_own(session, facts, CKO_PUBLIC_KEY, ret_list, failure);
}
