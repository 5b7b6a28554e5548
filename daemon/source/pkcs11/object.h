/* SPDX-License-Identifier: Apache-2.0 */
/* Objects on the token: finding them, reading their attributes. Everything read is bounded. */
#pragma once

#include "base/bytes.h"
#include "source/pkcs11/session.h"
#include "wire/message.h"

#define ATTRIBUTE_MAX (64 * 1024)
/* The CKA_ID that an import gives a key; its further certificates have it and a byte more. */
#define OWN_ID_LENGTH WIRE_MARK_LENGTH

typedef struct ObjectList {
        CK_OBJECT_HANDLE *handles;
        size_t n;
        bool more; /* there were more than n_max */
} ObjectList;

void object_list_deinit(ObjectList *list);
int object_list_append(ObjectList *list, const ObjectList *more);

/*
 * Around what makes, destroys, finds or reads objects, where the token needs that. Never around a signature, and never
 * around what computes for long: a signature's first search may wait for it.
 */
void objects_begin(Session *session);
void objects_end(Session *session);

int objects_find(Session *session, CK_ATTRIBUTE *filter, size_t n_filter, size_t n_max,
                 ObjectList *ret_list, Failure *failure);

/* Of those that are found the first n_max of which `keep` says that they are to stay. */
typedef int (*object_keep)(Session *session, CK_OBJECT_HANDLE object, const void *userdata,
                           bool *ret_keep, Failure *failure);
int objects_find_kept(Session *session, CK_ATTRIBUTE *filter, size_t n_filter, size_t n_max,
                      object_keep keep, const void *userdata, ObjectList *ret_list,
                      Failure *failure);
/*
 * An object_keep: as far as can be told, no import, generation or install has made it, for its CKA_ID is not of that
 * length. A label is anybody's to give: what is known by its label alone is none of these.
 */
int object_is_foreign(Session *session, CK_OBJECT_HANDLE object, const void *userdata,
                      bool *ret_keep, Failure *failure);

/* An attribute that the object lacks, or will not tell, is empty; one larger than ATTRIBUTE_MAX too. */
int object_read(Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, Bytes *ret_value,
                Failure *failure);
int object_read_number(Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                       CK_ULONG otherwise, CK_ULONG *ret_value, Failure *failure);
int object_read_bool(Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                     bool otherwise, bool *ret_value, Failure *failure);

int object_create(Session *session, CK_ATTRIBUTE *attributes, size_t n, const char *doing,
                  CK_OBJECT_HANDLE *ret_object, Failure *failure);
int object_destroy(Session *session, CK_OBJECT_HANDLE object, const char *doing, Failure *failure);
