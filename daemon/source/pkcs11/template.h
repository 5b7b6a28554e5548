/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of an object that is to be made: private key, public key, certificate. */
#pragma once

#include "pki/token-object.h"
#include "source/pkcs11/session.h"

/* What an object is called. Borrowed by the templates that are made with it. */
typedef struct ObjectName {
        Bytes id;
        Bytes label;
} ObjectName;

int create_private_key(Session *session, const ObjectName *name, const PkiPublicParts *public,
                       const PkiPrivateParts *private, bool extractable,
                       CK_OBJECT_HANDLE *ret_object, Failure *failure);
int create_public_key(Session *session, const ObjectName *name, const PkiPublicParts *public,
                      CK_OBJECT_HANDLE *ret_object, Failure *failure);
int create_certificate(Session *session, const ObjectName *name, const Bytes *der,
                       CK_OBJECT_HANDLE *ret_object, Failure *failure);
