/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects. Invariant: a search is always ended, or its session is given up: an open one blocks the
 * next operation. A length that a token says is never believed beyond its bound. On a token that needs it, one call
 * at a time has to do with objects.
 */
#include "source/pkcs11/object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIND_BATCH    64
#define LOOKED_AT_MAX 65536

void object_list_deinit(ObjectList *list)
{
        free(list->handles);
        *list = (ObjectList){ 0 };
}

static int list_append(ObjectList *list, const CK_OBJECT_HANDLE *handles, size_t n)
{
        CK_OBJECT_HANDLE *larger;

        if (n == 0)
                return 0;
        larger = realloc(list->handles, (list->n + n) * sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        list->handles = larger;
        memcpy(list->handles + list->n, handles, n * sizeof(*handles));
        list->n += n;
        return 0;
}

int object_list_append(ObjectList *list, const ObjectList *more)
{
        return list_append(list, more->handles, more->n);
}

void objects_begin(Session *session)
{
        Token *token = session->token;

        if (!token->slot.brittle)
                return;
        pthread_mutex_lock(&token->objects_lock);
        token->n_signs_wait += !session->manages;
        while (token->objects_busy || (session->manages && token->n_signs_wait > 0))
                pthread_cond_wait(&token->objects_free, &token->objects_lock);
        token->n_signs_wait -= !session->manages;
        token->objects_busy = true;
        pthread_mutex_unlock(&token->objects_lock);
}

void objects_end(Session *session)
{
        Token *token = session->token;

        if (!token->slot.brittle)
                return;
        pthread_mutex_lock(&token->objects_lock);
        token->objects_busy = false;
        pthread_cond_broadcast(&token->objects_free);
        pthread_mutex_unlock(&token->objects_lock);
}

static int collect(Session *session, size_t n_max, ObjectList *list, Failure *failure)
{
        CK_OBJECT_HANDLE batch[FIND_BATCH];

        for (;;) {
                CK_ULONG n = 0;
                CK_RV rv;
                int r;

                rv = session->f->C_FindObjects(session->handle, batch, FIND_BATCH, &n);
                if (rv != CKR_OK)
                        return session_fail(session, rv, "C_FindObjects", "search", failure);
                if (n > FIND_BATCH)
                        return session_fail(session, CKR_GENERAL_ERROR, "C_FindObjects", "search",
                                            failure);
                if (n == 0)
                        return 0;
                list->more = n > n_max - list->n;
                r = list_append(list, batch, MIN(n, n_max - list->n));
                if (r < 0 || list->more)
                        return r;
        }
}

static int search(Session *session, CK_ATTRIBUTE *filter, size_t n_filter, size_t n_max,
                  ObjectList *list, Failure *failure)
{
        CK_RV rv;
        int r;

        rv = session->f->C_FindObjectsInit(session->handle, filter, n_filter);
        if (rv != CKR_OK)
                return session_fail(session, rv, "C_FindObjectsInit", "search", failure);
        r = collect(session, n_max, list, failure);
        rv = session->f->C_FindObjectsFinal(session->handle);
        if (r == 0 && rv != CKR_OK)
                return session_fail(session, rv, "C_FindObjectsFinal", "search", failure);
        return r;
}

int objects_find(Session *session, CK_ATTRIBUTE *filter, size_t n_filter, size_t n_max,
                 ObjectList *ret_list, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        int r;

        objects_begin(session);
        r = search(session, filter, n_filter, n_max, &list, failure);
        objects_end(session);
        if (r != 0)
                return r;
        *ret_list = list;
        list = (ObjectList){ 0 };
        return 0;
}

/* What a token says of an attribute that is not to be had: no trouble of session or token. */
static bool is_absent(CK_RV rv)
{
        return rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE;
}

static int read_attribute(Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                          Bytes *ret_value, Failure *failure)
{
        CK_ATTRIBUTE attribute = { type, NULL, 0 };
        CLEANUP(freep) void *value = NULL;
        CK_RV rv;

        rv = session->f->C_GetAttributeValue(session->handle, object, &attribute, 1);
        if (is_absent(rv))
                return bytes_set(ret_value, NULL, 0);
        if (rv != CKR_OK)
                return session_fail(session, rv, "C_GetAttributeValue", "read an object", failure);
        if (attribute.ulValueLen == 0 || attribute.ulValueLen > ATTRIBUTE_MAX)
                return bytes_set(ret_value, NULL, 0); /* CK_UNAVAILABLE_INFORMATION is among them */
        value = malloc(attribute.ulValueLen);
        if (!value)
                return -ENOMEM;
        attribute.pValue = value;
        {
                CK_ULONG room = attribute.ulValueLen;

                rv = session->f->C_GetAttributeValue(session->handle, object, &attribute, 1);
                if (rv != CKR_OK)
                        return session_fail(session, rv, "C_GetAttributeValue", "read an object",
                                            failure);
                if (attribute.ulValueLen > room)
                        return bytes_set(ret_value, NULL, 0);
        }
        return bytes_set(ret_value, value, attribute.ulValueLen);
}

int object_read(Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, Bytes *ret_value,
                Failure *failure)
{
        int r;

        objects_begin(session);
        r = read_attribute(session, object, type, ret_value, failure);
        objects_end(session);
        return r;
}

int object_read_number(Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                       CK_ULONG otherwise, CK_ULONG *ret_value, Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes value = { 0 };
        int r;

        r = object_read(session, object, type, &value, failure);
        if (r != 0)
                return r;
        if (value.n == sizeof(*ret_value))
                memcpy(ret_value, value.data, sizeof(*ret_value));
        else
                *ret_value = otherwise;
        return 0;
}

int object_read_bool(Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                     bool otherwise, bool *ret_value, Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes value = { 0 };
        int r;

        r = object_read(session, object, type, &value, failure);
        if (r == 0)
                *ret_value = value.n == 1 ? value.data[0] != 0 : otherwise;
        return r;
}

int object_create(Session *session, CK_ATTRIBUTE *attributes, size_t n, const char *doing,
                  CK_OBJECT_HANDLE *ret_object, Failure *failure)
{
        CK_RV rv;

        objects_begin(session);
        rv = session->f->C_CreateObject(session->handle, attributes, n, ret_object);
        objects_end(session);
        return rv == CKR_OK ? 0 : session_fail(session, rv, "C_CreateObject", doing, failure);
}

int object_destroy(Session *session, CK_OBJECT_HANDLE object, const char *doing, Failure *failure)
{
        CK_RV rv;

        objects_begin(session);
        rv = session->f->C_DestroyObject(session->handle, object);
        objects_end(session);
        return rv == CKR_OK ? 0 : session_fail(session, rv, "C_DestroyObject", doing, failure);
}

/* Somebody may destroy what was found before it is read: then it is not there, if the token is. */
static bool is_gone(Session *session)
{
        Failure ignored = { 0 };

        if (session->fault != CKR_OBJECT_HANDLE_INVALID || session_check(session, &ignored) != 0)
                return false;
        session->fault = CKR_OK;
        return true;
}

/* Keeps the first `n_max` of those that may stay. */
static int list_keep(Session *session, ObjectList *list, size_t n_max, object_keep keep,
                     const void *userdata, Failure *failure)
{
        size_t n = 0, i;

        for (i = 0; i < list->n && n < n_max; i++) {
                bool stays = false;
                int r = keep(session, list->handles[i], userdata, &stays, failure);

                if (r != 0 && !is_gone(session))
                        return r;
                if (r == 0 && stays)
                        list->handles[n++] = list->handles[i];
        }
        list->more = list->more || i < list->n;
        list->n = n;
        return 0;
}

/* How many there are of those that do not stay is for others to choose: only what stays is counted. */
int objects_find_kept(Session *session, CK_ATTRIBUTE *filter, size_t n_filter, size_t n_max,
                      object_keep keep, const void *userdata, ObjectList *ret_list,
                      Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        int r;

        r = objects_find(session, filter, n_filter, LOOKED_AT_MAX, &list, failure);
        if (r == 0)
                r = list_keep(session, &list, n_max, keep, userdata, failure);
        if (r != 0)
                return r;
        *ret_list = list;
        list = (ObjectList){ 0 };
        return 0;
}

int object_is_foreign(Session *session, CK_OBJECT_HANDLE object, const void *userdata,
                      bool *ret_keep, Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes id = { 0 };
        int r;

        r = object_read(session, object, CKA_ID, &id, failure);
        if (r == 0)
                *ret_keep = id.n != OWN_ID_LENGTH && id.n != OWN_ID_LENGTH + 1;
        return r;
}
