/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies beside a private key on the token, and whose it is: public keys and certificates with the key's
 * CKA_ID, and those that were installed for an id of the broker and have its label.
 */
#pragma once

#include "core/certificate.h"
#include "source/pkcs11/facts.h"
#include "source/pkcs11/object.h"

#define BESIDE_MAX 16 /* objects with the key's id that are looked at */

/* Objects of a class with the key's id; where the key has none, those with its label that are not of our making. */
int beside_find(Session *session, CK_OBJECT_CLASS class, const Locator *locator,
                ObjectList *ret_list, Failure *failure);
/* What an object's attributes say of its public key; nothing where they say none. */
int object_spki(Session *session, CK_OBJECT_HANDLE object, const Key *key, Bytes *ret_spki,
                Failure *failure);
/* One that does not parse has no facts. */
int certificate_read(Session *session, CK_OBJECT_HANDLE object, Bytes *ret_der,
                     CertificateFacts *ret_facts, Failure *failure);

/* For whom the certificates of a key are wanted, and of which they may be. */
typedef struct Asker {
        const char *name; /* the id of the broker; NULL: none */
        WireCertificates wanted;
} Asker;

/* Was the key made for this id, by an import or a generation? Then what lies beside it is the id's, too. */
bool key_is_made_for(const KeyFacts *facts, const Asker *asker);

/*
 * The chain of the key, as pki_chain_sort() makes it of what lies beside it. None: empty.
 * CB_KEY_MISMATCH: certificates with the key's id, and none is for the key. *ret_fault: as there.
 */
int key_chain(Session *session, const KeyFacts *facts, const Asker *asker, BytesList *ret_chain,
              char **ret_fault, Failure *failure);

/* All certificates and public keys that are this key's alone. */
int key_certificates(Session *session, const KeyFacts *facts, WireCertificates whose,
                     ObjectList *ret_list, Failure *failure);
int key_publics(Session *session, const KeyFacts *facts, ObjectList *ret_list, Failure *failure);
/*
 * The CKA_ID of a leaf that is installed for this id beside a key that was not made for it. It follows from both, so that
 * it can be told from whatever else is in the token before it is destroyed.
 */
int leaf_own_id(const char *name, const Bytes *der, uint8_t ret_id[OWN_ID_LENGTH]);
/* Those that were installed for this id, and lie where only its own do. */
int key_certificates_of(Session *session, const KeyFacts *facts, const char *name,
                        ObjectList *ret_list, Failure *failure);
