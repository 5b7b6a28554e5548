/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of keys. Invariant: a handle is kept no longer than the module stays initialised; one that a call finds
 * stale is forgotten, and searched for again. It never answers with the first of several.
 */
#include "source/pkcs11/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "pki/token-object.h"
#include "source/pkcs11/object.h"

#define KEYS_MAX       65536
#define CANDIDATES_MAX 4

void keys_clear_locked(Token *token)
{
        MAP_FOREACH (&token->keys, entry)
                free(entry->value);
        map_deinit(&token->keys);
        map_init(&token->keys);
}

void keys_clear(Token *token)
{
        pthread_mutex_lock(&token->lock);
        keys_clear_locked(token);
        pthread_mutex_unlock(&token->lock);
}

void keys_forget(Token *token, const char *key_uri)
{
        pthread_mutex_lock(&token->lock);
        free(map_remove(&token->keys, key_uri));
        pthread_mutex_unlock(&token->lock);
}

static bool find_kept(Token *token, const char *key_uri, Key *ret_key)
{
        const Key *kept;

        pthread_mutex_lock(&token->lock);
        kept = map_find(&token->keys, key_uri);
        if (kept)
                *ret_key = *kept;
        pthread_mutex_unlock(&token->lock);
        return kept != NULL;
}

/* Not kept is no failure: it is searched for again then. */
static void keep(Token *token, const char *key_uri, const Key *key)
{
        Key *copy = malloc(sizeof(*copy));

        if (!copy)
                return;
        *copy = *key;
        pthread_mutex_lock(&token->lock);
        if (token->keys.n >= KEYS_MAX)
                keys_clear_locked(token);
        if (map_put(&token->keys, key_uri, copy) < 0)
                free(copy); /* another worker was faster */
        pthread_mutex_unlock(&token->lock);
}

static char *candidate_text(Session *session, CK_OBJECT_HANDLE handle)
{
        CLEANUP(bytes_deinit) Bytes id = { 0 };
        CLEANUP(bytes_deinit) Bytes label = { 0 };
        Locator locator;
        char *text = NULL;

        if (object_read(session, handle, CKA_ID, &id, NULL) != 0 ||
            object_read(session, handle, CKA_LABEL, &label, NULL) != 0)
                return NULL;
        locator = (Locator){ id, label };
        (void)locator_format(&locator, &session->token->info, &text);
        return text;
}

static int refuse_several(Session *session, const ObjectList *list, const char *uri,
                          Failure *failure)
{
        CLEANUP(strv_freep) char **candidates = NULL;
        CLEANUP(freep) char *joined = NULL;
        CLEANUP(freep) char *shown = text_escape(uri, strlen(uri), 200);

        for (size_t i = 0; i < list->n; i++) {
                CLEANUP(freep) char *text = candidate_text(session, list->handles[i]);

                if (text)
                        (void)strv_append(&candidates, text);
        }
        joined = strv_join(candidates, " ");
        return fail(failure, CB_INVALID_ARGUMENT, "'%s' fits several keys%s; it could be: %s",
                    string_or_empty(shown), list->more ? ", more than are listed" : "",
                    string_or_empty(joined));
}

int keys_search(Session *session, const Locator *locator, const char *uri,
                CK_OBJECT_HANDLE *ret_handle, Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
        CK_ATTRIBUTE filter[3] = { { CKA_CLASS, &class, sizeof(class) } };
        size_t n = 1;
        int r;

        if (locator->id.n > 0)
                filter[n++] = (CK_ATTRIBUTE){ CKA_ID, locator->id.data, locator->id.n };
        if (locator->label.n > 0)
                filter[n++] = (CK_ATTRIBUTE){ CKA_LABEL, locator->label.data, locator->label.n };
        if (locator->no_id)
                r = objects_find_kept(session, filter, n, CANDIDATES_MAX, object_is_foreign, NULL,
                                      &list, failure);
        else
                r = objects_find(session, filter, n, CANDIDATES_MAX, &list, failure);
        if (r != 0)
                return r;
        if (list.n > 1)
                return refuse_several(session, &list, uri, failure);
        if (list.n == 0) {
                CLEANUP(freep) char *shown = text_escape(uri, strlen(uri), 200);

                r = session_check(session, failure);
                return r != 0 ? r
                              : fail(failure, CB_NOT_FOUND,
                                     "source '%s' has no private key '%s'; it may have been "
                                     "deleted "
                                     "with another tool",
                                     session->token->name, string_or_empty(shown));
        }
        *ret_handle = list.handles[0];
        return 0;
}

static int read_type(Session *session, CK_OBJECT_HANDLE handle, KeyType *ret_type, Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes value = { 0 };
        CK_ULONG kind = CK_UNAVAILABLE_INFORMATION;
        bool rsa;
        int r;

        r = object_read_number(session, handle, CKA_KEY_TYPE, kind, &kind, failure);
        if (r != 0)
                return r;
        rsa = kind == CKK_RSA;
        if (!rsa && kind != CKK_EC && kind != CKK_EC_EDWARDS) {
                *ret_type = KEY_TYPE_NONE;
                return 0;
        }
        r = object_read(session, handle, rsa ? CKA_MODULUS : CKA_EC_PARAMS, &value, failure);
        if (r == 0)
                *ret_type = rsa ? pki_modulus_type(&value) : pki_curve_type(&value);
        return r;
}

int keys_read(Session *session, CK_OBJECT_HANDLE handle, Key *ret_key, Failure *failure)
{
        Key key = { .handle = handle };
        int r;

        r = read_type(session, handle, &key.type, failure);
        if (r == 0)
                r = object_read_bool(session, handle, CKA_ALWAYS_AUTHENTICATE, false,
                                     &key.always_authenticate, failure);
        if (r != 0)
                return r;
        if (key.type == KEY_TYPE_NONE)
                return fail(
                        failure, CB_NOT_SUPPORTED,
                        "the key is neither RSA of 2048, 3072 or 4096 bits, nor on P-256, P-384 "
                        "or P-521, nor Ed25519");
        *ret_key = key;
        return 0;
}

int keys_find(Session *session, const char *key_uri, Key *ret_key, Failure *failure)
{
        CLEANUP(locator_deinit) Locator locator = { 0 };
        CK_OBJECT_HANDLE handle;
        int r;

        if (find_kept(session->token, key_uri, ret_key))
                return 0;
        r = locator_parse(key_uri, &session->token->info, false, &locator, failure);
        locator.no_id = locator.id.n == 0; /* it was made from the key's own attributes */
        if (r == 0)
                r = keys_search(session, &locator, key_uri, &handle, failure);
        if (r == 0)
                r = keys_read(session, handle, ret_key, failure);
        if (r == 0)
                keep(session->token, key_uri, ret_key);
        return r;
}
