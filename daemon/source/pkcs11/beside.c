/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies beside a key, and whose it is. Nothing ties objects together but CKA_ID and CKA_LABEL, which no token
 * checks. Invariants: a certificate is taken for a key's only if its public key is the key's; what was installed for
 * an id has the id as its label and a CKA_ID of its own, and is taken for that id and for no other, nor are its issuers.
 * What lies with the CKA_ID of a key that nobody here made is its owner's: it is read, and never written.
 */
#include "source/pkcs11/beside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strings.h"
#include "pki/signature.h"
#include "pki/token-object.h"
#include "pki/x509.h"

#define POOL_MAX   (2 * PKI_CHAIN_MAX)
#define ISSUER_MAX 16  /* certificates of one subject */
#define OWN_MAX    512 /* objects with the label of one id */

int beside_find(Session *session, CK_OBJECT_CLASS class, const Locator *locator,
                ObjectList *ret_list, Failure *failure)
{
        CK_ATTRIBUTE filter[2] = { { CKA_CLASS, &class, sizeof(class) } };

        if (locator->id.n > 0) {
                filter[1] = (CK_ATTRIBUTE){ CKA_ID, locator->id.data, locator->id.n };
                return objects_find(session, filter, 2, BESIDE_MAX, ret_list, failure);
        }
        filter[1] = (CK_ATTRIBUTE){ CKA_LABEL, locator->label.data, locator->label.n };
        return objects_find_kept(session, filter, 2, BESIDE_MAX, object_is_foreign, NULL, ret_list,
                                 failure);
}

