/* SPDX-License-Identifier: Apache-2.0 */
/* Objects on the token: finding them, reading their attributes. Everything read is bounded. */
#pragma once

#include "base/bytes.h"
#include "source/pkcs11/session.h"

#define ATTRIBUTE_MAX (64 * 1024)

typedef struct ObjectList {
        CK_OBJECT_HANDLE *handles;
        size_t n;
        bool more; /* there were more than n_max */
} ObjectList;

void object_list_deinit(ObjectList *list);
int object_list_append(ObjectList *list, const ObjectList *more);

int objects_find(Session *session, CK_ATTRIBUTE *filter, size_t n_filter, size_t n_max,
                 ObjectList *ret_list, Failure *failure);

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