/* What an object's attributes say; nothing where they say no key. */
int object_spki(Session *session, CK_OBJECT_HANDLE object, const Key *key,
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

int certificate_read(Session *session, CK_OBJECT_HANDLE object, Bytes *ret_der,
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

/* Certificates */

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

static Bytes label_of(const char *name)
{
        return (Bytes){ (uint8_t *)(uintptr_t)name, strlen(name) };
}

bool key_is_made_for(const KeyFacts *facts, const Asker *asker)
{
        const Locator *locator = &facts->locator;
        Bytes label;

        if (!asker->name || asker->wanted != WIRE_CERTIFICATES_MADE)
                return false;
        label = label_of(asker->name);
        return locator->id.n == OWN_ID_LENGTH && bytes_equal(&locator->label, &label);
}

/* Of the objects with the id's label: a leaf's CKA_ID is of our length, and not the key's. */
static int is_own_leaf(Session *session, CK_OBJECT_HANDLE object, const void *userdata,
                       bool *ret_keep, Failure *failure)
{
        const KeyFacts *facts = userdata;
        CLEANUP(bytes_deinit) Bytes id = { 0 };
        int r;

        r = object_read(session, object, CKA_ID, &id, failure);
        if (r == 0)
                *ret_keep = id.n == OWN_ID_LENGTH && !bytes_equal(&id, &facts->locator.id);
        return r;
}

static int find_own_leaves(Session *session, const KeyFacts *facts, const char *name,
                           ObjectList *ret_list, Failure *failure)
{
        CK_OBJECT_CLASS class = CKO_CERTIFICATE;
        CK_ATTRIBUTE filter[] = { { CKA_CLASS, &class, sizeof(class) },
                                  { CKA_LABEL, (void *)(uintptr_t)name, strlen(name) } };

        return objects_find_kept(session, filter, 2, OWN_MAX, is_own_leaf, facts, ret_list,
                                 failure);
}

/* Where the leaf of this asker may be. */
static int find_leaves(Session *session, const KeyFacts *facts, const Asker *asker,
                       ObjectList *ret_list, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList own = { 0 };
        int r = 0;

        if (asker->wanted != WIRE_CERTIFICATES_OWN)
                r = beside_find(session, CKO_CERTIFICATE, &facts->locator, ret_list, failure);
        if (r == 0 && asker->name && !key_is_made_for(facts, asker))
                r = find_own_leaves(session, facts, asker->name, &own, failure);
        return r == 0 ? object_list_append(ret_list, &own) : r;
}

typedef struct Leaf {
        Bytes der;
        Bytes id; /* its CKA_ID, from which those of its issuers follow */
} Leaf;

static void leaf_deinit(Leaf *leaf)
{
        bytes_deinit(&leaf->der);
        bytes_deinit(&leaf->id);
}

static int note_leaf(Session *session, CK_OBJECT_HANDLE object, const Bytes *der, Leaf *leaf,
                     Failure *failure)
{
        int r = bytes_set(&leaf->der, der->data, der->n);

        return r == 0 ? object_read(session, object, CKA_ID, &leaf->id, failure) : r;
}

/* Of those that are for the key, the one that pki_chain_sort() would take. *ret_others: what else lies with the key's id. */
static int find_leaf(Session *session, const KeyFacts *facts, const Asker *asker, Leaf *ret_leaf,
                     ObjectList *ret_others, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        CLEANUP(certificate_facts_deinit) CertificateFacts best = { 0 };
        uint64_t now_sec = clock_realtime_sec();
        int r;

        r = find_leaves(session, facts, asker, &list, failure);
        for (size_t i = 0; i < list.n && r == 0; i++) {
                CLEANUP(bytes_deinit) Bytes der = { 0 };
                CLEANUP(certificate_facts_deinit) CertificateFacts certificate = { 0 };

                r = certificate_read(session, list.handles[i], &der, &certificate, failure);
                if (r != 0 || certificate.spki.n == 0)
                        continue;
                if (!bytes_equal(&certificate.spki, &facts->spki)) {
                        ObjectList one = { &list.handles[i], 1, false };

                        r = object_list_append(ret_others, &one);
                        continue;
                }
                if (ret_leaf->der.n > 0 && !pki_leaf_goes_before(&certificate, &best, now_sec))
                        continue;
                r = note_leaf(session, list.handles[i], &der, ret_leaf, failure);
                certificate_facts_deinit(&best);
                best = certificate;
                certificate = (CertificateFacts){ 0 };
        }
        if (r == 0 && ret_leaf->der.n == 0 && ret_others->n > 0 &&
            asker->wanted != WIRE_CERTIFICATES_OWN)
                return fail(
                        failure, CB_KEY_MISMATCH,
                        "the certificate beside the key is of another key; replace it, or delete "
                        "it");
        return r;
}

/* Those that an import or install has put beside a leaf: its id and an index. */
static int find_own(Session *session, const Bytes *leaf_id, ObjectList *list, Failure *failure)
{
        uint8_t id[OWN_ID_LENGTH + 1];
        CK_OBJECT_CLASS class = CKO_CERTIFICATE;
        CK_ATTRIBUTE filter[] = { { CKA_CLASS, &class, sizeof(class) },
                                  { CKA_ID, id, sizeof(id) } };
        int r = 0;

        if (leaf_id->n != OWN_ID_LENGTH)
                return 0;
        memcpy(id, leaf_id->data, OWN_ID_LENGTH);
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

/* What another id's manager has brought does not become part of this one's chain. */
static int is_not_anothers(Session *session, CK_OBJECT_HANDLE object, const void *userdata,
                           bool *ret_keep, Failure *failure)
{
        bool same = false, foreign = false;
        int r;

        r = object_is_foreign(session, object, NULL, &foreign, failure);
        if (r == 0)
                r = read_label_equal(session, object, userdata, &same, failure);
        if (r == 0)
                *ret_keep = same || foreign;
        return r;
}

/*
 * Issuers that the token's owner has put there for all: by subject, so that not every certificate is read. Also of
 * those whose issuer is there, which may have expired and lie there renewed.
 */
static int add_issuers(Session *session, const char *name, BytesList *pool, Failure *failure)
{
        CLEANUP(bytes_list_deinit) BytesList looked_for = { 0 };
        Bytes label = label_of(string_or_empty(name));
        CK_OBJECT_CLASS class = CKO_CERTIFICATE;
        int r = 0;

        for (size_t i = 0; i < pool->n && pool->n < POOL_MAX && r == 0; i++) {
                CLEANUP(pki_certificate_names_deinit) PkiCertificateNames names = { 0 };
                CLEANUP(object_list_deinit) ObjectList found = { 0 };
                CK_ATTRIBUTE filter[2] = { { CKA_CLASS, &class, sizeof(class) } };

                r = pki_certificate_names(&pool->items[i], &names, failure);
                if (r != 0 || bytes_equal(&names.subject, &names.issuer) ||
                    list_has(&looked_for, &names.issuer))
                        continue;
                filter[1] = (CK_ATTRIBUTE){ CKA_SUBJECT, names.issuer.data, names.issuer.n };
                r = objects_find_kept(session, filter, 2, ISSUER_MAX, is_not_anothers, &label,
                                      &found, failure);
                if (r == 0)
                        r = add_to_pool(session, &found, pool, failure);
                if (r == 0)
                        r = bytes_list_append(&looked_for, names.issuer.data, names.issuer.n);
        }
        return r;
}

int key_chain(Session *session, const KeyFacts *facts, const Asker *asker, BytesList *ret_chain,
              char **ret_fault, Failure *failure)
{
        CLEANUP(leaf_deinit) Leaf leaf = { 0 };
        CLEANUP(bytes_list_deinit) BytesList pool = { 0 };
        CLEANUP(object_list_deinit) ObjectList own = { 0 };
        CLEANUP(object_list_deinit) ObjectList others = { 0 };
        int r;

        r = find_leaf(session, facts, asker, &leaf, &others, failure);
        if (r != 0 || leaf.der.n == 0)
                return r;
        r = bytes_list_append(&pool, leaf.der.data, leaf.der.n);
        if (r == 0)
                r = find_own(session, &leaf.id, &own, failure);
        if (r == 0)
                r = add_to_pool(session, &own, &pool, failure);
        if (r == 0)
                r = add_to_pool(session, &others, &pool, failure);
        if (r == 0)
                r = add_issuers(session, asker->name, &pool, failure);
        if (r != 0)
                return r;
        return pki_chain_sort(&pool, &facts->spki, clock_realtime_sec(), ret_chain, ret_fault, failure);
}

/* What belongs to the key */

/* Another private key has the same id: then only what has the key's label too is its own. */
static int id_is_shared(Session *session, const KeyFacts *facts, bool *ret_shared, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        int r;

        r = beside_find(session, CKO_PRIVATE_KEY, &facts->locator, &list, failure);
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
                r = object_spki(session, object, &facts->key, &spki, failure);
                *ret_belongs = r == 0 && bytes_equal(&spki, &facts->spki);
        } else {
                r = certificate_read(session, object, &der, &certificate, failure);
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
                r = beside_find(session, class, &facts->locator, &beside, failure);
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

int key_certificates(Session *session, const KeyFacts *facts, WireCertificates whose,
                     ObjectList *ret_list, Failure *failure)
{
        int r;

        r = collect_own(session, facts, CKO_CERTIFICATE, ret_list, failure);
        /* An owner's key may have an id as long as ours; what has that and a byte more is something else of his. */
        if (r != 0 || whose == WIRE_CERTIFICATES_OWNER)
                return r;
        return find_own(session, &facts->locator.id, ret_list, failure);
}

int key_publics(Session *session, const KeyFacts *facts, ObjectList *ret_list, Failure *failure)
{
        return collect_own(session, facts, CKO_PUBLIC_KEY, ret_list, failure);
}

int leaf_own_id(const char *name, const Bytes *der, uint8_t ret_id[OWN_ID_LENGTH])
{
        const size_t n_name = strlen(name) + 1;
        CLEANUP(freep) uint8_t *both = malloc(n_name + der->n);
        CLEANUP(bytes_deinit) Bytes hash = { 0 };
        int r;

        if (!both)
                return -ENOMEM;
        memcpy(mempcpy(both, name, n_name), der->data, der->n);
        r = pki_hash(DIGEST_SHA256, both, n_name + der->n, &hash);
        if (r == 0)
                memcpy(ret_id, hash.data, OWN_ID_LENGTH);
        return r;
}

/* Not the owner's, who may call his certificate as the id is called, and give it an id as long as ours. */
static int is_installed_for(const char *name, const Bytes *der, const Bytes *id, bool *ret_is)
{
        uint8_t own[OWN_ID_LENGTH];
        int r = leaf_own_id(name, der, own);

        if (r == 0)
                *ret_is = id->n == OWN_ID_LENGTH && memcmp(id->data, own, OWN_ID_LENGTH) == 0;
        return r;
}

int key_certificates_of(Session *session, const KeyFacts *facts, const char *name,
                        ObjectList *ret_list, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList leaves = { 0 };
        int r;

        r = find_own_leaves(session, facts, name, &leaves, failure);
        for (size_t i = 0; i < leaves.n && r == 0; i++) {
                ObjectList one = { &leaves.handles[i], 1, false };
                CLEANUP(bytes_deinit) Bytes der = { 0 };
                CLEANUP(bytes_deinit) Bytes id = { 0 };
                bool own = false;

                r = object_read(session, leaves.handles[i], CKA_VALUE, &der, failure);
                if (r == 0)
                        r = object_read(session, leaves.handles[i], CKA_ID, &id, failure);
                if (r == 0)
                        r = is_installed_for(name, &der, &id, &own);
                if (r == 0 && own)
                        r = belongs(session, facts, CKO_CERTIFICATE, leaves.handles[i], &own, failure);
                if (r == 0 && own)
                        r = find_own(session, &id, ret_list, failure);
                if (r == 0 && own)
                        r = object_list_append(ret_list, &one);
        }
        return r;
}
